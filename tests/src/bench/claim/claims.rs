//! Claims a second of a queue, with nothing else in the tables and with a million finished operations; and again after a while of
//! steady load.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use alpine_server::ledger::Looks;
use tokio::time::sleep;

use super::{
    ledger::{Work, claim},
    whole,
};
use crate::{
    REPO,
    bench::{
        Options,
        report::{Row, Target},
        stage::{PRINCIPAL, Stage, TENANT},
    },
    db::Db,
};

const CLAIMERS: u32 = 4;
/// In the queue when the clock starts; a claim leaves what it has claimed in the way of the next, as it does while that is worked on.
const QUEUE: u32 = 1024;
/// Claimed between two clocks.
const CLAIMED: i64 = 256;
const LIMITS: [i64; 2] = [1, 32];
const LEAST: f64 = 0.9;
/// Operations a second of the steady load: about half of what the machine can.
const STEADY: u32 = 64;

/// An id as programs make them: of this time, so that new ones stand together in the indexes.
fn id(at: &str) -> String {
    format!("(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 19))::uuid")
}

struct Table {
    db: Db,
    work: Work,
    /// Nothing but the queue is ever in it.
    empty: bool,
}

pub async fn rows(stage: &Stage, options: &Options) -> anyhow::Result<Vec<Row>> {
    let (empty, full) = (Table::make(stage, "claim_empty", true).await?, Table::make(stage, "claim_full", false).await?);
    let finished = options.at_scale(1_000_000);
    full.finish_many(finished).await;
    let mut rows = compared(&empty, &full, options, &format!("{finished} finished operations")).await?;
    let seconds = options.steady_seconds.unwrap_or(if options.short { 1 } else { 600 });
    full.steady(Duration::from_secs(seconds)).await?;
    rows.extend(compared(&empty, &full, options, &format!("{finished} finished operations, after {seconds} s of steady load")).await?);
    Ok(rows)
}

/// In turn.
async fn compared(empty: &Table, full: &Table, options: &Options, with: &str) -> anyhow::Result<Vec<Row>> {
    let mut pairs: [Vec<(f64, f64)>; 2] = Default::default();
    for round in 0..=options.rounds {
        for (limit, pairs) in LIMITS.into_iter().zip(&mut pairs) {
            let length = Duration::from_secs(options.seconds) / 2;
            let pair = (full.claims(limit, length).await?, empty.claims(limit, length).await?);
            if round > 0 {
                pairs.push(pair);
            }
        }
    }
    let row = |(limit, pairs): (i64, &Vec<(f64, f64)>)| {
        let what = format!("claims of {limit} at a time, with {with}");
        Row::of_pairs(what, "operations/s", "an empty table", pairs).target(Target::AtLeast(LEAST))
    };
    Ok(LIMITS.into_iter().zip(&pairs).map(row).collect())
}

impl Table {
    async fn make(stage: &Stage, name: &str, empty: bool) -> anyhow::Result<Self> {
        stage.cluster.create_migrated(name).await;
        let url = stage.cluster.url(name);
        let db = Db::new(url.clone());
        db.execute(&format!("INSERT INTO tenants (tenant_id) VALUES ('{TENANT}')")).await;
        Ok(Self { db, work: Work::begin(&url, 32)?, empty })
    }

    /// Each of a session of its own, which is stopped.
    async fn finish_many(&self, count: u32) {
        let id = id("at");
        self.db
            .meddle(&format!(
                "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, transition_seq,
                     target_commit_sha, durable_object_id, created_at, updated_at, stopped_at, persisted_at)
                 SELECT '{TENANT}', {id}, 'p' || i % 1000, '{REPO}', 'main', true, 'stopped', {id}, 8,
                     repeat('ab', 20), 'd' || i, at, at, at, at
                 FROM generate_series({count}, 1, -1) i, LATERAL (SELECT now() - i * interval '1 s' AS at) AS age;
                 INSERT INTO leases (tenant_id, session_id, fence) SELECT tenant_id, session_id, 2 FROM sessions;
                 INSERT INTO operations (tenant_id, operation_id, session_id, kind, status, phase, actor, available_at, deadline_at, created_at,
                     started_at, finished_at)
                 SELECT tenant_id, operation_id, session_id, 'down', 'succeeded', 'destroy', principal_id, created_at, created_at, created_at,
                     created_at, created_at
                 FROM sessions;
                 -- The last of each: the index that a claim's own transition goes into is as large as it would be, a few levels.
                 INSERT INTO transitions (tenant_id, session_id, seq, event_seq, from_state, to_state, at, actor, reason, operation_id, fence)
                 SELECT tenant_id, session_id, 8, 8, 'persisting', 'stopped', created_at, principal_id, 'bench', operation_id, 2 FROM sessions"
            ))
            .await;
        self.db.execute("VACUUM ANALYZE").await;
        // What is written here is not written while claims are measured.
        self.db.execute("CHECKPOINT").await;
    }

    /// So many that wait, and nothing that is claimed.
    async fn fill(&self) {
        let id = id("clock_timestamp()");
        if self.empty {
            // Its pages stay, as they do in tables in use: new ones would cost more than they should.
            let gone = "SELECT FROM operations o WHERE o.session_id = t.session_id AND o.status <> 'queued'";
            let delete = |table: &str| format!("DELETE FROM {table} t WHERE EXISTS ({gone})");
            const TABLES: [&str; 4] = ["leases", "transitions", "sessions", "operations"];
            self.db.meddle(&TABLES.map(delete).join(";")).await;
            for table in TABLES {
                self.db.execute(&format!("VACUUM {table}")).await;
            }
        }
        self.db
            .meddle(&format!(
                "WITH gone AS (
                     UPDATE operations SET status = 'succeeded', finished_at = now() WHERE status = 'running' RETURNING tenant_id, session_id
                 )
                 UPDATE leases l SET owner = NULL, until = NULL FROM gone
                 WHERE (l.tenant_id, l.session_id) = (gone.tenant_id, gone.session_id);
                 WITH queued AS (
                     INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
                     SELECT '{TENANT}', {id}, {id}, 'up', 'resolve', '{PRINCIPAL}', now() + interval '1 day'
                     FROM generate_series(1, {QUEUE} - (SELECT count(*) FROM operations WHERE status = 'queued'))
                     RETURNING tenant_id, operation_id, session_id
                 ), lease AS (
                     INSERT INTO leases (tenant_id, session_id) SELECT tenant_id, session_id FROM queued
                 ), accepted AS (
                     INSERT INTO transitions (tenant_id, session_id, seq, event_seq, to_state, actor, reason, operation_id, fence)
                     SELECT tenant_id, session_id, 1, 1, 'requested', '{PRINCIPAL}', 'up accepted', operation_id, 0 FROM queued
                 )
                 INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
                 SELECT tenant_id, session_id, '{PRINCIPAL}', '{REPO}', 'main', true, 'requested', operation_id FROM queued"
            ))
            .await;
    }

    /// Operations claimed a second, `limit` at a time, by a few at once; the queue is filled up with the clock stopped.
    async fn claims(&self, limit: i64, length: Duration) -> anyhow::Result<f64> {
        let (mut claimed, mut spent, begun) = (0, Duration::ZERO, Instant::now());
        // Filling takes longer than claiming.
        while spent < length && begun.elapsed() < length * 6 {
            self.fill().await;
            let counted = AtomicI64::new(0);
            let clock = Instant::now();
            let claimers = (0..CLAIMERS).map(|_| async {
                let mut looks = Looks::default();
                while counted.load(Ordering::Relaxed) < CLAIMED {
                    let jobs = claim(&self.work.ledger, &mut looks, limit).await?;
                    anyhow::ensure!(!jobs.is_empty(), "the queue is empty");
                    // Else the claim was refused, and what was measured is the second one, which begins nothing.
                    anyhow::ensure!(jobs.iter().all(|job| job.phase_began.is_some()), "what was claimed has not begun");
                    counted.fetch_add(i64::try_from(jobs.len())?, Ordering::Relaxed);
                }
                Ok(())
            });
            futures_util::future::try_join_all(claimers).await?;
            spent += clock.elapsed();
            claimed += counted.load(Ordering::Relaxed);
        }
        #[expect(clippy::cast_precision_loss, reason = "a few million")]
        Ok(claimed as f64 / spent.as_secs_f64())
    }

    /// Whole operations, about half as many as the machine can, with their sessions' history left behind.
    async fn steady(&self, length: Duration) -> anyhow::Result<()> {
        self.db.meddle("UPDATE operations SET status = 'succeeded', finished_at = now() WHERE status IN ('queued', 'running')").await;
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < length {
            let part = Instant::now();
            whole::through(&self.work, &format!("steady{number}"), STEADY).await?;
            number += 1;
            sleep(part.elapsed()).await;
        }
        Ok(())
    }
}
