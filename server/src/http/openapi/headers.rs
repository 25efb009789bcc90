//! Headers of answers: each is said once, among the components, and named where it may come.

use serde_json::{Value, json};
use utoipa::openapi::{
    Components, Header, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response,
    extensions::Extensions,
    path::Operation,
    schema::{KnownFormat, SchemaFormat, SchemaType, Type},
};

pub(super) const CHALLENGE: &str = "WWW-Authenticate";
pub(super) const RETRY_AFTER: &str = "Retry-After";
const REQUEST_ID: &str = "X-Request-Id";
const RATES: [&str; 3] = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];

/// Every header that an answer may have. The name stands in the handlers; what it means stands here.
pub(super) fn add_components(components: &mut Components) {
    let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build();
    let number = |least: i32| {
        let format = SchemaFormat::KnownFormat(KnownFormat::Int32);
        ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer)).format(Some(format)).minimum(Some(least)).build()
    };
    let headers = [
        (
            REQUEST_ID,
            true,
            text("^[A-Za-z0-9._-]{1,64}$"),
            json!("019ab1c24d3e7f508192a3b4c5d6e7f8"),
            "The request's id: the caller's, if it sent one",
        ),
        (CHALLENGE, true, text("^Bearer "), json!("Bearer realm=\"alpine\""), "The challenge (RFC 6750)"),
        (RETRY_AFTER, true, number(1), json!(1), "Seconds after which to come again"),
        ("Location", true, text("^/v1/"), json!("/v1/operations/op_019ab1c24d3e7f508192a3b4c5d6e7f8"), "Where what was begun or made is"),
        ("Preference-Applied", false, text("^wait=[0-9]{1,2}$"), json!("wait=60"), "The wait that was honoured, where one was asked for"),
        (RATES[0], false, number(1), json!(200), "Requests at once, of the bound that is nearest; none of the three where none is set"),
        (RATES[1], false, number(0), json!(199), "How many of them are left"),
        (RATES[2], false, number(0), json!(1), "Seconds until all are there again"),
    ];
    for (name, required, schema, example, description) in headers {
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).example(Some(example)).build();
        components.headers.insert(name.to_owned(), if required { always(header) } else { header }.into());
    }
}

/// utoipa's header does not know `required`.
fn always(header: Header) -> Header {
    let required: Extensions = [("required", Value::Bool(true))].into_iter().collect();
    let mut header = header;
    header.extensions = Some(required);
    header
}

pub(super) fn named(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

/// What is on every answer of an operation, and its own headers by their names.
pub(super) fn complete(operation: &mut Operation, known: &Components) {
    // An operation that names its own security is public.
    let has_caller = operation.security.is_none();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(Response { headers, .. }) = response else { continue };
        for (name, header) in headers.iter_mut().filter(|(name, _)| known.headers.contains_key(*name)) {
            *header = named(name);
        }
        headers.insert(REQUEST_ID.to_owned(), named(REQUEST_ID));
        // On every answer to a caller that is known.
        if has_caller && !matches!(status.as_str(), "401" | "414" | "431") {
            headers.extend(RATES.map(|name| (name.to_owned(), named(name))));
        }
    }
}
