//! What a caller was about.

use alpine_api::OperationKind;

/// What a caller was about, for `alpine_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Up,
    Down,
    List,
    Status,
    Events,
    Log,
    Record,
    Operation,
    Tenants,
    Audit,
    Imports,
    Other,
}

impl Action {
    pub const ALL: &'static [Self] = &[
        Self::Up,
        Self::Down,
        Self::List,
        Self::Status,
        Self::Events,
        Self::Log,
        Self::Record,
        Self::Operation,
        Self::Tenants,
        Self::Audit,
        Self::Imports,
        Self::Other,
    ];

    /// What an operation's own failure counts under.
    #[must_use]
    pub const fn of(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Up => Self::Up,
            OperationKind::Down => Self::Down,
            OperationKind::Cleanup => Self::Other,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::List => "list",
            Self::Status => "status",
            Self::Events => "events",
            Self::Log => "log",
            Self::Record => "record",
            Self::Operation => "operation",
            Self::Tenants => "tenants",
            Self::Audit => "audit",
            Self::Imports => "imports",
            Self::Other => "other",
        }
    }
}
