//! What was released is kept, unless a change says that it is not.

use alpine_tests::contract_diff::{breaks, unannounced};
use serde_json::Value;

use super::{COMMITTED, json, text};

const RELEASED: &str = "openapi/released/alpine.v1.json";
const ANNOUNCED: &str = "openapi/breaking.txt";

#[test]
fn no_client_of_the_released_document_is_broken_without_a_word() {
    let wrong = unannounced(&breaks(&json(RELEASED), &json(COMMITTED)), &text(ANNOUNCED));
    assert!(wrong.is_empty(), "against {RELEASED}, as {ANNOUNCED} must say it:\n{}", wrong.join("\n"));
}

#[test]
fn a_document_does_not_break_itself() {
    assert_eq!(breaks(&json(COMMITTED), &json(COMMITTED)), Vec::<String>::new());
}

/// The rules reach the real document, whatever its form.
#[test]
fn what_is_taken_from_the_real_document_is_missed() {
    let old = json(COMMITTED);
    type Case = (&'static str, fn(&mut Value), &'static str);
    let cases: [Case; 4] = [
        (
            "a field",
            |document| {
                document["components"]["schemas"]["Operation"]["properties"].as_object_mut().unwrap().remove("phase");
            },
            "POST /v1/sessions 202 application/json .phase: is gone",
        ),
        (
            "a header's promise",
            |document| document["components"]["headers"]["Location"]["required"] = false.into(),
            "POST /v1/sessions 202: the header Location may be missing",
        ),
        (
            "a state in a request",
            |document| {
                let states = document["components"]["schemas"]["SessionState"]["enum"].as_array_mut().unwrap();
                states.retain(|state| state != "ready");
            },
            "GET /v1/sessions query state: \"ready\" is not taken any more",
        ),
        (
            "a field of what is in a list in a record",
            |document| {
                document["components"]["schemas"]["Transition"]["properties"].as_object_mut().unwrap().remove("fence");
            },
            "GET /v1/sessions/{session_id}/record 200 application/json .record .state_transitions[] .fence: is gone",
        ),
    ];
    for (what, take, expected) in cases {
        let mut new = old.clone();
        take(&mut new);
        let found = breaks(&old, &new);
        assert!(found.iter().any(|line| line == expected), "{what}: {found:#?}");
    }
}

#[test]
fn an_announcement_is_for_this_change_and_no_other() {
    let breaks = ["GET /a: the operation is gone".to_owned()];
    assert!(unannounced(&breaks, "# why\n\nGET /a: the operation is gone\n").is_empty());
    assert_eq!(unannounced(&breaks, ""), ["not announced: GET /a: the operation is gone"]);
    assert_eq!(unannounced(&[], "GET /a: the operation is gone"), ["announced, and not so: GET /a: the operation is gone"]);
}
