//! The same from schemathesis: requests that it makes up from the document, with ids that tests/schemathesis/hooks.py puts in.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output, Stdio},
    time::Instant,
};

use alpine_tests::{bins, ground::write_secret, tools};
use serde_json::{Value, json};

use super::{
    operations,
    stage::{self, Stage},
};

/// Requests made up for an operation, beside those that cover its parameters one by one. Seconds, on two cores.
const EXAMPLES: &str = "20";
const SEED: &str = "4";
/// Ours, and those of its own that ids from a pool do not mislead.
const CHECKS: &[&str] = &[
    "nothing_of_the_other_tenant_shows",
    "ForeignIsAbsent",
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
];

/// What hooks.py is told.
fn told(stage: &Stage, tally: &std::path::Path) -> Value {
    let kind = |name: &str| {
        json!({
            "own": stage.north.id(name), "foreign": stage.south.id(name), "absent": stage::absent(name), "malformed": stage::malformed(name),
        })
    };
    let kinds = ["session_id", "operation_id", "token_id", "credential_id", "share_id", "tenant_id", "cursor"];
    let mut ids: BTreeMap<&str, Value> = kinds.into_iter().map(|name| (name, kind(name))).collect();
    let repo = |name: &str| format!("https://github.com/{name}.git");
    let malformed = ["", "https://", "file:///etc/passwd", "https://github.com/../x", "https://user:pass@github.com/x/y"];
    ids.insert(
        "repo_url",
        json!({ "own": repo("north/canary-repo"), "foreign": repo("south/canary-repo"), "absent": repo("nowhere/nothing"), "malformed": malformed }),
    );
    // One that both tenants have used, and one that the other alone has.
    ids.insert(
        "key",
        json!({ "own": "apart-0", "foreign": "south-alone", "absent": "nobody", "malformed": ["", "k k", "k".repeat(300), "\u{e9}"] }),
    );
    json!({
        "token": stage.north.admin_token, "ca": stage.world.pki.ca, "tally": tally, "canaries": stage.canaries(), "ids": ids,
    })
}

fn run(stage: &Stage) -> (Output, BTreeMap<String, BTreeMap<String, u64>>) {
    let dir = &stage.world.dir;
    let (told_file, tally) = (dir.join("stage.json"), dir.join("tally.json"));
    write_secret(&told_file, told(stage, &tally).to_string().as_bytes());
    let mut st = Command::new(tools::fetched("schemathesis").join("bin/st"));
    st.arg("--config-file").arg(bins::root().join("tests/schemathesis/apart.toml"));
    st.arg("run").arg(bins::root().join("openapi/alpine.v1.json")).args(["--url", &stage.world.server.base()]);
    st.arg("--tls-verify").arg(&stage.world.pki.ca).args(["--checks", &CHECKS.join(","), "--seed", SEED, "--max-examples", EXAMPLES]);
    // One: two of Python's threads that make syntax trees at once disturb each other (python/cpython#106905).
    st.args(["--phases", "examples,coverage,fuzzing", "--workers", "1", "--no-shrink", "--continue-on-failure", "--no-color"]);
    st.args(["--generation-database", "none", "--generation-with-security-parameters", "false", "--warnings", "off"]);
    st.args(["--suppress-health-check", "all", "--request-timeout", "20"]);
    st.env("ALPINE_TEST_STAGE", &told_file).env("PYTHONPATH", bins::root().join("tests/schemathesis"));
    st.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONDONTWRITEBYTECODE", "1").current_dir(dir).stdin(Stdio::null());
    let output = st.output().unwrap();
    let counts = fs::read(&tally).map(|text| serde_json::from_slice(&text).unwrap()).unwrap_or_default();
    (output, counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_of_the_other_tenant() {
    let stage = Stage::set().await;
    let before = stage.everything_of("south").await;
    let begun = Instant::now();
    let (output, counts) = tokio::task::block_in_place(|| run(&stage));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    println!("{:?}: {counts:#?}", begun.elapsed());
    assert_eq!(stage.everything_of("south").await, before, "something of the other tenant has changed");
    // It has asked for everything, and compared wherever there is an id.
    for operation in operations(&stage).await {
        let counts = counts.get(&operation.id).unwrap_or_else(|| panic!("{} was not asked for: {said}", operation.id));
        for parameter in &operation.parameters {
            // A member of one tenant may not so much as ask for another by name.
            let refused = if parameter == "tenant_id" { "compared" } else { "compared 404" };
            assert!(counts.get(refused).is_some_and(|count| *count > 0), "{}: no foreign {parameter}: {counts:?}", operation.id);
        }
    }
    assert!(counts["listAudit"].get("compared").is_some_and(|count| *count > 0), "{:?}", counts["listAudit"]);
}
