//! How tenants come to be, and what they may use.

/// The most that a tenant, and each of its principals, may have at once. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    pub max_active_sessions: Option<i32>,
    pub max_active_sessions_per_principal: Option<i32>,
    pub max_operations: Option<i32>,
    pub max_operations_per_principal: Option<i32>,
}

/// What becomes of a tenant that is named for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantPolicy {
    /// It is made when a principal of it first asks for a session; otherwise operators make tenants.
    pub on_first_sight: bool,
    /// What it then may use.
    pub quotas: Quotas,
}

impl Default for TenantPolicy {
    fn default() -> Self {
        Self { on_first_sight: true, quotas: Quotas::default() }
    }
}
