//! All SQL, and nothing but SQL: plain async functions on a tenant-scoped handle, or on a lease.
//!
//! No network call ever stands between BEGIN and COMMIT. What a worker writes is one statement that
//! first locks its lease; what a caller asks for goes through [`TenantLedger`], which cannot be had
//! without a tenant.

mod accept_down;
mod accept_up;
mod access_tokens;
mod after_restore;
mod apps;
mod audit;
mod commit;
mod connect;
mod credentials;
mod error;
mod events;
mod extend;
mod git_credential;
mod hub;
mod import;
mod leases;
mod list;
mod locked;
mod log;
mod look;
mod migrate;
mod pool;
mod progress;
mod queue;
mod reconcile;
mod records;
mod retention;
mod rotate;
mod scope;
mod seal;
mod seen;
mod shares;
mod sweep;
mod tenants;
mod unreadable;
mod uses;
mod verify;
mod views;

use std::{ops::Deref, sync::Arc};

use alpine_api::{OperationId, SessionState};

use pool::Pool;
use seen::Seen;

use crate::domain::{
    operation::{Deadlines, PhaseSchema},
    principal::TenantId,
    tenant::TenantPolicy,
};

pub use accept_down::{DownAnswer, NewDown};
pub use accept_up::{NewUp, UpAnswer};
pub use access_tokens::{NewToken, TokenQuery};
pub use after_restore::{Restored, after_restore};
pub use apps::{Code, Made as MadePassword};
pub use commit::{End, Findings, Step};
pub use connect::{PoolSettings, Pools, check_url};
pub use credentials::Stored;
pub use error::Error;
pub use hub::{Follower, Hub, Next, Page, Told, Waiter, Watch};
pub use leases::{Claimed, Job, JobSession, Lease};
pub use list::{BadCursor, Cursor, ListQuery};
pub use log::{LogPiece, ServedPiece};
pub use look::{Look, Looks};
pub use migrate::{MIGRATOR, MigrateError, MigrateSettings, Migrated, migrate};
pub use progress::Progress;
pub use queue::Queue;
pub use reconcile::{Ready, Standing};
pub use records::{STOPPED_REASON, Written};
pub use rotate::{Rotation, Unopened};
pub use seal::{PassKind, SealError, Sealer};
pub use shares::NewShare;
pub use tenants::Made;
pub use uses::Use;
pub use verify::{Verified, verify};

/// The ledger, for whole-system work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
pub struct Inner {
    pools: Pools,
    hub: Hub,
    sealer: Sealer,
    deadlines: Deadlines,
    tenants: TenantPolicy,
    phases: PhaseSchema,
    seen: Seen,
}

impl Deref for Ledger {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The ledger as one tenant sees it.
#[derive(Debug, Clone)]
pub struct TenantLedger {
    ledger: Ledger,
    tenant: TenantId,
}

impl Ledger {
    #[must_use]
    pub fn new(pools: Pools, sealer: Sealer, deadlines: Deadlines, tenants: TenantPolicy) -> Self {
        Self::knowing(PhaseSchema::CURRENT, pools, sealer, deadlines, tenants)
    }

    /// One that knows these phases.
    #[must_use]
    pub fn knowing(phases: PhaseSchema, pools: Pools, sealer: Sealer, deadlines: Deadlines, tenants: TenantPolicy) -> Self {
        let hub = Hub::new(pools.any().clone());
        Self(Arc::new(Inner { pools, hub, sealer, deadlines, tenants, phases, seen: Seen::default() }))
    }

    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> TenantLedger {
        TenantLedger { ledger: self.clone(), tenant: tenant.clone() }
    }

    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    #[must_use]
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Readiness: the database answers, and its schema is at least this program's.
    #[tracing::instrument(level = "debug", name = "ledger.check", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "check"))]
    pub async fn check(&self) -> Result<(), Error> {
        let applied = Pools::schema_version(self.pools.any()).await?;
        if applied >= MIGRATOR.iter().map(|m| m.version).max() { Ok(()) } else { Err(Error::SchemaBehind) }
    }

    /// How many sessions there are in each state that is not final, for the gauge.
    #[tracing::instrument(level = "debug", name = "ledger.session_counts", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "session_counts"))]
    pub async fn session_counts(&self) -> Result<Vec<(SessionState, i64)>, Error> {
        let rows = sqlx::query!(r#"SELECT state AS "state!", count AS "count!" FROM session_counts()"#).fetch_all(self.pools.any()).await?;
        rows.into_iter().map(|row| Ok((views::read(&row.state)?, row.count))).collect()
    }

    /// The worker's.
    fn statements(&self) -> &Pool {
        &self.pools.worker.statements
    }

    /// The worker's.
    fn transactions(&self) -> &Pool {
        &self.pools.worker.transactions
    }
}

impl TenantLedger {
    /// Waits for the end of an operation that the caller may see; nothing is read for this one waiter alone.
    #[must_use]
    pub fn wait(&self, operation: OperationId) -> Waiter {
        self.ledger.hub.wait(&self.tenant, operation)
    }

    /// Wakes when the operation has ended. Take it BEFORE reading the operation.
    #[must_use]
    pub fn watch(&self, operation: OperationId) -> Watch {
        self.ledger.hub.watch(&self.tenant, operation)
    }

    /// The API's. A statement names its tenant itself: see `scope`.
    fn statements(&self) -> &Pool {
        &self.ledger.pools.api.statements
    }
}
