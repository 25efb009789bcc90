//! What the ledger refuses or cannot do. Constraint names are part of the code.

use alpine_api::SessionState;

use crate::domain::{Fault, access_token::NoRandomness, record::RecordError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The lease is another's by now: nothing was written.
    #[error("the lease is no longer held")]
    Fenced,
    /// The session is not in the state that the writer believes.
    #[error("the session is not in state {expected}")]
    OutOfStep { expected: SessionState },
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    #[error("the database's schema is older than this program: run `alpine-server migrate`")]
    SchemaBehind,
    /// The record is not what was meant to be stored.
    #[error("the stored record differs from the one that was written")]
    RecordDiffers,
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("a stored value is not of its form: {0}")]
    Corrupt(String),
    #[error("a secret cannot be sealed or opened")]
    Seal(#[from] super::SealError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error("this login does not see all rows of all tenants")]
    NotTheOwner,
    #[error("the database's address is not of the form postgres://user:password@host/database")]
    DatabaseUrl(#[source] sqlx::Error),
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::Io(_) | E::Tls(_) => Self::Unavailable(error),
            E::Database(database) => {
                let state = database.code().unwrap_or_default().into_owned();
                // A role that the migrations make is not there: they have not run.
                if state == "22023" {
                    return Self::SchemaBehind;
                }
                // Connection lost, resources, shutting down; a timeout of a lock, a statement or a transaction that was frozen.
                let passing = ["08", "53", "57"].iter().any(|class| state.starts_with(class))
                    || matches!(state.as_str(), "55P03" | "40001" | "40P01" | "25P03");
                match database.constraint() {
                    Some("session_records_digest" | "session_records_size") => Self::RecordDiffers,
                    Some("transitions_follow_lease" | "session_records_follow_lease") => Self::Fenced,
                    Some(
                        "sessions_tenant_quota"
                        | "sessions_principal_quota"
                        | "operations_tenant_quota"
                        | "operations_principal_quota"
                        | "memory_tenant_quota"
                        | "cpu_tenant_quota"
                        | "disk_tenant_quota",
                    ) => Fault::QuotaExceeded(database.message().to_owned()).into(),
                    Some("sessions_tenant_fkey") => Fault::TenantUnknown.into(),
                    _ if passing => Self::Unavailable(error),
                    _ => Self::Database(error),
                }
            }
            _ => Self::Database(error),
        }
    }
}

impl Error {
    /// The same call may succeed later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
