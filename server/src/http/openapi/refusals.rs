//! What an operation may answer instead: its statuses, and the codes of each.

use std::collections::{BTreeMap, BTreeSet};

use alpine_api::{ErrorCode, PROBLEM_JSON};
use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, extensions::Extensions, path::Operation},
};

use super::{examples, headers};

/// The codes that an answer may carry.
const CODES: &str = "x-error-codes";

/// A status and codes that come with it.
type Said = (u16, &'static [ErrorCode]);

/// Of every operation: the layers around it say these.
const ANY: &[Said] = &[
    (414, &[ErrorCode::InvalidRequest]),
    (431, &[ErrorCode::InvalidRequest]),
    (500, &[ErrorCode::Internal]),
    (503, &[ErrorCode::Unavailable]),
];
/// Of one that knows its caller.
const CALLER: &[Said] = &[(401, &[ErrorCode::CallerIdentityRequired]), (403, &[ErrorCode::Forbidden]), (429, &[ErrorCode::RateLimited])];
/// Of one with parameters in its query.
const QUERY: &[Said] = &[(400, &[ErrorCode::InvalidRequest])];
/// Of one that takes a body.
const BODY: &[Said] = &[
    (400, &[ErrorCode::InvalidRequest]),
    (408, &[ErrorCode::InvalidRequest]),
    (413, &[ErrorCode::InvalidRequest]),
    (415, &[ErrorCode::InvalidRequest]),
    (422, &[ErrorCode::InvalidRequest]),
];
/// Of one that looks at a session, or at what belongs to one.
const SESSION: &[Said] = &[(403, &[ErrorCode::SessionForbidden]), (404, &[ErrorCode::SessionNotFound])];
/// Of one that looks at a token, a credential or a tenant.
const THING: &[Said] = &[(404, &[ErrorCode::NotFound])];
/// Of one that answers with what came of an operation.
const OUTCOME: &[Said] =
    &[(409, &[ErrorCode::OperationConflict]), (502, &[ErrorCode::SandboxProvisionFailed]), (504, &[ErrorCode::DeadlineExceeded])];

/// The refusals of an operation. utoipa takes them as types.
macro_rules! refusals {
    ($($name:ident = $($group:ident)* $(, $status:literal $($code:ident)+)*;)+) => {$(
        #[derive(Debug)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                refusals([ANY, $($group,)* &[$(($status, &[$(ErrorCode::$code),+])),*]])
            }
        }
    )+};
}

refusals! {
    UpRefusals = CALLER BODY OUTCOME, 400 BranchRequired, 422 InvalidBranch InvalidRepoUrl RepoAuthMissing OperationConflict, 429 QuotaExceeded;
    DownRefusals = CALLER SESSION BODY OUTCOME, 409 PersistenceVerificationFailed PersistPayloadTooLarge;
    ExtendRefusals = CALLER SESSION BODY, 409 OperationConflict;
    OpenRefusals = CALLER SESSION BODY, 409 OperationConflict;
    CreateShareRefusals = CALLER SESSION BODY, 409 OperationConflict, 429 QuotaExceeded;
    RemoveShareRefusals = CALLER SESSION THING;
    ImportRefusals = CALLER BODY, 409 OperationConflict;
    ListSessionsRefusals = CALLER QUERY, 400 BranchRequired, 403 SessionForbidden, 422 InvalidBranch InvalidRepoUrl;
    SessionRefusals = CALLER SESSION;
    EventRefusals = CALLER SESSION QUERY;
    TenantRefusals = CALLER THING;
    ListTenantsRefusals = CALLER QUERY;
    CreateTenantRefusals = CALLER BODY, 409 OperationConflict;
    UpdateTenantRefusals = CALLER BODY THING;
    AuditRefusals = CALLER QUERY THING;
    CreateTokenRefusals = CALLER BODY, 429 QuotaExceeded;
    ListTokensRefusals = CALLER QUERY;
    RevokeTokenRefusals = CALLER THING;
    SetCredentialRefusals = CALLER BODY, 429 QuotaExceeded;
    RemoveCredentialRefusals = CALLER THING;
    CallerRefusals = CALLER;
    HostRefusals = QUERY;
    PublicRefusals = ;
}

fn refusals<const N: usize>(groups: [&[Said]; N]) -> BTreeMap<String, RefOr<Response>> {
    let mut all: BTreeMap<u16, BTreeSet<ErrorCode>> = BTreeMap::new();
    for (status, codes) in groups.into_iter().flatten() {
        all.entry(*status).or_default().extend(*codes);
    }
    all.into_iter().map(|(status, codes)| (status.to_string(), RefOr::T(refusal(status, &codes)))).collect()
}

fn refusal(status: u16, codes: &BTreeSet<ErrorCode>) -> Response {
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for code in codes {
        let example = Ref::new(format!("#/components/examples/{}", examples::problem_name(status, *code)));
        content = content.examples_from_iter([(code.to_string(), RefOr::Ref(example))]);
    }
    let listed: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let listed: Extensions = [(CODES, listed)].into_iter().collect();
    let response = ResponseBuilder::new().description(meaning(status)).content(PROBLEM_JSON, content.build()).extensions(Some(listed));
    let mut response = response.build();
    let header = match status {
        401 => Some(headers::CHALLENGE),
        429 | 503 => Some(headers::RETRY_AFTER),
        _ => None,
    };
    response.headers.extend(header.map(|name| (name.to_owned(), headers::named(name))));
    response
}

/// What a status means here, whoever answers it.
const fn meaning(status: u16) -> &'static str {
    match status {
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
    }
}

/// The statuses and codes that an operation names.
pub(super) fn of(operation: &Operation) -> Vec<(u16, ErrorCode)> {
    let mut all = Vec::new();
    for (status, response) in &operation.responses.responses {
        let RefOr::T(Response { extensions: Some(extensions), .. }) = response else { continue };
        let codes = extensions.get(CODES).cloned().and_then(|codes| serde_json::from_value::<Vec<ErrorCode>>(codes).ok());
        all.extend(status.parse().ok().into_iter().flat_map(|status| codes.iter().flatten().map(move |code| (status, *code))));
    }
    all
}
