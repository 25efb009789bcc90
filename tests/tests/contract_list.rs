//! The contract table: `list` and `status`.

use alpine_tests::{REPO, World, cli::text, db::uuid};

fn ids(list: &[serde_json::Value]) -> Vec<String> {
    list.iter().map(|session| text(session, "session_id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_nothing_is_said_in_words_and_as_an_empty_array() {
    let world = World::start().await;
    assert_eq!(world.alpine("ann").args(&["list", "--json"]).run().await.stdout.trim(), "[]");
    let human = world.alpine("ann").args(&["list"]).run().await;
    assert_eq!((human.code, human.stdout.trim()), (Some(0), "No active or recent sessions."));
    assert_eq!(world.alpine("ann").args(&["ls", "--json"]).run().await.stdout.trim(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_ones_own_newest_first_and_stable_on_ties() {
    let world = World::start().await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(text(&world.ready("ann").await, "session_id"));
    }
    world.ready("bob").await;
    let list = world.list("ann").await;
    let newest_first: Vec<String> = sessions.iter().rev().cloned().collect();
    assert_eq!(ids(&list), newest_first);
    for session in &list {
        assert_eq!(session["owner_principal_id"], "ann");
        assert_eq!((&session["state"], &session["repo_url"], &session["branch"]), (&"ready".into(), &REPO.into(), &"main".into()));
        assert!(text(session, "updated_at").ends_with('Z'));
    }
    // A change moves a session to the top.
    world.down("ann", &sessions[0], &[]).await.ok();
    assert_eq!(ids(&world.list("ann").await)[0], sessions[0]);
    // On ties the order is some fixed one.
    world.db.execute("UPDATE sessions SET updated_at = now()").await;
    let tied = ids(&world.list("ann").await);
    for _ in 0..3 {
        assert_eq!(ids(&world.list("ann").await), tied);
    }
    // Pages of one are the same list.
    let (mut paged, mut path) = (Vec::new(), "/v1/sessions?limit=1".to_owned());
    loop {
        let reply = world.api("ann").get(&path).await;
        let page = reply.expect(200);
        paged.extend(page["sessions"].as_array().unwrap().iter().map(|session| text(session, "session_id")));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/sessions?limit=1&cursor={cursor}");
        assert!(paged.len() <= 4, "the pages do not end");
    }
    assert_eq!(paged, tied);
}

#[tokio::test(flavor = "multi_thread")]
async fn final_sessions_are_hidden_after_a_day_and_active_ones_never() {
    let world = World::start().await;
    let ready = text(&world.ready("ann").await, "session_id");
    let stopped = text(&world.ready("ann").await, "session_id");
    world.down("ann", &stopped, &[]).await.ok();
    world.up("ann", REPO, "absent", &[]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    assert_eq!(world.list("ann").await.len(), 3);
    world.db.execute("UPDATE sessions SET updated_at = now() - interval '23 hours 59 minutes'").await;
    assert_eq!(world.list("ann").await.len(), 3, "a day is not over");
    world.db.execute("UPDATE sessions SET updated_at = now() - interval '24 hours 1 minute'").await;
    assert_eq!(ids(&world.list("ann").await), [ready.as_str()]);
    // Hidden, not gone.
    assert_eq!(world.status("ann", &stopped).await.ok()["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_wait_for_recovery_are_listed_however_old() {
    let world = World::start().await;
    let session = text(&world.ready("ann").await, "session_id");
    let states = ["stopping", "stopped_unpersisted", "persisting", "persist_failed"];
    for state in states {
        let change = format!(
            "UPDATE sessions SET state = '{state}', updated_at = now() - interval '9 days' WHERE session_id = '{}'",
            uuid(&session)
        );
        assert_eq!(world.db.meddle(&change).await, 1);
        let list = world.list("ann").await;
        assert_eq!(list.len(), 1, "{state} is hidden");
        assert_eq!(list[0]["state"], state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybodys_sessions_are_for_admins_only() {
    let world = World::start().await;
    let ann = text(&world.ready("ann").await, "session_id");
    let bob = text(&world.ready("bob").await, "session_id");
    world.alpine("ann").args(&["list", "--all-owners", "--json"]).run().await.refused(1, "ERR_SESSION_FORBIDDEN");
    let all = world.admin("root").args(&["list", "--all-owners", "--json"]).run().await.ok();
    assert_eq!(ids(all.as_array().unwrap()), [bob, ann]);
    let elsewhere = world.admin("root").env("ALPINE_TENANT", "elsewhere").args(&["list", "--all-owners", "--json"]).run().await;
    assert_eq!(elsewhere.ok(), serde_json::json!([]), "an admin's tenant is where the list ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_ready_session_says_what_comes_next() {
    let world = World::start().await;
    let up = world.ready("ann").await;
    let session = text(&up, "session_id");
    let status = world.status("ann", &session).await.ok();
    assert_eq!(status["next_step"], format!("run alpine down {session} when work is complete"));
    assert_eq!((&status["state"], &status["branch"], &status["repo_url"]), (&"ready".into(), &"main".into(), &REPO.into()));
    assert_eq!(status["ready_at"], up["ready_at"]);
    assert_eq!(status["operation_id"], up["operation_id"]);
    assert!(status["last_error"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_session_is_not_found_whatever_its_id_looks_like() {
    let world = World::start().await;
    for id in ["ses_019ab1c24d3e7f508192a3b4c5d6e7f8", "nonsense", "ses_", "../../etc", "ses_019AB1C24D3E7F508192A3B4C5D6E7F8"] {
        world.status("ann", id).await.refused_because(1, "ERR_SESSION_NOT_FOUND", "session not found");
        world.down("ann", id, &[]).await.refused_because(1, "ERR_SESSION_NOT_FOUND", "session not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_session_is_forbidden_and_another_tenants_does_not_exist() {
    let world = World::start().await;
    let session = text(&world.ready("ann").await, "session_id");
    let because = "session is owned by another principal";
    world.status("bob", &session).await.refused_because(1, "ERR_SESSION_FORBIDDEN", because);
    world.down("bob", &session, &[]).await.refused_because(1, "ERR_SESSION_FORBIDDEN", because);
    for (principal, admin) in [("ann", "0"), ("root", "1")] {
        let foreign = || world.alpine(principal).env("ALPINE_TENANT", "elsewhere").env("ALPINE_ADMIN", admin);
        foreign().args(&["status", &session, "--json"]).run().await.refused_because(1, "ERR_SESSION_NOT_FOUND", "session not found");
        foreign().args(&["down", &session, "--json"]).run().await.refused_because(1, "ERR_SESSION_NOT_FOUND", "session not found");
    }
    assert_eq!(world.db.state(&session).await, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_each_transition_with_who_why_and_under_which_fence() {
    let world = World::start().await;
    let up = world.ready("ann").await;
    let session = text(&up, "session_id");
    let reply = world.api("ann").get(&format!("/v1/sessions/{session}/events")).await;
    let page = reply.expect(200);
    let events = page["events"].as_array().unwrap();
    let mut path: Vec<&str> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], index + 1);
        assert_eq!(event["operation_id"], up["operation_id"]);
        assert!(!text(event, "actor").is_empty() && event["reason"].is_string() && event["fence"].is_i64(), "{event}");
        assert_eq!(event["from_state"].as_str(), path.last().copied(), "{event}");
        match event["kind"].as_str() {
            Some("transition") => path.push(event["to_state"].as_str().unwrap()),
            _ => assert_eq!(event["to_state"], event["from_state"], "progress leaves the state as it is: {event}"),
        }
    }
    assert_eq!(path, ["requested", "provisioning", "repo_syncing", "installing", "ready"]);
    let rest = world.api("ann").get(&format!("/v1/sessions/{session}/events?after=3")).await;
    assert_eq!(rest.expect(200)["events"].as_array().unwrap()[..], events[3..]);
    assert_eq!(rest.body["next_after"], events.len());
    let cli = world.alpine("ann").args(&["events", &session, "--json"]).run().await;
    assert_eq!(cli.code, Some(0), "{cli}");
    assert!(path.iter().all(|state| cli.stdout.contains(state)), "{cli}");
    world.api("bob").get(&format!("/v1/sessions/{session}/events")).await.expect(403);
}
