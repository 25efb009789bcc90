//! The OpenAPI document, made from the handlers and the types of the contract.

mod examples;
mod headers;
mod refusals;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use alpine_api::Problem;
use axum::{Extension, body::Bytes, http::header::CONTENT_TYPE, response::IntoResponse};
use utoipa::{
    OpenApi,
    openapi::{
        Components, RefOr, Required, Schema,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::list_sessions::Owner;
use crate::domain::operation::Phase;

pub(super) use refusals::*;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alpine",
        description = include_str!("introduction.md"),
        contact(name = "Whoever runs this server"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The server that this document comes from")),
    components(schemas(Problem, Owner)),
    security(("bearer" = []), ("cloudflareAccess" = [])),
    tags(
        (name = "sessions", description = "Sandboxes, from up to down"),
        (name = "credentials", description = "What opens repositories, stored for a principal or a tenant"),
        (name = "operations", description = "What the control plane does for a session"),
        (name = "identity", description = "Who calls"),
        (name = "tokens", description = "Personal access tokens, for scripts"),
        (name = "tenants", description = "Who may use how much"),
        (name = "imports", description = "Moving in from another ledger"),
        (name = "audit", description = "Who did what to what is not theirs"),
        (name = "system", description = "For those who run the server"),
    ),
)]
struct Base;

/// The whole document, OpenAPI 3.1.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    finish(super::routes().into_openapi())
}

/// The document as it is committed (with a newline behind it) and served.
#[must_use]
#[expect(clippy::expect_used, reason = "at start-up; maps with text for keys are always JSON")]
pub fn document_json() -> String {
    document().to_pretty_json().expect("the document is JSON")
}

pub(super) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// What holds for every operation is said once, here.
fn finish(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let components = document.components.get_or_insert_default();
    add_security(components);
    headers::add_components(components);
    mark_what_grows(components);
    let mut refused = BTreeSet::new();
    for path in document.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            headers::complete(operation, components);
            examples::complete(operation);
            refused.extend(refusals::of(operation));
        }
    }
    examples::add_problems(components, refused);
    super::absent::never_null(&mut document);
    // Without a body they are asked for with the defaults.
    for last in ["down", "extend", "open"] {
        let path = &format!("/v1/sessions/{{session_id}}/{last}");
        let operation = document.paths.paths.get_mut(path).and_then(|path| path.post.as_mut());
        if let Some(RefOr::T(body)) = operation.and_then(|operation| operation.request_body.as_mut()) {
            body.required = Some(Required::False);
        }
    }
    document
}

fn add_security(components: &mut Components) {
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let bearer = bearer.description(Some("A token of a trusted issuer, or a personal access token")).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let cloudflare = "What Cloudflare Access adds to a request, where the server trusts it; looked at where there is no `Authorization`, \
        and from no page of another site (`Sec-Fetch-Site`, `Origin`)";
    let cloudflare = ApiKeyValue::with_description("Cf-Access-Jwt-Assertion", cloudflare);
    components.add_security_scheme("cloudflareAccess", SecurityScheme::ApiKey(ApiKey::Header(cloudflare)));
}

/// The catalogue of codes is an `enum` for those who look codes up; it grows, and says so. Phases are not even that: a worker
/// of a newer version may have written another, and a client that was made from a closed set would not read the whole answer
/// for the sake of that one word.
fn mark_what_grows(components: &mut Components) {
    if let Some(RefOr::T(Schema::Object(codes))) = components.schemas.get_mut("ErrorCode") {
        codes.extensions = Some([("x-open-enum", true)].into_iter().collect());
    }
    let names: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    for schema in ["Operation", "Event"] {
        let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(schema) else { continue };
        let Some(RefOr::T(Schema::Object(phase))) = object.properties.get_mut("phase") else { continue };
        phase.extensions = Some([("x-extensible-enum", names.clone())].into_iter().collect());
    }
}

/// The document, written once when the router is made.
#[derive(Debug, Clone)]
pub(super) struct Document(pub(super) Bytes);

/// This document
///
/// OpenAPI 3.1, made from the handlers: what a client is generated from. [/docs](/docs) shows it to people.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "system", security(()),
    responses(
        (status = 200, body = Object, content_type = "application/json", description = "The OpenAPI 3.1 document",
            example = json!({ "openapi": "3.1.0", "info": { "title": "Alpine", "version": "0.1.0" }, "paths": {} })),
        PublicRefusals,
    )
)]
pub async fn openapi(Extension(Document(body)): Extension<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body)
}
