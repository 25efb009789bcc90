//! Every rule of what breaks a client, on documents of one operation.

use alpine_tests::contract_diff::breaks;
use serde_json::{Value, json};

/// `POST /x` with this request and this answer.
fn document(request: Value, answer: Value) -> Value {
    json!({
        "security": [{ "bearer": [] }],
        "components": { "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } } },
        "paths": { "/x": { "post": {
            "operationId": "x",
            "parameters": [
                { "in": "query", "name": "limit", "required": false, "schema": { "type": "integer", "default": 50 } },
                { "in": "header", "name": "Key", "required": true, "schema": { "type": "string" } },
            ],
            "requestBody": { "required": false, "content": { "application/json": { "schema": request } } },
            "responses": {
                "200": {
                    "headers": { "Location": { "required": true, "schema": { "type": "string" } } },
                    "content": { "application/json": { "schema": answer } },
                },
                "404": { "content": { "application/problem+json": { "schema": { "type": "object" } } } },
            },
        } } },
    })
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// The same change of a schema, as a request and as an answer.
fn both(old: Value, new: Value) -> (Vec<String>, Vec<String>) {
    let request = breaks(&document(old.clone(), text()), &document(new.clone(), text()));
    let answer = breaks(&document(text(), old), &document(text(), new));
    let short = |lines: Vec<String>, prefix: &str| lines.into_iter().map(|line| line.replace(prefix, "")).collect();
    (short(request, "POST /x body application/json"), short(answer, "POST /x 200 application/json"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rules, a line each")]
fn a_change_of_a_schema_breaks_who_sends_it_or_who_reads_it() {
    let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required });
    let (a, ab) = (json!({ "a": { "type": "string" } }), json!({ "a": { "type": "string" }, "b": { "type": "string" } }));
    let kind = |kind: Value| json!({ "type": kind });
    let values = |values: Value| json!({ "type": "string", "enum": values });
    let open = |values: Value| json!({ "type": "string", "enum": values, "x-open-enum": true });
    let bound = |name: &str, value: Value| json!({ "type": "string", name: value });
    let one_of = |kinds: &[&str]| json!({ "oneOf": kinds.iter().map(|kind| json!({ "type": kind })).collect::<Vec<_>>() });
    let cases: Vec<(&str, Value, Value, &str, &str)> = vec![
        ("a field goes", object(ab.clone(), json!([])), object(a.clone(), json!([])), " .b: is gone", " .b: is gone"),
        ("a field comes", object(a.clone(), json!([])), object(ab.clone(), json!([])), "", ""),
        ("a field comes and is wanted", object(a.clone(), json!([])), object(ab, json!(["b"])), " .b: is required now", ""),
        ("a field is required", object(a.clone(), json!([])), object(a.clone(), json!(["a"])), " .a: is required now", ""),
        ("a field is optional", object(a.clone(), json!(["a"])), object(a.clone(), json!([])), "", " .a: may be missing"),
        ("another type", kind(json!("string")), kind(json!("integer")), ": may not be string any more", ": may be integer now"),
        ("a wider type", kind(json!("integer")), kind(json!("number")), "", ": may be number now"),
        ("it may be null", kind(json!("string")), kind(json!(["string", "null"])), "", ": may be null now"),
        ("it is not null", kind(json!(["string", "null"])), kind(json!("string")), ": may not be null any more", ""),
        ("a value goes", values(json!(["a", "b"])), values(json!(["a"])), ": \"b\" is not taken any more", ""),
        ("a value comes", values(json!(["a"])), values(json!(["a", "b"])), "", ": \"b\" may come now"),
        ("a value comes to an open set", open(json!(["a"])), open(json!(["a", "b"])), "", ""),
        ("a value goes from an open set", open(json!(["a", "b"])), open(json!(["a"])), ": \"b\" is not taken any more", ""),
        ("a set is opened", values(json!(["a"])), open(json!(["a", "b"])), "", ": \"b\" may come now"),
        ("only certain values", text(), values(json!(["a"])), ": takes only certain values now", ""),
        ("any value", values(json!(["a"])), text(), "", ": any value may come now"),
        ("a constant", json!({ "const": "a" }), json!({ "const": "b" }), ": \"a\" is not taken any more", ": \"b\" may come now"),
        ("another format", bound("format", json!("date")), bound("format", json!("uri")), ": has another format", ": has another format"),
        ("a format", text(), bound("format", json!("date-time")), ": has another format", ": has another format"),
        ("a least length", text(), bound("minLength", json!(1)), ": minLength is tighter", ""),
        ("a smaller most", bound("maxLength", json!(9)), bound("maxLength", json!(8)), ": maxLength is tighter", ""),
        ("a greater most", bound("maxLength", json!(8)), bound("maxLength", json!(9)), "", ": maxLength is looser"),
        ("no least", bound("minimum", json!(1)), text(), "", ": minimum is looser"),
        ("a pattern", text(), bound("pattern", json!("^a")), ": has another pattern", ""),
        ("no pattern", bound("pattern", json!("^a")), text(), "", ": has another pattern"),
        ("another pattern", bound("pattern", json!("^a")), bound("pattern", json!("^b")), ": has another pattern", ": has another pattern"),
        ("another default", bound("default", json!("a")), bound("default", json!("b")), ": has another default", ""),
        (
            "no other fields",
            json!({ "type": "object" }),
            json!({ "type": "object", "additionalProperties": false }),
            ": takes no other fields any more",
            "",
        ),
        ("an alternative goes", one_of(&["string", "integer", "array"]), one_of(&["string", "integer"]), ": has other alternatives", ""),
        ("an alternative comes", one_of(&["string", "integer"]), one_of(&["string", "integer", "array"]), "", ": has other alternatives"),
        ("null by another word", one_of(&["string", "null"]), kind(json!(["string", "null"])), "", ""),
        (
            "within an array",
            json!({ "type": "array", "items": { "type": "string" } }),
            json!({ "type": "array", "items": { "type": "string", "maxLength": 3 } }),
            "[]: maxLength is tighter",
            "",
        ),
        (
            "within a part of a whole",
            json!({ "allOf": [{ "type": "object", "properties": { "a": { "type": "string" } } }] }),
            object(json!({ "a": { "type": "integer" } }), json!([])),
            " .a: may not be string any more",
            " .a: may be integer now",
        ),
        ("words for people", json!({ "type": "string", "description": "a" }), json!({ "type": "string", "description": "b" }), "", ""),
    ];
    let mut wrong = Vec::new();
    for (what, old, new, request, answer) in cases {
        let expected = |line: &str| Some(line.to_owned()).filter(|line| !line.is_empty()).into_iter().collect::<Vec<_>>();
        let seen = both(old, new);
        if seen != (expected(request), expected(answer)) {
            wrong.push(format!("{what}: {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rules, a line each")]
fn a_change_of_an_operation_breaks_who_calls_it() {
    let path = "/paths/~1x/post";
    let set = |at: &'static str, value: Value| {
        move |document: &mut Value| *document.pointer_mut(&format!("{path}{at}")).unwrap_or_else(|| panic!("{at}")) = value.clone()
    };
    let take = |at: &'static str, name: &'static str| {
        move |document: &mut Value| {
            document.pointer_mut(&format!("{path}{at}")).unwrap().as_object_mut().unwrap().remove(name);
        }
    };
    let add = |at: &'static str, name: &'static str, value: Value| {
        move |document: &mut Value| document.pointer_mut(&format!("{path}{at}")).unwrap()[name] = value.clone()
    };
    let parameter = |required: bool| json!({ "in": "query", "name": "new", "required": required, "schema": { "type": "string" } });
    let push = |value: Value| {
        move |document: &mut Value| document.pointer_mut(&format!("{path}/parameters")).unwrap().as_array_mut().unwrap().push(value.clone())
    };
    type Change = Box<dyn Fn(&mut Value)>;
    let cases: Vec<(&str, Change, &str)> = vec![
        ("it goes", Box::new(|document: &mut Value| document["paths"] = json!({})), "POST /x: the operation is gone"),
        ("another id", Box::new(set("/operationId", json!("y"))), "POST /x: the operation has another id"),
        (
            "a parameter goes",
            Box::new(|document: &mut Value| drop(document["paths"]["/x"]["post"]["parameters"].as_array_mut().unwrap().remove(0))),
            "POST /x: query limit is gone",
        ),
        ("a parameter comes", Box::new(push(parameter(false))), ""),
        ("a parameter is wanted", Box::new(push(parameter(true))), "POST /x: query new is required now"),
        ("one is required", Box::new(set("/parameters/0/required", json!(true))), "POST /x: query limit is required now"),
        ("one is optional", Box::new(set("/parameters/1/required", json!(false))), ""),
        ("a default", Box::new(set("/parameters/0/schema/default", json!(9))), "POST /x query limit: has another default"),
        ("a body is wanted", Box::new(set("/requestBody/required", json!(true))), "POST /x: a body is required now"),
        ("another body", Box::new(set("/requestBody/content", json!({ "text/plain": {} }))), "POST /x body: application/json is gone"),
        ("another answer", Box::new(set("/responses/200/content", json!({ "text/plain": {} }))), "POST /x 200: application/json is gone"),
        ("one more answer", Box::new(add("/responses/200/content", "text/plain", json!({}))), ""),
        ("a success goes", Box::new(take("/responses", "200")), "POST /x 200: the status is gone"),
        ("a refusal goes", Box::new(take("/responses", "404")), ""),
        ("a refusal comes", Box::new(add("/responses", "429", json!({}))), ""),
        ("a success comes", Box::new(add("/responses", "204", json!({}))), "POST /x 204: a success with a status of its own"),
        ("a header goes", Box::new(take("/responses/200/headers", "Location")), "POST /x 200: the header Location is gone"),
        (
            "a header's promise",
            Box::new(set("/responses/200/headers/Location/required", json!(false))),
            "POST /x 200: the header Location may be missing",
        ),
        (
            "more credentials",
            Box::new(add("", "security", json!([{ "bearer": [], "other": [] }]))),
            "POST /x: bearer is not enough any more",
        ),
        ("other credentials too", Box::new(add("", "security", json!([{ "other": [] }, { "bearer": [] }]))), ""),
        ("no credentials", Box::new(add("", "security", json!([{}]))), ""),
        (
            "another scheme",
            Box::new(|document: &mut Value| document["components"]["securitySchemes"]["bearer"]["scheme"] = json!("basic")),
            "security scheme bearer: `scheme` has changed",
        ),
        ("one more operation", Box::new(|document: &mut Value| document["paths"]["/y"] = json!({ "get": {} })), ""),
    ];
    let old = document(text(), text());
    let mut wrong = Vec::new();
    for (what, change, expected) in cases {
        let mut new = old.clone();
        change(&mut new);
        let expected: Vec<String> = Some(expected.to_owned()).filter(|line| !line.is_empty()).into_iter().collect();
        let seen = breaks(&old, &new);
        if seen != expected {
            wrong.push(format!("{what}: {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn credentials_where_there_were_none_are_a_break() {
    let mut old = document(text(), text());
    old["paths"]["/x"]["post"]["security"] = json!([{}]);
    assert_eq!(breaks(&old, &document(text(), text())), ["POST /x: no credential is not enough any more"]);
}

#[test]
fn a_schema_that_holds_itself_is_compared_once() {
    let tree = |kind: &str| {
        let mut document = document(json!({ "$ref": "#/components/schemas/Tree" }), text());
        document["components"]["schemas"] = json!({ "Tree": {
            "type": "object",
            "properties": { "leaf": { "type": kind }, "branches": { "type": "array", "items": { "$ref": "#/components/schemas/Tree" } } },
        } });
        document
    };
    assert_eq!(breaks(&tree("string"), &tree("integer")), ["POST /x body application/json .leaf: may not be string any more"]);
}
