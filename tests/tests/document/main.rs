//! The OpenAPI document: what linters say of it, what has changed since the last release, and the page that shows it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod linters;
mod page;
mod released;
mod rules;

use alpine_tests::bins;
use serde_json::Value;

const COMMITTED: &str = "openapi/alpine.v1.json";

fn text(path: &str) -> String {
    std::fs::read_to_string(bins::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn json(path: &str) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}
