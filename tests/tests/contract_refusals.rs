//! The contract table: what is refused, with which code, cause and exit code, and what is never echoed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_tests::{REPO, World, api::send, cli::text};
use reqwest::Method;
use serde_json::json;

const BAD_BRANCHES: &[&str] = &[
    "bad branch",
    "-x",
    "a..b",
    "a~b",
    "a^b",
    "a:b",
    "a?b",
    "a*b",
    "a[b",
    "a\\b",
    "a/",
    "a.",
    "a.lock",
    ".a",
    "/a",
    "a//b",
    "@",
    "a@{b",
    "a\tb",
    "a\nb",
    "a\u{7f}b",
    "a\u{1}b",
    "x/.y",
    "x.lock/y",
];

const BAD_URLS: &[&str] = &[
    "http://github.com/org/repo.git",
    "git://github.com/org/repo.git",
    "ftp://github.com/org/repo.git",
    "file:///etc",
    "/etc/repo",
    "./repo",
    "../repo",
    "",
    "https://",
    "https:///repo",
    "git@:",
    "git@:org/repo",
    "github.com/org/repo",
    "-x",
    "--upload-pack=touch /tmp/x",
    "ext::sh -c true",
    "https://github.com/org/repo.git?a=b",
    "https://github.com/org/repo.git#b",
    "https://github.com/org/../repo.git",
    "https://github.com/org/%2e%2e/repo.git",
    "https://github.com\\org\\repo",
];

const SECRET: &str = "s3cr3t-never-to-be-seen";

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_branch_is_required() {
    let world = World::start().await;
    let because = "branch is required";
    world.up("ann", REPO, "", &[]).run().await.refused_because(1, "ERR_BRANCH_REQUIRED", because);
    world.alpine("ann").args(&["up", REPO, "--json"]).run().await.refused_because(1, "ERR_BRANCH_REQUIRED", because);
    world.alpine("ann").args(&["up", REPO, "--branch=", "--json"]).run().await.refused_because(1, "ERR_BRANCH_REQUIRED", because);
    world.alpine("ann").args(&["up", REPO, "--json", "--branch"]).run().await.refused_because(1, "ERR_BRANCH_REQUIRED", because);
    let reply = world.api("ann").up("k", REPO, "").await;
    assert_eq!(reply.expect(400)["error_code"], "ERR_BRANCH_REQUIRED");
    assert_eq!(world.db.count("sessions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_branch_is_refused_by_the_cli_and_by_the_api() {
    let world = World::start().await;
    let api = world.api("ann");
    for (number, branch) in BAD_BRANCHES.iter().enumerate() {
        let cli = world.up("ann", REPO, branch, &[]).run().await;
        cli.refused_because(1, "ERR_INVALID_BRANCH", "invalid branch name");
        let glued = world.alpine("ann").args(&["up", REPO, &format!("--branch={branch}"), "--json"]).run().await;
        glued.refused_because(1, "ERR_INVALID_BRANCH", "invalid branch name");
        let reply = api.up(&format!("k{number}"), REPO, branch).await;
        assert_eq!(reply.expect(422)["error_code"], "ERR_INVALID_BRANCH", "{branch:?}");
    }
    assert_eq!(world.db.count("sessions").await, 0);
    assert_eq!(world.git.requests("org/repo"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_url_is_refused_by_the_cli_and_by_the_api() {
    let world = World::start().await;
    let api = world.api("ann");
    for (number, url) in BAD_URLS.iter().enumerate() {
        world.up("ann", url, "main", &[]).run().await.refused(1, "ERR_INVALID_REPO_URL");
        let reply = api.up(&format!("k{number}"), url, "main").await;
        assert_eq!(reply.expect(422)["error_code"], "ERR_INVALID_REPO_URL", "{url:?}");
    }
    assert_eq!(world.db.count("sessions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_url_is_refused_and_neither_echoed_nor_stored_nor_logged() {
    let world = World::start().await;
    let api = world.api("ann");
    let urls = [
        format!("https://{SECRET}@github.com/org/repo.git"),
        format!("https://user:{SECRET}@github.com/org/repo.git"),
        format!("https://user:{SECRET}%ZZ@github.com/org/repo.git"),
        format!("https://user:{SECRET}/x@github.com/org/repo.git"),
        format!("https://github.com/org/repo.git?token={SECRET}"),
        format!("https://github.com/org/repo.git#{SECRET}"),
        format!("ssh://git:{SECRET}@github.com/org/repo.git"),
        format!("git:{SECRET}@github.com:org/repo.git"),
    ];
    for (number, url) in urls.iter().enumerate() {
        let cli = world.up("ann", url, "main", &["-v"]).run().await;
        cli.refused(1, "ERR_INVALID_REPO_URL");
        let human = world.alpine("ann").args(&["up", url, "--branch", "main"]).run().await;
        assert_eq!(human.code, Some(1), "{human}");
        for said in [&cli.stdout, &cli.stderr, &human.stdout, &human.stderr] {
            assert!(!said.contains(SECRET), "the CLI echoed the secret of {url}");
        }
        let reply = api.up(&format!("k{number}"), url, "main").await;
        assert_eq!(reply.expect(422)["error_code"], "ERR_INVALID_REPO_URL");
        assert!(!reply.text.contains(SECRET), "the API echoed the secret of {url}");
    }
    assert_eq!(world.db.count("sessions").await, 0);
    assert!(!world.server.log_text().contains(SECRET), "the server logged a secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_is_refused_by_the_cli_and_by_the_api() {
    let world = World::start().await;
    let (code, because) = ("ERR_CALLER_IDENTITY_REQUIRED", "caller identity is required");
    let nobody = || world.up("", REPO, "main", &[]);
    nobody().run().await.refused_because(1, code, because);
    nobody().without("ALPINE_PRINCIPAL_ID").run().await.refused_because(1, code, because);
    for command in ["list", "status ses_019ab1c24d3e7f508192a3b4c5d6e7f8", "down ses_019ab1c24d3e7f508192a3b4c5d6e7f8"] {
        let words: Vec<&str> = command.split(' ').collect();
        world.alpine("").args(&words).args(&["--json"]).run().await.refused_because(1, code, because);
    }
    let bare = reqwest::Client::clone(&world.pki.client());
    let calls = [(Method::GET, "/v1/sessions"), (Method::POST, "/v1/sessions"), (Method::GET, "/v1/operations/op_1")];
    for (method, path) in calls {
        let reply = send(bare.request(method, format!("{}{path}", world.server.base()))).await;
        assert_eq!(reply.expect(401)["error_code"], code);
        assert!(reply.headers.contains_key("www-authenticate"), "{path}");
    }
    let forged = world.alpine("ann").env("ALPINE_TOKEN", "x.y.z").args(&["list", "--json"]).run().await;
    forged.refused(1, code);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials_are_refused_unless_the_repository_is_public() {
    let world = World::start().await;
    let poor = || world.up("ann", REPO, "main", &[]).without("GITHUB_TOKEN");
    poor().run().await.refused_because(1, "ERR_REPO_AUTH_MISSING", "repository credentials are missing");
    poor().args(&["--public"]).run().await.ok();
    poor().env("GH_TOKEN", "dummy").run().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_go_in_the_order_branch_url_identity_credentials() {
    let world = World::start().await;
    let nobody = |url: &str, branch: &str| world.up("", url, branch, &[]).without("GITHUB_TOKEN");
    nobody("nonsense", "").run().await.refused(1, "ERR_BRANCH_REQUIRED");
    nobody("nonsense", "a..b").run().await.refused(1, "ERR_INVALID_BRANCH");
    nobody("nonsense", "main").run().await.refused(1, "ERR_INVALID_REPO_URL");
    nobody(REPO, "main").run().await.refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
    nobody(REPO, "main").env("ALPINE_PRINCIPAL_ID", "ann").run().await.refused(1, "ERR_REPO_AUTH_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_repository_is_cloned_with_the_callers_token_which_is_kept_nowhere() {
    let world = World::start().await;
    let (repo, commit) = world.git.with_files("org/private", &[("a", "a\n")]);
    world.git.protect("org/private", SECRET);
    let up = world.up("ann", &repo, "main", &["-v"]).env("GITHUB_TOKEN", SECRET).run().await;
    let said = format!("{}{}", up.stdout, up.stderr);
    let up = up.ok();
    assert_eq!(up["target_commit_sha"], commit.as_str());
    let session = text(&up, "session_id");
    assert!(!said.contains(SECRET), "the CLI said the token");
    assert!(!world.server.log_text().contains(SECRET), "the server logged the token");
    for file in alpine_tests::sandboxes::files(&world.sandbox(&session)) {
        let bytes = std::fs::read(world.sandbox(&session).join(&file)).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{file} has the token");
    }
    for pid in alpine_tests::sandboxes::processes(&session) {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&environment).contains(SECRET), "process {pid} has the token");
    }
    assert_eq!(world.db.count("credentials").await, 0, "a token lives as long as its operation");

    let wrong = world.up("ann", &repo, "main", &[]).env("GITHUB_TOKEN", "wrong-token").run().await;
    assert_eq!(wrong.code, Some(2), "{wrong}");
    let error = wrong.json();
    assert!(text(&error, "operation_id").starts_with("op_"));
    assert!(!wrong.stdout.contains("wrong-token") && !wrong.stderr.contains("wrong-token"));
    assert_eq!(world.db.count("credentials").await, 0, "also of one that failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_of_the_contract_get_a_problem_and_never_a_500() {
    let world = World::start().await;
    let api = world.api("ann");
    let post = || api.request(Method::POST, "/v1/sessions").header("Idempotency-Key", "k");
    let json_type = |body: &str| post().header("content-type", "application/json").body(body.to_owned());
    let bad = [
        json_type("{"),
        json_type("[]"),
        json_type("null"),
        json_type("{\"repo_url\": 1, \"branch\": \"main\"}"),
        json_type("{\"repo_url\": \"https://h/r\", \"branch\": \"main\", \"unknown\": 1}"),
        json_type("\u{0}"),
        post().body("repo_url=x"),
        post().json(&json!({ "repo_url": "x".repeat(3_000_000), "branch": "main" })),
        api.request(Method::POST, "/v1/sessions").json(&json!({ "repo_url": REPO, "branch": "main", "public": true })),
        api.request(Method::DELETE, "/v1/sessions"),
        api.request(Method::GET, "/v1/nothing"),
        api.request(Method::GET, "/v1/sessions?limit=-1"),
        api.request(Method::GET, "/v1/sessions?cursor=nonsense"),
        api.request(Method::GET, "/v1/sessions?state=nonsense"),
    ];
    for request in bad {
        let reply = send(request).await;
        assert!(reply.status.is_client_error(), "{}: {}", reply.status, reply.text);
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{}: {}", reply.status, reply.text);
        for key in ["type", "title", "status", "detail", "instance", "error_code", "cause", "next_step", "retryable", "request_id"] {
            assert!(!reply.body[key].is_null(), "{key} is missing: {}", reply.text);
        }
    }
    assert_eq!(world.db.count("sessions").await, 0);
}
