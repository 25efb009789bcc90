//! The document is whole.

use std::collections::BTreeSet;

use alpine_api::ErrorCode;
use serde_json::Value;

use super::*;

fn whole() -> Value {
    serde_json::to_value(document()).unwrap()
}

/// Every operation with its id.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    operations.map(|operation| (operation["operationId"].as_str().unwrap().to_owned(), operation.clone())).collect()
}

#[test]
fn the_committed_document_is_the_one_that_the_handlers_make() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/alpine.v1.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let current = document_json() + "\n";
    assert!(committed == current, "the API has changed: cargo run -p alpine-server -- openapi > openapi/alpine.v1.json");
}

#[test]
fn every_operation_has_an_id_and_every_reference_leads_somewhere() {
    let document = whole();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let operations = operations(&document);
    let ids: BTreeSet<&String> = operations.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), operations.len(), "an id twice");
    assert!(ids.len() >= 26);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn every_operation_says_what_it_does_and_shows_it() {
    let document = whole();
    let mut missing = Vec::new();
    for (id, operation) in operations(&document) {
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        if !(5..=60).contains(&text("summary").len()) || text("description").len() < 30 {
            missing.push(format!("{id}: a summary of a few words, and a description, in the handler's doc comment"));
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["description"].as_str().is_none_or(str::is_empty)) {
            missing.push(format!("{id}: what the parameter {} is", parameter["name"]));
        }
        let responses = operation["responses"].as_object().unwrap().iter();
        let bodies = responses.map(|(status, response)| (status.as_str(), &response["content"]));
        for (of, content) in bodies.chain([("the request", &operation["requestBody"]["content"])]) {
            let media = content.as_object().into_iter().flatten();
            for (media, _) in media.filter(|(_, content)| content.get("example").is_none() && content.get("examples").is_none()) {
                missing.push(format!("{id}: an example of {of} as {media}, in openapi/examples.rs or the handler's attribute"));
            }
        }
    }
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}

#[test]
fn every_refusal_is_a_problem_whose_codes_are_said_and_every_code_is_somebodys() {
    let document = whole();
    let mut said = BTreeSet::new();
    for (id, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.as_str() >= "400") {
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{id} {status}");
            let codes = response["x-error-codes"].as_array().unwrap_or_else(|| panic!("{id} {status}"));
            assert!(!codes.is_empty(), "{id} {status}");
            said.extend(codes.iter().map(|code| code.as_str().unwrap().to_owned()));
        }
    }
    // Two that the command line alone says.
    let of_the_cli = [ErrorCode::CommandReplaced, ErrorCode::Interrupted];
    let catalogue = ErrorCode::ALL.iter().filter(|code| !of_the_cli.contains(code)).map(|code| code.as_str().to_owned());
    assert_eq!(said, catalogue.collect());
}

#[test]
fn every_example_of_a_problem_has_the_status_that_it_is_shown_for() {
    let document = whole();
    for (name, example) in document["components"]["examples"].as_object().unwrap() {
        let (status, code) = name.split_once('_').unwrap();
        assert_eq!(example["value"]["status"].to_string(), status);
        assert_eq!(example["value"]["error_code"], code);
    }
}

#[test]
fn what_may_come_again_says_when() {
    for (id, operation) in operations(&whole()) {
        for status in ["429", "503"] {
            let response = &operation["responses"][status];
            assert!(response.is_null() || response["headers"]["Retry-After"].is_object(), "{id} {status}");
        }
    }
}

#[test]
fn the_phases_are_those_of_today_and_no_closed_set() {
    let document = whole();
    for schema in ["Operation", "Event"] {
        let phase = &document["components"]["schemas"][schema]["properties"]["phase"];
        assert_eq!(phase["x-extensible-enum"].as_array().unwrap().len(), Phase::ALL.len(), "{schema}");
        assert!(phase.get("enum").is_none());
    }
}
