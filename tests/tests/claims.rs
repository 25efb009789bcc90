//! What a worker is given to do, asked of the ledger itself on a real database.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::time::Duration;

use alpine_server::{
    domain::{
        operation::Phase,
        principal::{Caller, Principal, PrincipalId, Roles, TenantId},
    },
    ledger::{Claimed, Findings, Job, Look, NewDown, Step},
};
use alpine_tests::{
    bench::claim::ledger::{LEASE, PRINCIPAL, TENANT, Work, accept, carry_out},
    cluster,
    db::Db,
};

/// What waits for its first worker, and nothing else.
const NEW: Look = Look::New { within: None };

struct Queue {
    url: String,
    db: Db,
    work: Work,
}

impl Queue {
    async fn of(count: usize) -> Self {
        let url = cluster::database().await;
        let queue = Self { db: Db::new(url.clone()), work: Work::begin(&url, 4).unwrap(), url };
        queue.add("first", count).await;
        queue
    }

    async fn add(&self, name: &str, count: usize) {
        for number in 0..count {
            accept(&self.work.ledger, &format!("{name}-{number}")).await.unwrap();
        }
    }

    /// Rows and entries of indexes, of operations, by all claims so far: a connection reports when it is closed.
    async fn entries_read(&mut self) -> i64 {
        const READ: &str = "SELECT sum(read)::bigint FROM (
            SELECT relname, idx_tup_read AS read FROM pg_stat_user_indexes UNION ALL SELECT relname, seq_tup_read FROM pg_stat_user_tables
        ) AS all_reads WHERE relname = 'operations'";
        self.work = Work::begin(&self.url, 4).unwrap();
        let mut last = -1;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let read = self.db.one(READ).await;
            if read == last {
                return read;
            }
            last = read;
        }
    }

    async fn claim(&self, owner: &str, limit: i64, look: Look) -> Vec<Job> {
        self.work.ledger.claim(owner, limit, LEASE, look).await.unwrap().jobs
    }
}

/// Sorted: in which order rows come back is not promised.
fn ids(jobs: &[Job]) -> Vec<String> {
    let mut ids: Vec<String> = jobs.iter().map(|job| job.lease.session.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn the_oldest_are_claimed_first_and_none_twice() {
    let queue = Queue::of(8).await;
    let oldest = "SELECT array_agg(session_id::text) FROM (SELECT session_id FROM operations ORDER BY available_at LIMIT 3) AS oldest";
    let oldest: Vec<String> = queue.db.one(oldest).await;
    let first = queue.claim("one", 3, NEW).await;
    let sessions: Vec<String> = first.iter().map(|job| job.lease.session.uuid().to_string()).collect();
    assert!(oldest.iter().all(|session| sessions.contains(session)) && first.len() == 3, "{sessions:?} of {oldest:?}");
    let (second, third) = tokio::join!(queue.claim("two", 32, Look::All), queue.claim("three", 32, Look::All));
    let mut all = [ids(&first), ids(&second), ids(&third)].concat();
    assert_eq!(all.len(), 8);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
}

#[tokio::test]
async fn what_was_given_back_or_left_is_found_by_a_look_for_it_and_before_all_that_waits() {
    let queue = Queue::of(3).await;
    let jobs = queue.claim("one", 2, NEW).await;
    let [given_back, left] = &jobs[..] else { panic!("{jobs:?}") };
    let released = queue.work.ledger.release(&given_back.lease, given_back.operation, Duration::ZERO, 0).await;
    released.unwrap();
    queue.db.meddle(&format!("UPDATE leases SET until = now() - interval '1 s' WHERE session_id = '{}'", left.lease.session.uuid())).await;
    assert_eq!(queue.claim("two", 1, NEW).await.len(), 1, "what waits is found without");
    queue.add("more", 2).await;
    let found = queue.claim("two", 2, Look::All).await;
    assert_eq!(ids(&found), ids(&jobs));
    let adopted: Vec<bool> = [given_back, left].iter().map(|job| is_adopted(&found, job)).collect();
    assert_eq!(adopted, [false, true], "one was given back, the other's worker is dead");
    assert_eq!(queue.claim("two", 32, Look::All).await.len(), 2, "then the rest");
}

#[tokio::test]
async fn an_up_begins_with_its_claim_and_never_twice() {
    let queue = Queue::of(2).await;
    let jobs = queue.claim("one", 1, NEW).await;
    let [job] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((job.session.state.as_str(), job.phase.as_str()), ("provisioning", "resolve"));
    assert!(job.phase_began.is_some());
    let session = job.lease.session.uuid();
    let history = format!(
        "SELECT array_agg(concat_ws(' ', seq, from_state, to_state, reason, fence, actor, at >= lag, event_seq) ORDER BY seq)
         FROM (SELECT *, lag(at) OVER (ORDER BY seq) AS lag FROM transitions WHERE session_id = '{session}') AS t"
    );
    let begun = ["1 requested up accepted 0 ann", "2 requested provisioning up began 1 ann t 2"];
    assert_eq!(queue.db.one::<Vec<String>>(&history).await, begun);

    queue.work.ledger.release(&job.lease, job.operation, Duration::ZERO, 1).await.unwrap();
    let again = queue.claim("two", 1, Look::All).await;
    assert_eq!((ids(&again), again[0].lease.fence, again[0].phase_attempt), (ids(&jobs), 2, 1));
    assert_eq!(queue.db.one::<Vec<String>>(&history).await, begun);
    assert_eq!(queue.db.count("sessions WHERE state = 'requested' AND transition_seq = 1").await, 1, "the other is untouched");
}

#[tokio::test]
async fn what_begins_with_one_claim_begins_at_one_time() {
    let queue = Queue::of(5).await;
    assert_eq!(queue.claim("one", 5, NEW).await.len(), 5);
    let times: i64 = queue.db.one("SELECT count(DISTINCT at) FROM transitions WHERE to_state = 'provisioning'").await;
    assert_eq!(times, 1);
}

#[tokio::test]
async fn one_that_must_not_begin_fails_by_itself() {
    let queue = Queue::of(3).await;
    // As no program writes it: an event of tomorrow.
    let damage = "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
        SELECT tenant_id, session_id, 2, 'requested', 'failing', 'nobody', 'damage', operation_id, 0 FROM operations ORDER BY available_at LIMIT 1";
    assert_eq!(queue.db.meddle(damage).await, 1);
    let jobs = queue.claim("one", 3, NEW).await;
    assert_eq!(jobs.len(), 3, "the others are not held up");
    let mut failed = 0;
    for mut job in jobs {
        let step = |to, phase| Step {
            to,
            reason: "t".into(),
            phase,
            findings: Findings::default(),
            failure: None,
            end: None,
            at: None,
            sweep_after: None,
        };
        failed += usize::from(queue.work.ledger.commit(&mut job, step(Phase::Resolve.state(), Phase::Resolve)).await.is_err());
    }
    assert_eq!(failed, 1);
}

fn is_adopted(found: &[Job], of: &Job) -> bool {
    found.iter().find(|job| job.lease.session == of.lease.session).unwrap().adopted
}

#[tokio::test]
async fn what_runs_is_not_in_the_way_of_what_waits() {
    let mut queue = Queue::of(400).await;
    while !queue.claim("busy", 32, NEW).await.is_empty() {}
    queue.db.execute("VACUUM ANALYZE operations").await;
    queue.db.execute("VACUUM ANALYZE leases").await;
    queue.add("late", 1).await;
    let before = queue.entries_read().await;
    assert_eq!(queue.claim("two", 32, NEW).await.len(), 1);
    let read = queue.entries_read().await - before;
    assert!(read < 20, "{read} were read to find one beside 400 that run");
}

#[tokio::test]
async fn what_was_claimed_is_not_in_the_way_either() {
    let mut queue = Queue::of(1).await;
    // Their entries stay in the index of the queue, before all others, for as long as nothing vacuums it.
    queue
        .db
        .meddle(&format!(
            "INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, available_at, deadline_at)
             SELECT '{TENANT}', gen_random_uuid(), gen_random_uuid(), 'up', 'resolve', 'p', now() - interval '10 minutes', now()
             FROM generate_series(1, 5000)"
        ))
        .await;
    queue.db.execute("ANALYZE operations").await;
    queue.db.meddle("UPDATE operations SET status = 'succeeded', finished_at = now() WHERE actor = 'p'").await;
    let before = queue.entries_read().await;
    assert_eq!(queue.claim("two", 32, Look::New { within: Some(Duration::from_secs(60)) }).await.len(), 1);
    let read = queue.entries_read().await - before;
    assert!(read < 20, "{read} were read to find one after 5,000 that were claimed, with no vacuum since");
}

#[tokio::test]
async fn what_came_earlier_is_found_by_a_look_for_all() {
    let queue = Queue::of(2).await;
    queue.db.meddle("UPDATE operations SET available_at = now() - interval '1 minute'").await;
    queue.add("late", 1).await;
    assert_eq!(queue.claim("one", 32, Look::New { within: Some(Duration::from_secs(30)) }).await.len(), 1);
    let found = queue.claim("one", 32, Look::All).await;
    assert!(found.len() == 2 && found.iter().all(|job| job.waited >= Duration::from_secs(60)), "{found:?}");
}

#[tokio::test]
async fn nobody_is_left_behind_for_what_somebody_had_begun() {
    let queue = Queue::of(1).await;
    let given_back = &queue.claim("one", 1, NEW).await[0];
    queue.work.ledger.release(&given_back.lease, given_back.operation, Duration::ZERO, 0).await.unwrap();
    queue.add("waits", 3).await;
    queue.db.meddle("UPDATE operations SET available_at = now() - interval '1 minute' WHERE status = 'queued'").await;
    let minute = Duration::from_secs(60);
    let look_for_all = async |limit| {
        let Claimed { jobs, oldest_left } = queue.work.ledger.claim("two", limit, LEASE, Look::All).await.unwrap();
        (jobs, oldest_left)
    };
    // It took the only place: of those that wait nothing is known.
    let (jobs, left) = look_for_all(1).await;
    assert!(ids(&jobs) == ids(std::slice::from_ref(given_back)) && left.is_none(), "{left:?}");
    let (jobs, left) = look_for_all(2).await;
    assert!(jobs.len() == 2 && left.is_some_and(|left| left >= minute), "{left:?}");
    let (jobs, left) = look_for_all(2).await;
    assert_eq!((jobs.len(), left), (1, Some(Duration::ZERO)), "nobody is left");
}

#[tokio::test]
async fn a_queue_that_statistics_have_not_seen_is_read_by_no_commit() {
    let mut queue = Queue::of(0).await;
    // Much that is over, and nothing else: every index of what waits looks empty to the planner.
    queue
        .db
        .meddle(&format!(
            "INSERT INTO tenants (tenant_id) VALUES ('{TENANT}');
             INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
             SELECT '{TENANT}', gen_random_uuid(), 'p', 'https://h/r', 'main', true, 'failed', gen_random_uuid() FROM generate_series(1, 20000);
             INSERT INTO leases (tenant_id, session_id) SELECT tenant_id, session_id FROM sessions;
             INSERT INTO operations (tenant_id, operation_id, session_id, kind, status, phase, actor, error, deadline_at, finished_at)
             SELECT tenant_id, operation_id, session_id, 'up', 'failed', 'resolve', 'p', '{{}}', now(), now() FROM sessions"
        ))
        .await;
    queue.db.execute("VACUUM ANALYZE").await;
    queue.add("waits", 400).await;
    let before = queue.entries_read().await;
    queue.add("late", 1).await;
    let [carried, ended] = <[Job; 2]>::try_from(queue.claim("one", 2, NEW).await).unwrap();
    let tenant = TenantId::parse(TENANT).unwrap();
    let principal = Principal::new(tenant.clone(), PrincipalId::parse(PRINCIPAL).unwrap(), Roles::default());
    let caller = Caller { principal, request_id: "a-test".into() };
    let down = NewDown { caller, session: ended.lease.session, retry_persist: false, force: false, reason: None, traceparent: None };
    queue.work.ledger.tenant(&tenant).accept_down(down).await.unwrap();
    carry_out(&queue.work.ledger, carried).await.unwrap();
    let read = queue.entries_read().await - before;
    assert!((10..200).contains(&read), "{read} were read for two operations beside 400 that wait");
}
