//! The contract table, `up`: what a person and a script may rely on, through the real programs.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeSet, time::Duration};

use alpine_tests::{REPO, World, cli::text, git_repo::git, git_server::url, sandboxes};
use serde_json::Value;

const PROVISION: &str = "ERR_SANDBOX_PROVISION_FAILED";

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_makes_a_ready_session_at_the_branchs_commit_and_its_url_answers() {
    let world = World::start().await;
    let (repo, commit) = world.git.with_files("org/app", &[("README.md", "hi\n"), ("src/a.txt", "deep\n")]);
    let up = world.up("ann", &repo, "main", &[]).run().await.ok();
    let expected = ["browser_opened", "opencode_url", "operation_id", "ready_at", "session_id", "state", "target_commit_sha"];
    assert!(keys(&up).is_superset(&expected.into()), "{up}");
    assert_eq!(up["state"], "ready");
    assert_eq!(up["target_commit_sha"], commit.as_str());
    assert_eq!(up["browser_opened"], false);
    assert!(text(&up, "ready_at").ends_with('Z'));
    assert!(world.answers(&up).await.contains("README.md"), "the workspace is served");
    let workspace = world.workspace(&text(&up, "session_id"));
    assert_eq!(git(&workspace, &["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&workspace, &["status", "--porcelain"]), "");
    assert_eq!(std::fs::read_to_string(workspace.join("src/a.txt")).unwrap(), "deep\n");
    let path = world.db.path(&text(&up, "session_id")).await;
    assert_eq!(path, ["requested", "provisioning", "repo_syncing", "installing", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_id_again_is_the_same_session_and_makes_nothing_new() {
    let world = World::start().await;
    let first = world.up("ann", REPO, "main", &["--client-request-id", "k1"]).run().await.ok();
    let before = (world.db.count("operations").await, world.db.count("transitions").await);
    let again = world.up("ann", REPO, "main", &["--client-request-id", "k1"]).run().await.ok();
    assert_eq!(first, again);
    assert_eq!((world.db.count("operations").await, world.db.count("transitions").await), before);
    assert_eq!(world.db.count("sessions").await, 1);
    assert_eq!(sandboxes::directories(&world.data_dir), [text(&first, "session_id")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_request_id_each_up_is_a_session_of_its_own() {
    let world = World::start().await;
    assert_ne!(world.ready("ann").await["session_id"], world.ready("ann").await["session_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_ups_at_once_with_one_request_id_are_one_session_and_one_sandbox() {
    let world = World::start().await;
    let one = || world.up("ann", REPO, "main", &["--client-request-id", "same"]).spawn();
    let all: Vec<_> = (0..50).map(|_| one()).collect();
    let mut answers = BTreeSet::new();
    for answer in all {
        answers.insert(answer.await.unwrap().ok().to_string());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((world.db.count("sessions").await, world.db.count("operations").await), (1, 1));
    assert_eq!(world.db.count("idempotency_keys").await, 1);
    assert_eq!(sandboxes::directories(&world.data_dir).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_request_id_with_other_parameters_is_a_conflict_that_names_the_first_operation() {
    let world = World::start().await;
    let (other_repo, _) = world.git.with_files("org/other", &[("a", "a")]);
    let first = world.up("ann", REPO, "main", &["--client-request-id", "k1"]).run().await.ok();
    let cause = "client-request-id was reused with different request parameters";
    let others: [(&str, &str, &[&str]); 3] = [
        (REPO, "other", &["--client-request-id", "k1"]),
        (REPO, "main", &["--client-request-id", "k1", "--public"]),
        (&other_repo, "main", &["--client-request-id", "k1"]),
    ];
    for (repo, branch, more) in others {
        let error = world.up("ann", repo, branch, more).run().await.refused_because(1, "ERR_OPERATION_CONFLICT", cause);
        assert_eq!(error["operation_id"], first["operation_id"]);
        assert_eq!(error["retryable"], false);
    }
    assert_eq!(world.db.count("sessions").await, 1);
    let conflicts = world.server.metric("alpine_errors_total", &["ERR_OPERATION_CONFLICT", "up"]).await;
    assert_eq!(conflicts, Some(3.0), "conflicts are counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_id_of_another_principal_is_a_session_of_its_own() {
    let world = World::start().await;
    let ann = world.up("ann", REPO, "main", &["--client-request-id", "k1"]).run().await.ok();
    let bob = world.up("bob", REPO, "main", &["--client-request-id", "k1"]).run().await.ok();
    assert_ne!(ann["session_id"], bob["session_id"]);
    assert_ne!(ann["operation_id"], bob["operation_id"]);
    assert_ne!(ann["opencode_url"], bob["opencode_url"]);
    // `a` + `b:c` is not `a:b` + `c`.
    let one = world.up("a", REPO, "main", &["--client-request-id", "b:c"]).run().await.ok();
    let two = world.up("a:b", REPO, "main", &["--client-request-id", "c"]).run().await.ok();
    assert_ne!(one["session_id"], two["session_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_branch_is_an_error_that_stays_the_same_error() {
    let world = World::start().await;
    let up = || world.up("ann", REPO, "no-such-branch", &["--client-request-id", "k1"]).run();
    let first = up().await;
    let error = first.refused(2, PROVISION);
    assert!(text(&error, "operation_id").starts_with("op_"));
    assert!(text(&error, "cause").contains("no-such-branch"), "{error}");
    let list = world.list("ann").await;
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["state"], "failed");
    let again = up().await;
    assert_eq!(again.refused(2, PROVISION), error);
    assert_eq!(world.db.count("operations").await, 1);
    world.assert_nothing_left(&text(&list[0], "session_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_repository_fails_too() {
    let world = World::start().await;
    let error = world.up("ann", &url("org/nowhere"), "main", &[]).run().await.refused(2, PROVISION);
    assert!(text(&error, "operation_id").starts_with("op_"));
}

async fn a_silent_remote(repo: &str) {
    let world = World::with(&[("ALPINE_PROVISION_DEADLINE_SECONDS", "12")]).await;
    world.git.with_files("org/hang", &[("a", "a")]);
    world.git.delay("org/hang", Duration::MAX);
    let stuck = world.up("ann", repo, "main", &[]).spawn();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let other = world.up("bob", REPO, "main", &[]).run().await;
    other.ok();
    assert!(!stuck.is_finished(), "the other up was ready while the first one hung");
    let stuck = stuck.await.unwrap();
    assert_eq!(stuck.code, Some(2), "{stuck}");
    assert!(stuck.took < Duration::from_secs(35), "{stuck}");
    let error = stuck.json();
    assert!([PROVISION, "ERR_DEADLINE_EXCEEDED"].contains(&error["error_code"].as_str().unwrap()), "{stuck}");
    let list = world.list("ann").await;
    assert_eq!(list[0]["state"], "failed", "{list:?}");
    world.assert_nothing_left(&text(&list[0], "session_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_never_answers_fails_within_the_phases_deadline_and_disturbs_nobody() {
    a_silent_remote(&url("org/hang")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_takes_connections_and_is_silent_fails_within_the_phases_deadline() {
    a_silent_remote("https://black.hole/org/hang.git").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_stumbles_once_is_tried_again() {
    let world = World::start().await;
    world.git.fail_next("org/repo", 1);
    world.ready("ann").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_refs_heads_is_taken_where_a_longer_name_ends_the_same() {
    let world = World::start().await;
    let repo = world.git.create("org/twins");
    // ls-remote names the longer one first, and `refs/heads/main` is a suffix of it.
    let decoy = repo.commit("aa/refs/heads/main", &[("decoy", "no\n")]);
    let right = repo.commit("main", &[("right", "yes\n")]);
    let up = world.up("ann", &url("org/twins"), "main", &[]).run().await.ok();
    assert_ne!(decoy, right);
    assert_eq!(up["target_commit_sha"], right.as_str());
    assert!(world.workspace(&text(&up, "session_id")).join("right").exists());
    // And without `main`, the longer name is not it.
    world.git.create("org/decoy").commit("aa/refs/heads/main", &[("decoy", "no\n")]);
    world.up("ann", &url("org/decoy"), "main", &[]).run().await.refused(2, PROVISION);
    let long = world.up("ann", &url("org/decoy"), "aa/refs/heads/main", &[]).run().await.ok();
    assert_eq!(long["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_with_the_branchs_name_is_not_the_branch() {
    let world = World::start().await;
    let repo = world.git.create("org/tagged");
    let branch = repo.commit("release", &[("branch", "")]);
    let tagged = repo.commit("elsewhere", &[("tag", "")]);
    git(&repo.path, &["tag", "release", &tagged]);
    git(&repo.path, &["tag", "only-a-tag", &tagged]);
    let up = world.up("ann", &url("org/tagged"), "release", &[]).run().await.ok();
    assert_eq!(up["target_commit_sha"], branch.as_str());
    world.up("ann", &url("org/tagged"), "only-a-tag", &[]).run().await.refused(2, PROVISION);
}

/// An `up` that fails at a step: the answer's cause names it, nothing is left, the session is `failed`.
async fn fails_at(step: &str, says: &str, toml: &str) {
    let world = World::with(&[("ALPINE_PROVISION_DEADLINE_SECONDS", "8")]).await;
    let (repo, _) = world.git.with_files("org/broken", &[(".alpine.toml", toml)]);
    let answer = world.up("ann", &repo, "main", &["--client-request-id", "k1"]).run().await;
    let error = answer.refused(2, PROVISION);
    let cause = text(&error, "cause");
    assert!(cause.starts_with(&format!("{step}:")) && cause.contains(says), "{cause}");
    let list = world.list("ann").await;
    assert_eq!(list[0]["state"], "failed");
    let session = text(&list[0], "session_id");
    world.assert_nothing_left(&session);
    let status = world.status("ann", &session).await.ok();
    assert_eq!(status["state"], "failed");
    assert_eq!(status["last_error"]["error_code"], PROVISION, "{status}");
    let path = world.db.path(&session).await;
    assert_eq!(path[path.len() - 2..], ["failing", "failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_that_exits_non_zero_fails_the_up_and_is_cleaned_up() {
    fails_at("install", "the disk is made of cheese", "install = \"echo the disk is made of cheese >&2; (sleep 1000 &) ; exit 3\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_listens_fails_the_up_and_is_cleaned_up() {
    fails_at("start", "did not listen", "serve = \"sleep 1000\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_at_once_fails_the_up_with_what_it_said() {
    fails_at("start", "no teapot", "serve = \"echo no teapot; exit 1\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_not_the_pinned_commit_fails_the_up() {
    let moves = "git -c user.name=x -c user.email=x@sample.test commit --quiet --allow-empty -m moved";
    fails_at("verify", "not the pinned commit", &format!("install = \"{moves}\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_cannot_be_written_fails_the_up() {
    fails_at("verify", "cannot be written", "install = \"chmod 0555 .\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_past_its_deadline_ends_by_itself() {
    let world = World::with(&[("ALPINE_INSTALL_DEADLINE_SECONDS", "3")]).await;
    let (repo, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 1000\"")]);
    let answer = world.up("ann", &repo, "main", &[]).run().await;
    answer.refused(2, "ERR_DEADLINE_EXCEEDED");
    assert!(answer.took < Duration::from_secs(25), "{answer}");
    world.assert_nothing_left(&text(&world.list("ann").await[0], "session_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wait_answers_at_once_and_the_same_request_id_waits_later() {
    let world = World::start().await;
    let (repo, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 2\"")]);
    let accepted = world.up("ann", &repo, "main", &["--client-request-id", "k1", "--no-wait"]).run().await.ok();
    assert_ne!(accepted["state"], "ready");
    let waited = world.up("ann", &repo, "main", &["--client-request-id", "k1"]).run().await.ok();
    assert_eq!((&waited["session_id"], &waited["operation_id"]), (&accepted["session_id"], &accepted["operation_id"]));
    assert_eq!(waited["state"], "ready");
}
