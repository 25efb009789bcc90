//! The live server answers as the document says, whatever is asked: schemathesis with all of its checks, stateful phase included.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use alpine_tests::{REPO, World, bins, ground::write_secret, tools};
use serde_json::{Value, json};

const TENANT: &str = "conform";
/// The token is good for ten minutes.
const LONGEST: Duration = Duration::from_secs(540);

/// Operation, then status or phase or `sent`: how many.
type Tally = BTreeMap<String, BTreeMap<String, u64>>;

struct Run {
    world: World,
    output: Output,
    tally: Tally,
    took: Duration,
}

/// A server with few sessions at once and no rates, and everything that schemathesis can think of in this time.
async fn run(time: Duration, more: &[&str]) -> Run {
    assert!(time <= LONGEST, "at most {LONGEST:?}");
    let settings = [
        ("ALPINE_QUOTA_SESSIONS", "8"),
        ("ALPINE_WORKER_CONCURRENCY", "4"),
        ("ALPINE_LOG", "warn"),
        ("ALPINE_APPS_DOMAIN", "apps.localhost"),
    ];
    let world = World::with(&settings).await;
    let tally = world.dir.join("tally.json");
    let stage = world.dir.join("stage.json");
    write_secret(&stage, json!({ "tenant": TENANT, "repos": [REPO], "tally": tally }).to_string().as_bytes());
    let hooks = bins::root().join("tests/schemathesis");
    let mut st = Command::new(tools::fetched("schemathesis").join("bin/st"));
    st.arg("--config-file").arg(hooks.join("conformance.toml")).arg("--no-color").arg("run");
    st.arg(bins::root().join("openapi/alpine.v1.json")).args(["--url", &world.server.base()]);
    st.arg("--tls-verify").arg(&world.pki.ca).args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"]);
    // One: this Python parses its own sources where it tells of a fault, which two threads must not do at once.
    st.args(["--workers", "1", "--max-time", &time.as_secs().to_string(), "--continue-on-failure", "--request-timeout", "40"]);
    // Who is refused before a large body was read may find the connection closed: it is asked again.
    st.args(["--request-retries", "3"]);
    st.args(["--generation-database", "none", "--warnings", "off", "--suppress-health-check", "all", "--no-shrink"]).args(more);
    st.env("ALPINE_TEST_STAGE", &stage).env("ALPINE_TEST_TOKEN", world.token(TENANT, "ann", &["alpine.admin", "alpine.operator"]));
    st.env("PYTHONPATH", &hooks).env("SCHEMATHESIS_HOOKS", "conformance").env("PYTHONDONTWRITEBYTECODE", "1");
    st.current_dir(&world.dir).stdin(Stdio::null());
    let begun = Instant::now();
    let output = tokio::task::block_in_place(|| st.output().unwrap());
    let tally = fs::read(&tally).map(|text| serde_json::from_slice(&text).unwrap()).unwrap_or_default();
    Run { world, output, tally, took: begun.elapsed() }
}

impl Run {
    fn count(&self, what: &str) -> u64 {
        self.tally.values().filter_map(|counts| counts.get(what)).sum()
    }

    /// Nothing was found, and there was something to find it in: every operation was asked for, so many of them with success.
    #[expect(clippy::print_stdout, reason = "the figures are half of what it is run for")]
    fn check(&self, requests: u64, good: usize) {
        let said = format!("{}{}", String::from_utf8_lossy(&self.output.stdout), String::from_utf8_lossy(&self.output.stderr));
        println!("{:?}: {} requests, {} by links; {:#?}", self.took, self.count("sent"), self.count("linked"), self.tally);
        assert!(self.output.status.success(), "{said}");
        for status in ["500", "503"] {
            assert_eq!(self.count(status), 0, "{status}: {:?}", self.tally);
        }
        let succeeded = |counts: &BTreeMap<String, u64>| counts.iter().any(|(status, count)| status.starts_with('2') && *count > 0);
        let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
        for (id, counts) in &self.tally {
            asked.insert(id.as_str());
            answered.extend(succeeded(counts).then_some(id.as_str()));
        }
        let document: Value = serde_json::from_slice(&fs::read(bins::root().join("openapi/alpine.v1.json")).unwrap()).unwrap();
        let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let all: BTreeSet<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(asked, all, "{said}");
        let never: Vec<_> = all.difference(&answered).collect();
        assert!(answered.len() >= good, "never answered well: {never:?}\n{said}");
        println!("never answered well: {never:?}\n{said}");
        assert!(self.count("sent") >= requests && self.count("linked") > 0, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_answers_as_the_document_says() {
    run(Duration::from_secs(45), &["--seed", "5"]).await.check(500, 20);
}

/// `tests/schemathesis/run.sh --minutes 5`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as many minutes as ALPINE_TEST_MINUTES says"]
async fn the_server_answers_as_the_document_says_for_minutes() {
    let minutes: u64 = tools::switch("ALPINE_TEST_MINUTES").map_or(5, |minutes| minutes.parse().unwrap());
    let run = run(Duration::from_secs(minutes * 60), &[]).await;
    run.check(1000 * minutes, 25);
    assert!(run.took >= Duration::from_secs(minutes * 60), "{:?}", run.took);
    drop(run.world);
}
