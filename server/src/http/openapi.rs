//! The OpenAPI document, made from the handlers and the types of the contract.

use std::collections::BTreeMap;

use alpine_api::{PROBLEM_JSON, Problem};
use axum::{Extension, body::Bytes, http::header::CONTENT_TYPE, response::IntoResponse};
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
        path::Operation,
        schema::Type,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::list_sessions::Owner;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alpine",
        description = "A hosted control plane for ephemeral development sandboxes.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, Owner)),
    security(("bearer" = [])),
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
    let bearer = SecurityScheme::Http(
        Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("A token of a trusted issuer, or a personal access token"))
            .build(),
    );
    document.components.get_or_insert_default().add_security_scheme("bearer", bearer);
    for path in document.paths.paths.values_mut() {
        [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete].into_iter().flatten().for_each(|operation| {
            add_request_id(operation);
            add_rate_limits(operation);
        });
    }
    // A `down` without a body is one with the defaults.
    let down = document.paths.paths.get_mut("/v1/sessions/{session_id}/down").and_then(|path| path.post.as_mut());
    if let Some(RefOr::T(body)) = down.and_then(|down| down.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
    document
}

fn add_request_id(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert("X-Request-Id".into(), text_header("The request's id").into());
        }
    }
}

/// On every answer to a caller that is known. An operation that names its own security is public.
fn add_rate_limits(operation: &mut Operation) {
    if operation.security.is_some() {
        return;
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if matches!(status.as_str(), "401" | "414" | "431") {
            continue;
        }
        for (name, description) in [
            ("RateLimit-Limit", "Requests at once, of the bound that is nearest; none of the three where none is set"),
            ("RateLimit-Remaining", "How many are left"),
            ("RateLimit-Reset", "Seconds until all are there again"),
        ] {
            response.headers.insert(name.into(), number_header(description).into());
        }
    }
}

fn number_header(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::Integer))).description(Some(description)).build()
}

fn text_header(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).description(Some(description)).build()
}

/// What an operation says of itself, and what the layers around it may say: of one that takes a body, that it did not
/// come; of one that knows its caller, that there is too much of something.
fn refusals(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let body: &[u16] = if statuses.contains(&413) { &[408] } else { &[] };
    let caller: &[u16] = if statuses.contains(&401) { &[414, 429, 431] } else { &[] };
    statuses.iter().chain(body).chain(caller).map(|status| (status.to_string(), RefOr::T(problem(*status)))).collect()
}

fn problem(status: u16) -> Response {
    let description = match status {
        400 => "The request is not of its form",
        401 => "No caller can be derived from the request",
        403 => "The caller may not do this",
        404 => "There is no such thing for this caller",
        408 => "The body did not come in time",
        409 => "It contradicts what there is, or an operation that was cancelled or not persisted",
        413 => "The body is too large",
        414 => "The path and query are too long",
        415 => "The body is not JSON, or it is packed",
        422 => "A value cannot be taken, or the key was used for something else",
        429 => "Too many requests in a short time, too many under way, or a quota is used up",
        431 => "The headers are too large or too many; without a body where the connection cannot be read any further",
        500 => "A fault of the control plane",
        502 => "The sandbox could not be made ready",
        503 => "Not now",
        _ => "The operation did not end within its deadline",
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content);
    match status {
        401 => response.header("WWW-Authenticate", text_header("The challenge (RFC 6750)")),
        429 | 503 => response.header("Retry-After", number_header("Seconds")),
        _ => response,
    }
    .build()
}

/// The refusals of an operation. utoipa takes them as types.
macro_rules! refusals {
    ($($name:ident = $($status:literal)+;)+) => {$(
        #[derive(Debug)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                refusals(&[$($status),+])
            }
        }
    )+};
}

refusals! {
    UpRefusals = 400 401 403 409 413 415 422 500 502 503 504;
    DownRefusals = 400 401 403 404 409 413 415 422 500 502 503 504;
    ImportRefusals = 400 401 403 409 413 415 422 500 503;
    ListRefusals = 400 401 403 422 500 503;
    SessionRefusals = 401 403 404 500 503;
    CreateTenantRefusals = 400 401 403 409 413 415 422 500 503;
    UpdateTenantRefusals = 400 401 403 404 413 415 422 500 503;
    EventRefusals = 400 401 403 404 500 503;
    CreateTokenRefusals = 400 401 403 413 415 422 500 503;
    ListTokensRefusals = 400 401 403 500 503;
    RevokeTokenRefusals = 401 403 404 500 503;
    ReadyRefusals = 503;
    WhoAmIRefusals = 401 403 500 503;
    SetCredentialRefusals = 400 401 403 413 415 422 500 503;
    ListCredentialsRefusals = 401 403 500 503;
    RemoveCredentialRefusals = 401 403 404 500 503;
}

/// The document, written once when the router is made.
#[derive(Debug, Clone)]
pub(super) struct Document(pub(super) Bytes);

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "system", security(()),
    responses((status = 200, body = Object, content_type = "application/json", description = "The OpenAPI 3.1 document"))
)]
pub async fn openapi(Extension(Document(body)): Extension<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_one_that_the_handlers_make() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/alpine.v1.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let current = document_json() + "\n";
        assert!(committed == current, "the API has changed: cargo run -p alpine-server -- openapi > openapi/alpine.v1.json");
    }

    #[test]
    fn every_operation_has_an_id_and_every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut ids = std::collections::BTreeSet::new();
        for operation in document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values()) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "an id twice");
        }
        assert_eq!(ids.len(), 26);
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
