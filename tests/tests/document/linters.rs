//! Two linters, with every warning an error. What they are excused from is in their files, with a reason each.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use alpine_tests::{base, bins, tools};
use serde_json::Value;

use super::{COMMITTED, json};

/// What a linter of the package says to this document; whether it was content.
fn lint(linter: &str, document: &Path) -> (bool, String) {
    let rules = |name: &str| bins::root().join("tests/document").join(name);
    let mut command = Command::new(tools::fetched("document").join("node_modules/.bin").join(linter));
    match linter {
        "redocly" => command.arg("lint").arg(document).arg("--config").arg(rules("redocly.yaml")).args(["--max-problems", "50"]),
        _ => command.arg("lint").arg(document).arg("--ruleset").arg(rules("spectral.yaml")).args(["--fail-severity", "hint"]),
    };
    command.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true").stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// A rule, and a change that breaks it.
type Broken<'a> = (&'a str, fn(&mut Value));

/// Content with the document, and not with it when this is done to it.
fn is_content_but_not_with(linter: &str, broken: &[Broken<'_>]) {
    let (content, said) = lint(linter, &bins::root().join(COMMITTED));
    assert!(content, "{said}");
    let dir = base::fresh("lint");
    for (expected, break_it) in broken {
        let mut document = json(COMMITTED);
        break_it(&mut document);
        let file = dir.join("broken.json");
        std::fs::write(&file, document.to_string()).unwrap();
        let (content, said) = lint(linter, &file);
        assert!(!content && said.contains(expected), "{linter} does not see {expected}: {said}");
    }
    base::remove(&dir);
}

#[test]
fn redocly_has_nothing_to_say() {
    is_content_but_not_with(
        "redocly",
        &[("operation-operationId", |document| {
            let operation = document["paths"]["/v1/whoami"]["get"].as_object_mut().unwrap();
            operation.remove("operationId");
        })],
    );
}

#[test]
fn spectral_has_nothing_to_say() {
    is_content_but_not_with(
        "spectral",
        &[("oas3-valid-media-example", |document| {
            let answer = &mut document["paths"]["/v1/whoami"]["get"]["responses"]["200"]["content"]["application/json"];
            answer["examples"]["example"]["value"]["roles"] = Value::from(5);
        })],
    );
}
