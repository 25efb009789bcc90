//! However often and however badly a key is sent: one operation, one session, one answer.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use alpine_tests::{
    REPO, World, alone,
    api::{Api, Reply},
    cli::text,
    sandboxes,
    server::Server,
};
use tokio::sync::{MutexGuard, Semaphore};

const LIMIT: Duration = Duration::from_secs(180);
const SETTINGS: &[(&str, &str)] = &[("ALPINE_LEASE_SECONDS", "2"), ("ALPINE_LOG", "error"), ("ALPINE_WORKER_CONCURRENCY", "16")];

/// Three servers on one database, and callers at each of them.
struct Replicas {
    world: World,
    others: Vec<Server>,
    _alone: MutexGuard<'static, ()>,
}

impl Replicas {
    async fn start() -> Self {
        let alone = alone().await;
        let world = World::with(SETTINGS).await;
        let others = vec![world.another_server(&[]).await, world.another_server(&[]).await];
        Self { world, others, _alone: alone }
    }

    /// So many callers, on connections of their own, in turn at each server.
    fn callers(&self, count: usize) -> Arc<Vec<Api>> {
        let bases: Vec<String> = [self.world.server.base()].into_iter().chain(self.others.iter().map(Server::base)).collect();
        Arc::new((0..count).map(|n| self.world.api_at(&bases[n % bases.len()], "ann")).collect())
    }

    /// Kill one of them as often as told, and start it again.
    async fn kill_in_turn(&mut self, times: usize, pause: Duration) {
        for n in 0..times {
            tokio::time::sleep(pause).await;
            let server = if n % 3 == 2 { &mut self.world.server } else { &mut self.others[n % 3] };
            server.kill();
            tokio::time::sleep(pause / 4).await;
            // Nobody waits until it is ready, callers least of all.
            server.spawn();
        }
    }
}

/// What stood between a request and its answer.
#[derive(Debug, Default, Clone, Copy)]
struct Trouble {
    unavailable: u32,
    no_reply: u32,
}

impl std::ops::AddAssign for Trouble {
    fn add_assign(&mut self, more: Self) {
        self.unavailable += more.unavailable;
        self.no_reply += more.no_reply;
    }
}

/// As a careful client does it: at another server when one is gone, and again when it is told to.
async fn insist(callers: &[Api], first: usize, key: &str, branch: &str) -> (Reply, Trouble) {
    let begun = Instant::now();
    let (mut n, mut trouble) = (first, Trouble::default());
    while begun.elapsed() < LIMIT {
        match callers[n % callers.len()].try_up(key, REPO, branch).await {
            // Both say that the same request may be sent again: a machine this busy is also slow to send a body.
            Ok(reply) if matches!(reply.status.as_u16(), 408 | 503) => trouble.unavailable += 1,
            Ok(reply) => return (reply, trouble),
            Err(_) => trouble.no_reply += 1,
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no server answered {key} within {LIMIT:?}");
}

fn ids(reply: &Reply) -> (String, String) {
    (text(&reply.body, "session_id"), text(&reply.body, "operation_id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_ups_with_one_key_over_three_servers_that_get_killed_are_one_operation() {
    const ASKED: usize = 10_000;
    let mut replicas = Replicas::start().await;
    let callers = replicas.callers(60);
    let asked: Vec<_> = (0..ASKED)
        .map(|n| {
            let callers = Arc::clone(&callers);
            tokio::spawn(async move { insist(&callers, n, "one", "main").await })
        })
        .collect();
    replicas.kill_in_turn(4, Duration::from_secs(2)).await;
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    let (mut all, mut trouble) = (BTreeSet::new(), Trouble::default());
    for asked in asked {
        let (reply, met) = asked.await.unwrap();
        *answers.entry(reply.status.as_u16()).or_default() += 1;
        trouble += met;
        assert!(matches!(reply.status.as_u16(), 200 | 202), "{}", reply.text);
        all.insert(ids(&reply));
    }
    println!("answers by status: {answers:?}; {trouble:?}");
    assert!(trouble.no_reply > 0, "no kill hit anything");
    assert_eq!(answers.values().sum::<usize>(), ASKED);
    assert_eq!(all.len(), 1, "one session and one operation: {all:?}");
    let (session, operation) = all.pop_first().unwrap();
    let world = &replicas.world;
    world.db.wait_for_state(&session, &["ready"], LIMIT).await;
    assert_eq!(ids(&world.api("ann").up("one", REPO, "main").await), (session.clone(), operation));
    for table in ["sessions", "operations", "idempotency_keys", "leases"] {
        assert_eq!(world.db.count(table).await, 1, "{table}");
    }
    assert_eq!(sandboxes::directories(&world.data_dir), [session]);
}

const KEYS: usize = 1_000;
const TIMES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_keys_each_sent_twenty_times_with_lost_replies_and_kills_are_a_thousand_sessions() {
    let mut replicas = Replicas::start().await;
    let callers = replicas.callers(60);
    // One in a hundred gets ready; the others fail early, which is an answer like any other.
    let branch = |key: usize| if key.is_multiple_of(100) { "main" } else { "absent" };
    let at_once = Arc::new(Semaphore::new(200));
    let mut order: Vec<usize> = (0..KEYS).flat_map(|key| [key; TIMES]).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut order);
    let asked: Vec<_> = order
        .into_iter()
        .enumerate()
        .map(|(n, key)| {
            let (callers, at_once) = (Arc::clone(&callers), Arc::clone(&at_once));
            tokio::spawn(async move {
                let _place = at_once.acquire_owned().await.unwrap();
                let name = format!("key-{key}");
                if n % 3 == 0 {
                    // The reply is lost, wherever the request is by then.
                    let patience = Duration::from_micros(fastrand::u64(0..150_000));
                    let _ = tokio::time::timeout(patience, callers[n % callers.len()].try_up(&name, REPO, branch(key))).await;
                }
                (key, insist(&callers, n, &name, branch(key)).await)
            })
        })
        .collect();
    replicas.kill_in_turn(6, Duration::from_secs(3)).await;
    let mut first: BTreeMap<usize, (String, String)> = BTreeMap::new();
    let mut trouble = Trouble::default();
    for asked in asked {
        let (key, (reply, met)) = asked.await.unwrap();
        trouble += met;
        // A failed `up` answers with its error, which names the operation.
        let operation = text(&reply.body, "operation_id");
        let known = first.entry(key).or_insert_with(|| (operation.clone(), String::new()));
        assert_eq!(known.0, operation, "key {key}");
    }
    println!("{trouble:?}");
    assert!(trouble.no_reply > 0, "no kill hit anything");
    let world = &replicas.world;
    let settled = || async { (world.db.count("operations WHERE finished_at IS NULL").await == 0).then_some(()) };
    alpine_tests::until("every operation has ended", LIMIT, settled).await;
    let keys = i64::try_from(KEYS).unwrap();
    for table in ["sessions", "operations", "idempotency_keys"] {
        assert_eq!(world.db.count(table).await, keys, "{table}");
    }
    assert_eq!(world.db.count("sessions WHERE state = 'ready'").await, keys / 100);
    assert_eq!(world.db.count("sessions WHERE state = 'failed'").await, keys - keys / 100);
    assert_eq!(sandboxes::directories(&world.data_dir).len(), KEYS / 100);
    // What a key is answered with from now on is the same at every server, to the byte.
    for (key, (operation, answer)) in &mut first {
        for caller in &callers[..3] {
            let reply = caller.up(&format!("key-{key}"), REPO, branch(*key)).await;
            assert_eq!(text(&reply.body, "operation_id"), *operation);
            // A request's own id is the one thing that is not the operation's; the rest is the same to the byte.
            let own = reply.body["request_id"].as_str().unwrap_or("-");
            let body = format!("{} {}", reply.status, reply.text.replace(own, ""));
            if answer.is_empty() {
                answer.clone_from(&body);
            }
            assert_eq!(*answer, body, "key {key}");
        }
    }
}
