//! Leases: who works on what. A claim raises the fence; everything that a worker writes later carries it.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use alpine_api::{Failure, OperationId, OperationKind, SessionId, SessionState};
use uuid::Uuid;

use super::{Error, Ledger, look::Look, unreadable::Unreadable, views};
use crate::domain::{
    class::ClassSize,
    operation::{Phase, PhaseSchema},
    pace::Pace,
    principal::TenantId,
    repo::{Branch, CommitSha, RepoUrl},
};

/// The right to work on one session, as long as it is renewed and nobody raises the fence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    pub tenant: TenantId,
    pub session: SessionId,
    pub fence: i64,
    pub owner: String,
}

/// A claimed operation.
#[derive(Debug, Clone)]
pub struct Job {
    pub lease: Lease,
    pub operation: OperationId,
    pub kind: OperationKind,
    pub phase: Phase,
    pub phase_attempt: i32,
    /// `None` until the phase is on record as begun.
    pub phase_began: Option<Instant>,
    pub deadline: Instant,
    pub persist_attempt: i32,
    pub force: bool,
    pub actor: String,
    pub failure: Option<Failure>,
    pub traceparent: Option<String>,
    /// Taken over from a worker that let its lease run out.
    pub adopted: bool,
    /// How long it had been due when it was claimed.
    pub waited: Duration,
    /// Of its progress.
    pub pace: Pace,
    pub session: JobSession,
    /// What the repository says of itself, once this worker has read it: not on record, whoever takes over reads it again.
    pub repository: Arc<OnceLock<String>>,
}

impl Job {
    /// How long the phase has been under way, its earlier tries included.
    #[must_use]
    pub fn phase_age(&self) -> Duration {
        self.phase_began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// What is left until the operation's deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The session of a claimed operation.
#[derive(Debug, Clone)]
pub struct JobSession {
    pub state: SessionState,
    pub repo_url: RepoUrl,
    pub branch: Branch,
    pub public: bool,
    pub target: Option<CommitSha>,
    pub sandbox: Option<serde_json::Value>,
    pub size: ClassSize,
}

/// What a claim has found.
#[derive(Debug)]
pub struct Claimed {
    pub jobs: Vec<Job>,
    /// How long any operation had waited at most that waits for its first worker and is not among these; `None` where that is not
    /// known.
    pub oldest_left: Option<Duration>,
}

pub(super) struct Row {
    pub(super) tenant_id: String,
    pub(super) session_id: Uuid,
    pub(super) fence: i64,
    adopted: bool,
    waited: f64,
    pub(super) operation_id: Uuid,
    kind: String,
    phase: String,
    phase_schema: i16,
    phase_attempt: i32,
    phase_age: Option<f64>,
    pub(super) remaining: f64,
    persist_attempt: i32,
    force: bool,
    actor: String,
    error: Option<serde_json::Value>,
    traceparent: Option<String>,
    /// Nobody had worked on it.
    new: bool,
    /// With this claim.
    begun: bool,
    pub(super) state: String,
    repo_url: String,
    branch: String,
    public: bool,
    target_commit_sha: Option<String>,
    sandbox: Option<serde_json::Value>,
    memory_mb: Option<i32>,
    cpu_millis: Option<i32>,
    disk_mb: Option<i32>,
    image: Option<String>,
}

impl Ledger {
    /// Up to `limit` operations that nobody works on, oldest first, those that somebody has begun before all others. Rows that another
    /// worker is just claiming are passed over, not waited for.
    ///
    /// An `up` that nobody has worked on yet begins with the claim itself: it saves a commit, and the wait for it.
    ///
    /// To find what was given back or what a dead worker left takes a look at everything that runs ([`Look::All`]). What waits for its first
    /// worker is in an index in which nothing else is.
    #[tracing::instrument(level = "debug", name = "ledger.claim", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "claim"))]
    pub async fn claim(&self, owner: &str, limit: i64, lease: Duration, look: Look) -> Result<Claimed, Error> {
        let rows = match self.claim_rows(owner, limit, lease, look, true).await {
            // One of them must not begin, by a rule of the database. Claimed without, it fails by itself, and the others do not.
            Err(Error::Database(error)) if breaks_a_rule(&error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "something that waits cannot begin");
                self.claim_rows(owner, limit, lease, look, false).await?
            }
            rows => rows?,
        };
        let (oldest_left, mut jobs) = (oldest_left(&rows, limit), Vec::with_capacity(rows.len()));
        for row in rows {
            let claimed = Unreadable::of(&row, owner);
            if row.begun {
                self.hub.happened(SessionId::from_uuid(row.session_id));
            }
            match row.into_job(owner, self.phases) {
                Ok(job) => jobs.push(job),
                // It must not take the others along. Where even this fails, its lease runs out.
                Err(error) => drop(self.set_aside(&claimed, &error).await),
            }
        }
        Ok(Claimed { jobs, oldest_left })
    }

    #[expect(clippy::too_many_lines, reason = "one statement; in parts it would be several round trips")]
    async fn claim_rows(&self, owner: &str, limit: i64, lease: Duration, look: Look, begins: bool) -> Result<Vec<Row>, Error> {
        let (all, within) = match look {
            Look::All => (true, None),
            Look::New { within } => (false, within.map(|time| time.as_secs_f64())),
        };
        let rows = sqlx::query_as!(
            Row,
            r#"WITH begun AS (
                SELECT o.tenant_id, o.operation_id, l.session_id, l.owner IS NOT NULL AS adopted,
                    greatest(o.available_at, l.until) AS due_at, false AS new, false AS begins
                FROM operations o JOIN leases l USING (tenant_id, session_id)
                WHERE $5 AND o.status = 'running' AND o.available_at <= now()
                  -- What only newer workers know is theirs until its deadline; then anybody ends it.
                  AND (o.phase_schema <= $4 OR o.deadline_at <= now())
                  AND (l.owner IS NULL OR l.until <= clock_timestamp())
                ORDER BY o.available_at LIMIT $2
                FOR UPDATE OF l, o SKIP LOCKED
            ), queued AS (
                SELECT o.tenant_id, o.operation_id, l.session_id, l.owner IS NOT NULL AS adopted,
                    greatest(o.available_at, l.until) AS due_at, true AS new,
                    $8 AND o.kind = 'up' AND o.phase = $6 AND o.phase_schema <= $4 AS begins
                FROM operations o JOIN leases l USING (tenant_id, session_id)
                WHERE o.status = 'queued' AND o.available_at <= now()
                  AND o.available_at >= coalesce(now() - make_interval(secs => $9), '-infinity')
                  AND (o.phase_schema <= $4 OR o.deadline_at <= now())
                  AND (l.owner IS NULL OR l.until <= clock_timestamp())
                ORDER BY o.available_at LIMIT $2 - (SELECT count(*) FROM begun)
                FOR UPDATE OF l, o SKIP LOCKED
            ), free AS (
                SELECT * FROM begun UNION ALL SELECT * FROM queued
            ), moment AS MATERIALIZED (
                -- Read with all leases locked, and one for all: it is not before anything that is on record of the sessions.
                SELECT CASE WHEN count(*) >= 0 THEN clock_timestamp() END AS at FROM free
            ), lease AS (
                UPDATE leases l SET fence = l.fence + 1, owner = $1, until = clock_timestamp() + make_interval(secs => $3)
                FROM free, moment WHERE l.tenant_id = free.tenant_id AND l.session_id = free.session_id
                RETURNING l.tenant_id, l.session_id, l.fence, free.operation_id, free.adopted, free.due_at, free.new, free.begins, moment.at
            ), session AS (
                UPDATE sessions s SET
                    state = $7, updated_at = lease.at, transition_seq = transition_seq + 1,
                    event_seq = coalesce(event_seq, transition_seq) + 1
                FROM lease WHERE lease.begins AND s.tenant_id = lease.tenant_id AND s.session_id = lease.session_id
                  -- By its key and no other way: in a burst there are many of these, where the statistics have seen none.
                  AND s.state IS NOT DISTINCT FROM 'requested'
                RETURNING s.tenant_id, s.session_id, s.state, s.transition_seq, s.event_seq
            ), operation AS (
                UPDATE operations o SET
                    status = 'running', started_at = coalesce(o.started_at, now()),
                    phase_started_at = CASE WHEN session.state IS NULL THEN o.phase_started_at ELSE lease.at END
                FROM lease LEFT JOIN session USING (tenant_id, session_id)
                WHERE o.tenant_id = lease.tenant_id AND o.operation_id = lease.operation_id
                RETURNING o.*
            ), transition AS (
                INSERT INTO transitions (tenant_id, session_id, seq, event_seq, from_state, to_state, at, actor, reason, operation_id, fence)
                SELECT o.tenant_id, o.session_id, session.transition_seq, session.event_seq, 'requested', session.state, lease.at, o.actor, 'up began',
                    o.operation_id, lease.fence
                FROM session JOIN lease USING (tenant_id, session_id) JOIN operation o USING (tenant_id, session_id)
            )
            SELECT lease.tenant_id, lease.session_id, lease.fence, lease.adopted AS "adopted!",
                extract(epoch FROM clock_timestamp() - lease.due_at)::float8 AS "waited!", o.operation_id, o.kind, o.phase, o.phase_schema, o.phase_attempt,
                extract(epoch FROM clock_timestamp() - o.phase_started_at)::float8 AS phase_age,
                extract(epoch FROM o.deadline_at - clock_timestamp())::float8 AS "remaining!",
                o.persist_attempt, o.force, o.actor, o.error, o.traceparent,
                lease.new AS "new!", session.state IS NOT NULL AS "begun!", coalesce(session.state, s.state) AS "state!",
                s.repo_url, s.branch, s.public, s.target_commit_sha, s.sandbox, s.memory_mb, s.cpu_millis, s.disk_mb, s.image
            FROM lease JOIN operation o USING (tenant_id, session_id) JOIN sessions s USING (tenant_id, session_id)
            LEFT JOIN session USING (tenant_id, session_id)"#,
            owner,
            limit,
            lease.as_secs_f64(),
            self.phases.known(),
            all,
            Phase::Resolve.as_str(),
            Phase::Resolve.state().as_str(),
            begins,
            within as Option<f64>,
        )
        .fetch_all(self.statements())
        .await?;
        Ok(rows)
    }

    /// Renew leases; those that are still held. On connections of its own, so that no load delays it.
    #[tracing::instrument(level = "debug", name = "ledger.renew", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "renew"))]
    pub async fn renew(&self, owner: &str, leases: &[Lease], length: Duration) -> Result<Vec<(SessionId, i64)>, Error> {
        let tenants: Vec<String> = leases.iter().map(|l| l.tenant.as_str().to_owned()).collect();
        let sessions: Vec<Uuid> = leases.iter().map(|l| l.session.uuid()).collect();
        let fences: Vec<i64> = leases.iter().map(|l| l.fence).collect();
        let rows = sqlx::query!(
            "UPDATE leases l SET until = clock_timestamp() + make_interval(secs => $5)
             FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS mine (tenant_id, session_id, fence)
             WHERE l.tenant_id = mine.tenant_id AND l.session_id = mine.session_id AND l.fence = mine.fence
               AND l.owner = $4 AND l.until > clock_timestamp()
             RETURNING l.session_id, l.fence",
            &tenants,
            &sessions,
            &fences,
            owner,
            length.as_secs_f64()
        )
        .fetch_all(&self.pools.vital)
        .await?;
        Ok(rows.into_iter().map(|row| (SessionId::from_uuid(row.session_id), row.fence)).collect())
    }

    /// Whether the lease is held at this moment; asked right before something that cannot be undone.
    #[tracing::instrument(level = "debug", name = "ledger.holds", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "holds"))]
    pub async fn holds(&self, lease: &Lease) -> Result<(), Error> {
        let held = sqlx::query_scalar!(
            "SELECT fence FROM leases WHERE tenant_id = $1 AND session_id = $2 AND fence = $3 AND owner = $4 AND until > clock_timestamp()",
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner
        )
        .fetch_optional(self.statements())
        .await?;
        held.map(drop).ok_or(Error::Fenced)
    }

    /// Give an operation back unfinished: to be claimed after `delay`, with `failed_tries` of its phase behind it.
    #[tracing::instrument(level = "debug", name = "ledger.release", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "release"))]
    pub async fn release(&self, lease: &Lease, operation: OperationId, delay: Duration, failed_tries: i32) -> Result<(), Error> {
        let released = sqlx::query_scalar!(
            r#"WITH ok AS MATERIALIZED (
                SELECT 1 WHERE hold_lease($1, $2, $3, $4)
            ), lease AS (
                UPDATE leases SET owner = NULL, until = NULL FROM ok WHERE tenant_id = $1 AND session_id = $2
            ), operation AS (
                UPDATE operations SET available_at = now() + make_interval(secs => $6), phase_attempt = $7
                FROM ok WHERE tenant_id = $1 AND operation_id = $5
            )
            SELECT count(*) AS "count!" FROM ok"#,
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner,
            operation.uuid(),
            delay.as_secs_f64(),
            failed_tries
        )
        .fetch_one(self.statements())
        .await?;
        if released == 0 {
            return Err(Error::Fenced);
        }
        if delay.is_zero() {
            self.hub.work();
        }
        Ok(())
    }
}

/// The oldest come first. Where all that waits was found nobody is left; where what somebody had begun took every place, nothing is known.
fn oldest_left(rows: &[Row], limit: i64) -> Option<Duration> {
    if i64::try_from(rows.len()).is_ok_and(|found| found < limit) {
        return Some(Duration::ZERO);
    }
    let waited = rows.iter().filter(|row| row.new).map(|row| row.waited).max_by(f64::total_cmp)?;
    Some(Duration::from_secs_f64(waited.max(0.0)))
}

fn breaks_a_rule(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_check_violation() || error.is_unique_violation())
}

fn corrupt(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("{what}: {error}"))
}

impl Row {
    fn into_job(self, owner: &str, phases: PhaseSchema) -> Result<Job, Error> {
        if self.phase_schema > phases.known() {
            return Err(Error::Corrupt(format!("its phases are of set {}, which is newer than this program", self.phase_schema)));
        }
        let lease = Lease {
            tenant: TenantId::parse(&self.tenant_id).map_err(|error| corrupt("tenant", error))?,
            session: SessionId::from_uuid(self.session_id),
            fence: self.fence,
            owner: owner.to_owned(),
        };
        let now = Instant::now();
        let session = JobSession {
            state: views::read(&self.state)?,
            repo_url: self.repo_url.parse().map_err(|error| corrupt("repo_url", error))?,
            branch: self.branch.parse().map_err(|error| corrupt("branch", error))?,
            public: self.public,
            target: self.target_commit_sha.map(|sha| sha.parse()).transpose().map_err(|error| corrupt("commit", error))?,
            sandbox: self.sandbox,
            size: ClassSize { memory_mb: self.memory_mb, cpu_millis: self.cpu_millis, disk_mb: self.disk_mb, image: self.image },
        };
        Ok(Job {
            lease,
            operation: OperationId::from_uuid(self.operation_id),
            kind: views::read(&self.kind)?,
            phase: self.phase.parse().map_err(|error| corrupt("phase", error))?,
            phase_attempt: self.phase_attempt,
            // The database has done the arithmetic on its clock; from here on durations are the machine's.
            phase_began: self.phase_age.map(|age| now.checked_sub(Duration::from_secs_f64(age.max(0.0))).unwrap_or(now)),
            deadline: now + Duration::from_secs_f64(self.remaining.max(0.0)),
            persist_attempt: self.persist_attempt,
            force: self.force,
            actor: self.actor,
            failure: views::read_failure(self.error)?,
            traceparent: self.traceparent,
            adopted: self.adopted,
            waited: Duration::from_secs_f64(self.waited.max(0.0)),
            pace: Pace::default(),
            session,
            repository: Arc::default(),
        })
    }
}
