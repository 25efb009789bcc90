//! `/docs` in a browser.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Stdio},
};

use alpine_tests::{World, bins, tools};
use serde_json::{Value, json};

use super::{COMMITTED, json as read};

/// Debian's, unless another is named.
fn chromium() -> PathBuf {
    tools::switch("ALPINE_TEST_CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".to_owned()).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_every_operation_and_asks_nobody_else() {
    let world = World::without_repositories(&[]).await;
    let shots = bins::root().join("target/screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let told = json!({
        "package": tools::fetched("document"), "chromium": chromium(), "port": world.server.port, "shots": shots,
        "profile": world.dir.join("browser"),
    });
    let script = bins::root().join("tests/document/page.mjs");
    let browse = || Command::new("node").arg(script).arg(told.to_string()).stdin(Stdio::null()).output().unwrap();
    let output = tokio::task::block_in_place(browse);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));

    for trouble in ["foreign", "errors", "violations", "failed"] {
        assert_eq!(seen[trouble], json!([]), "{trouble}");
    }
    let document = read(COMMITTED);
    let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let ids: BTreeSet<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let shown: BTreeSet<&str> = seen["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(shown, ids);
    assert_eq!(seen["title"], "Alpine API");
    // One that was tried from the page was answered by this server.
    assert_eq!(seen["tried"], json!({ "status": "200", "body": "ok" }));
    // And the policy is one: what does not belong there is kept out, and would have been noticed.
    assert_eq!((&seen["blocked"], &seen["intruder"]), (&json!(["img-src", "script-src-elem"]), &json!(false)));
    assert!(seen["codes"].as_u64().unwrap() >= 21, "the page of errors: {}", seen["codes"]);
    for shot in seen["shots"].as_array().unwrap() {
        // Text and boxes, in colours, and not one blank sheet.
        assert!(shot["bytes"].as_u64() > Some(20_000) && shot["colours"].as_u64() > Some(50), "{shot}");
        assert!(shot["commonest"].as_f64() < Some(0.97), "{shot}");
    }
    assert_eq!(seen["shots"].as_array().unwrap().len(), 3);
}
