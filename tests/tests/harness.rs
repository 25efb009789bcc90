//! The harness itself: what the other tests believe of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_tests::{
    base,
    bench::{EngineSaid, engine_said},
    cluster,
    db::Db,
    git_repo::git,
    git_server::GitServer,
    pki::Pki,
};

fn clone(pki: &Pki, server: &GitServer, name: &str, userinfo: &str, to: &std::path::Path) -> std::process::Output {
    let url = format!("https://{userinfo}{}/{name}.git", server.address);
    std::process::Command::new("git")
        .args(["clone", "--quiet", "--depth=1", &url])
        .arg(to)
        .env("GIT_SSL_CAINFO", &pki.ca)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn git_serves_real_repositories_over_https_with_and_without_a_password() {
    let dir = base::fresh("git");
    let pki = Pki::create(&dir);
    let server = GitServer::start(dir.join("git"), &pki);
    let (_, commit) = server.with_files("org/repo", &[("a/b.txt", "deep\n")]);
    server.create("org/twins").commit("aa/refs/heads/main", &[("x", "x")]);
    let cloned = clone(&pki, &server, "org/repo", "", &dir.join("open"));
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    assert_eq!(git(&dir.join("open"), &["rev-parse", "HEAD"]), commit);
    assert_eq!(std::fs::read_to_string(dir.join("open/a/b.txt")).unwrap(), "deep\n");
    assert!(server.requests("org/repo") >= 2);

    server.protect("org/repo", "sesame");
    assert!(!clone(&pki, &server, "org/repo", "", &dir.join("none")).status.success());
    assert!(!clone(&pki, &server, "org/repo", "x:wrong@", &dir.join("wrong")).status.success());
    assert!(clone(&pki, &server, "org/repo", "x:sesame@", &dir.join("right")).status.success());
    server.fail_next("org/twins", 1);
    assert!(!clone(&pki, &server, "org/twins", "", &dir.join("once")).status.success());
    assert_eq!(server.git_refs("org/twins"), ["refs/heads/aa/refs/heads/main"]);
    base::remove(&dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_test_has_a_migrated_database_of_its_own() {
    let (one, two) = (Db::new(cluster::database().await), Db::new(cluster::database().await));
    one.execute("INSERT INTO tenants (tenant_id) VALUES ('only-here')").await;
    assert_eq!((one.count("tenants").await, two.count("tenants").await), (1, 0));
    let empty = Db::new(cluster::empty_database().await);
    assert_eq!(empty.count("information_schema.tables WHERE table_schema = 'public'").await, 0);
}

#[test]
fn the_bench_reads_what_an_engine_says_in_its_last_line_and_nothing_else() {
    let jobs = engine_said("a library's warning\n{\"jobs\":890,\"seconds\":3.05}\n").unwrap();
    assert_eq!(jobs, EngineSaid::Jobs { jobs: 890.0, seconds: 3.05 });
    let latencies = engine_said("{\"latencies\":[4.5,12]}\n").unwrap();
    assert_eq!(latencies, EngineSaid::Latencies { latencies: vec![4.5, 12.0] });
    // A job that never started has no time.
    for text in ["", "{\"jobs\":890,\"seconds\":3.05}\nnot done in time\n", "{\"latencies\":[4.5,null]}", "{\"jobs\":890}"] {
        assert!(engine_said(text).is_err(), "{text}");
    }
}
