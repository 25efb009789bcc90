//! The ledger itself in this process, as a server has it: its pools, and its hub at work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alpine_api::{OperationStatus, SessionState};
use alpine_server::{
    domain::{
        idempotency::IdempotencyKey,
        operation::{Deadlines, Phase},
        principal::{Principal, PrincipalId, Roles, TenantId},
        tenant::TenantPolicy,
    },
    ledger::{Claimed, End, Findings, Job, Ledger, Looks, NewUp, PoolSettings, Pools, Sealer, Step, UpAnswer},
    metrics::Metrics,
};
use tokio_util::sync::CancellationToken;

pub use crate::bench::stage::{PRINCIPAL, TENANT};
use crate::{REPO, db::Db};

pub const LEASE: Duration = Duration::from_secs(60);
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// It works until it is dropped.
#[derive(Debug)]
pub struct Work {
    pub ledger: Ledger,
    stop: CancellationToken,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Work {
    pub fn begin(url: &str, connections: u32) -> anyhow::Result<Self> {
        let settings = PoolSettings {
            database_url: url.to_owned().into(),
            statements: connections,
            transactions: 2,
            acquire_timeout: Duration::from_secs(60),
            serves: true,
            works: true,
        };
        let metrics = Arc::new(Metrics::new());
        let pools = Pools::connect(&settings, &metrics)?;
        let ledger = Ledger::new(pools, Sealer::new(&[7; 32])?, Deadlines::default(), TenantPolicy::default());
        let stop = CancellationToken::new();
        let (hub, stopped) = (ledger.hub().clone(), stop.clone());
        tokio::spawn(async move { hub.run(metrics, stopped).await });
        Ok(Self { ledger, stop })
    }
}

/// A claim as a worker makes it.
pub async fn claim(ledger: &Ledger, looks: &mut Looks, limit: i64) -> anyhow::Result<Vec<Job>> {
    let (look, begun) = (looks.next(), Instant::now());
    let Claimed { jobs, oldest_left } = ledger.claim("bench", limit, LEASE, look).await?;
    looks.ended(look, begun, oldest_left);
    Ok(jobs)
}

pub async fn accept(ledger: &Ledger, key: &str) -> anyhow::Result<()> {
    let tenant = TenantId::parse(TENANT)?;
    let up = NewUp {
        principal: Principal::new(tenant.clone(), PrincipalId::parse(PRINCIPAL)?, Roles::default()),
        key: IdempotencyKey::parse(key)?,
        repo_url: REPO.parse()?,
        branch: "main".parse()?,
        public: true,
        repo_token: None,
        options: Default::default(),
        admitted: Ok(Default::default()),
        sees_uses: false,
        traceparent: None,
    };
    match ledger.tenant(&tenant).accept_up(up).await? {
        UpAnswer::Accepted(_) => Ok(()),
        other => anyhow::bail!("{key}: {other:?}"),
    }
}

/// All steps of an `up` that goes well, as a worker commits them: the first is the claim's own, the last carries the operation's end.
pub async fn carry_out(ledger: &Ledger, mut job: Job) -> anyhow::Result<()> {
    anyhow::ensure!(job.session.state == Phase::Resolve.state(), "it is claimed in {:?}", job.session.state);
    let phases = [Phase::Provision, Phase::Sync, Phase::Install, Phase::Start];
    for phase in phases {
        let findings =
            if phase == Phase::Provision { Findings { target: Some(COMMIT.parse()?), ..Findings::default() } } else { Findings::default() };
        ledger.commit(&mut job, step(phase.state(), phase, findings, None)).await?;
    }
    let findings =
        Findings { opencode_url: Some("http://127.0.0.1:1/".into()), sandbox: Some(serde_json::json!({})), ..Findings::default() };
    ledger.commit(&mut job, step(SessionState::Ready, Phase::Start, findings, Some(End { status: OperationStatus::Succeeded }))).await?;
    Ok(())
}

fn step(to: SessionState, phase: Phase, findings: Findings, end: Option<End>) -> Step {
    Step { to, reason: "bench".into(), phase, findings, failure: None, end, at: None, sweep_after: None }
}

/// Transactions that this database has committed, once those that ran are counted: a connection reports when it closes, or a while
/// after it has become idle.
#[expect(clippy::cast_precision_loss, reason = "a few million")]
pub async fn commits(db: &Db) -> f64 {
    const SQL: &str = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let mut before: i64 = -1;
    loop {
        let now: i64 = db.one(SQL).await;
        // Its own look is one.
        if now - before <= 2 {
            return now as f64;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
