//! Fifty sessions at once on one machine, with the default limits.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the measurement is the point")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use alpine_tests::{REPO, World, cli::text, sandboxes};

fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
    let at = ((times.len() - 1) as f64 * part).round() as usize;
    times[at]
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_get_ready_at_once_while_list_stays_quick_and_all_are_gone_after() {
    let world = World::start().await;
    let begun = Instant::now();
    let all: Vec<_> = (0..50).map(|_| world.up("ann", REPO, "main", &[]).limit(Duration::from_secs(600)).spawn()).collect();
    let api = world.api("ann");
    let mut times = Vec::new();
    let mut seen = 0;
    while all.iter().any(|up| !up.is_finished()) {
        let asked = Instant::now();
        let reply = api.get("/v1/sessions?limit=100").await;
        times.push(asked.elapsed());
        seen = seen.max(reply.expect(200)["sessions"].as_array().unwrap().len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut ids, mut urls) = (Vec::new(), BTreeSet::new());
    for up in all {
        let up = up.await.unwrap().ok();
        assert_eq!(up["state"], "ready");
        world.answers(&up).await;
        urls.insert(text(&up, "opencode_url"));
        ids.push(text(&up, "session_id"));
    }
    let p95 = percentile(&mut times, 0.95);
    eprintln!("fifty ready after {:?}; list while they came: {} calls, p95 {p95:?}", begun.elapsed(), times.len());
    assert_eq!((urls.len(), seen, world.list("ann").await.len()), (50, 50, 50));
    assert!(p95 < Duration::from_secs(1), "list p95 {p95:?}");
    assert!(ids.iter().all(|id| !sandboxes::processes(id).is_empty()), "each has processes of its own");

    let downs: Vec<_> = ids.iter().map(|id| world.alpine("ann").args(&["down", id, "--json"]).spawn()).collect();
    for down in downs {
        assert_eq!(down.await.unwrap().ok()["state"], "stopped");
    }
    for id in &ids {
        world.assert_nothing_left(id);
    }
    assert_eq!(world.db.count("session_records WHERE verified_at IS NOT NULL").await, 50);
}
