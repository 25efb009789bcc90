//! Fifty sessions at once on one machine, with the default limits.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the measurement is the point")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use alpine_tests::{REPO, World, cli::text, sandboxes};

const LIMIT: Duration = Duration::from_secs(600);

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
    let api = world.api("ann");
    let mut ids = Vec::new();
    for number in 0..50 {
        ids.push(text(api.up(&format!("k{number}"), REPO, "main").await.expect(202), "session_id"));
    }
    // What is measured is a person's `list` while all fifty are being made.
    let (mut times, mut ready) = (Vec::new(), 0);
    while ready < 50 {
        let asked = Instant::now();
        let reply = api.get("/v1/sessions?limit=100").await;
        times.push(asked.elapsed());
        let list = reply.expect(200)["sessions"].as_array().unwrap().clone();
        assert_eq!(list.len(), 50);
        let failed: Vec<_> = list.iter().filter(|session| session["state"] == "failed").collect();
        assert!(failed.is_empty(), "{failed:?}");
        ready = list.iter().filter(|session| session["state"] == "ready").count();
        assert!(begun.elapsed() < LIMIT, "{ready} of 50 are ready after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let p95 = percentile(&mut times, 0.95);
    eprintln!("fifty ready after {:?}; list while they came: {} calls, p95 {p95:?}", begun.elapsed(), times.len());
    let mut urls = BTreeSet::new();
    for id in &ids {
        let session = world.status("ann", id).await.ok();
        assert_eq!(session["state"], "ready");
        let shown = api.get(&format!("/v1/sessions/{id}")).await;
        world.answers(shown.expect(200)).await;
        urls.insert(text(&shown.body, "opencode_url"));
    }
    assert_eq!((urls.len(), world.list("ann").await.len()), (50, 50));
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
