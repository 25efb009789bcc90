//! Ups that go wrong, from a panic to a cut connection, each with a token of its own.

use serde_json::json;

use crate::stage::{LIMIT, Stage};
use alpine_tests::{
    cli::text,
    server::{FAULTS, Server},
    until,
};

/// What the first server does: the first `sync` panics, and the end of the first `start` kills it.
pub const FIRST: &str = "sync.before=panic#1,start.after=kill#1";

/// A panic, a kill and an abort in the middle of an `up`; whoever comes next goes on with it. The second server stays.
pub async fn crashes(stage: &mut Stage) -> Server {
    let token = stage.secret("repo_token of an up that panics and is killed");
    let repo = stage.repository("org/crashes", &token);
    scrape(stage).await;
    let first = stage.up(&repo, json!({ "repo_token": token })).await;
    until("the panic is counted", LIMIT, || async {
        let counted = stage.world.server.log_text().contains("injected at sync.before");
        (counted || stage.world.server.pid().is_none()).then_some(())
    })
    .await;
    let killed = stage.world.server.ended().await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(9), "{killed}");
    stage.world.server.configure(FAULTS, Some("sync.after=abort#1".to_owned()));
    stage.world.server.start_again().await;
    stage.ends(&first, "succeeded").await;

    let token = stage.secret("repo_token of an up that is aborted");
    stage.world.git.protect("org/crashes", &token);
    let second = stage.up(&repo, json!({ "repo_token": token })).await;
    let aborted = stage.world.server.ended().await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&aborted), Some(6), "{aborted}");
    let adopter = stage.world.another_server(&[]).await;
    stage.world.server.configure(FAULTS, Some("exec.before=error#1".to_owned()));
    stage.world.server.start_again().await;
    stage.ends(&second, "succeeded").await;
    adopter
}

/// The server's own figures.
pub async fn scrape(stage: &Stage) {
    let metrics = stage.get("/metrics").await;
    stage.keep("/metrics", &metrics.text);
}

/// Ups whose token opens nothing, or opens and does not help.
pub async fn failures(stage: &mut Stage) {
    let good = stage.secret("the token that a repository wants");
    let repo = stage.repository("org/private", &good);
    let wrong = stage.secret("repo_token that the git server rejects");
    let failed = stage.up(&repo, json!({ "repo_token": wrong })).await;
    stage.ends(&failed, "failed").await;

    let padded = stage.secret("repo_token with blanks around it");
    stage.world.git.protect("org/private", &padded);
    let done = stage.up(&repo, json!({ "repo_token": format!("  {padded}\n\n") })).await;
    stage.ends(&done, "succeeded").await;

    let quoted = stage.secret("repo_token with characters that are written otherwise elsewhere");
    let quoted = format!("%22{quoted}+/=\"\\'$`&<>ü");
    stage.world.git.protect("org/private", &quoted);
    let done = stage.up(&repo, json!({ "repo_token": quoted })).await;
    stage.ends(&done, "succeeded").await;

    let unused = stage.secret("repo_token for a public repository");
    let done = stage.up(alpine_tests::REPO, json!({ "repo_token": unused, "public": true, "branch": "main" })).await;
    stage.ends(&done, "succeeded").await;

    let branch = stage.secret("repo_token for a branch that is not there");
    stage.world.git.protect("org/private", &branch);
    let failed = stage.up(&repo, json!({ "repo_token": branch, "branch": format!("{}-absent", stage.branch) })).await;
    stage.ends(&failed, "failed").await;
}

/// Git servers that say back what they were told, in several ways: as an answer to the question for the branches, and to
/// the clone.
pub async fn echoes(stage: &mut Stage) {
    for (at, (name, words)) in
        [("it is asked at all", ""), ("the branches are asked for", "command=ls-refs"), ("it is cloned", "command=fetch")]
            .iter()
            .enumerate()
    {
        let token = stage.secret(&format!("repo_token that the git server echoes when {name}"));
        let org = format!("org/echo{at}");
        let repo = stage.repository(&org, &token);
        stage.world.git.echo(&org, words);
        let operation = fails(stage, &repo, &token).await;
        let cause = text(&operation["error"], "cause");
        assert!(cause.contains("refused: *** Basic ***"), "what the git server said is not there: {cause}");
    }
    let token = stage.secret("repo_token that the git server echoes as its progress");
    let repo = stage.repository("org/beside", &token);
    stage.world.git.echo_beside("org/beside", "command=fetch");
    let operation = fails(stage, &repo, &token).await;
    let cause = text(&operation["error"], "cause");
    assert!(cause.contains("remote: fatal: ***"), "what the git server said is not there: {cause}");
}

/// An `up` with this token, which fails; and what people then look at. The operation.
async fn fails(stage: &Stage, repo: &str, token: &str) -> serde_json::Value {
    let up = stage.up(repo, json!({ "repo_token": token })).await;
    let operation = stage.ends(&up, "failed").await;
    for what in ["log", "events"] {
        stage.get(&format!("/v1/sessions/{}/{what}", text(&operation, "session_id"))).await.expect(200);
    }
    operation
}

/// An `up` that is taken back while git waits.
pub async fn cancelled(stage: &mut Stage) {
    let token = stage.secret("repo_token of an up that is cancelled");
    let repo = stage.repository("org/slow", &token);
    stage.world.git.delay("org/slow", std::time::Duration::MAX);
    let accepted = stage.up(&repo, json!({ "repo_token": token })).await;
    until("git asks", LIMIT, || async { (stage.world.git.requests("org/slow") > 0).then_some(()) }).await;
    let path = format!("/v1/sessions/{}/down", text(accepted.expect(202), "session_id"));
    let down = stage.ask(stage.ann().request(reqwest::Method::POST, &path).json(&json!({}))).await;
    stage.ends(&down, "succeeded").await;
}
