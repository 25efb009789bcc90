//! A problem for each status and code.

use alpine_api as api;
use api::{ErrorCode, OperationKind as Kind};
use utoipa::openapi::{Components, example::ExampleBuilder};

use super::{operation_id, uuid, value};

/// The name of a problem's example among the components.
pub fn problem_name(status: u16, code: ErrorCode) -> String {
    format!("{status}_{code}")
}

/// A problem for each status and code that some operation may answer.
pub fn add_problems(components: &mut Components, statuses: impl IntoIterator<Item = (u16, ErrorCode)>) {
    for (status, code) in statuses {
        let (cause, next_step) = words(status, code);
        let of_operation =
            matches!(code, ErrorCode::SandboxProvisionFailed | ErrorCode::DeadlineExceeded | ErrorCode::PersistPayloadTooLarge);
        let problem = api::Problem {
            kind: format!("/docs/errors#{code}"),
            title: code.title().to_owned(),
            status,
            detail: cause.to_owned(),
            instance: "/v1/sessions".to_owned(),
            error_code: code,
            cause: cause.to_owned(),
            next_step: next_step.to_owned(),
            retryable: code.retryable() || status == 408,
            operation_id: of_operation.then(|| operation_id(Kind::Up)),
            session_id: None,
            request_id: uuid(7).simple().to_string(),
        };
        let example = ExampleBuilder::new().summary(code.title()).value(Some(value(problem))).build();
        components.examples.insert(problem_name(status, code), example.into());
    }
}

/// What the server says in such a case.
const fn words(status: u16, code: ErrorCode) -> (&'static str, &'static str) {
    use ErrorCode as C;
    match (status, code) {
        (408, _) => ("the body did not come in time", "send the whole body at once"),
        (413, _) => ("the body is too large", "correct the request; its form is in /openapi.json"),
        (414, _) => ("the path and query are too long", "correct the request; its form is in /openapi.json"),
        (415, _) => ("the body must be application/json", "correct the request; its form is in /openapi.json"),
        (422, C::InvalidRequest) => ("missing field `repo_url` (line 1, column 17)", "correct the request; its form is in /openapi.json"),
        (431, _) => ("there are too many headers", "correct the request; its form is in /openapi.json"),
        (422, C::OperationConflict) => ("client-request-id was reused with different request parameters", "use a new client-request-id"),
        (_, C::CallerIdentityRequired) => ("caller identity is required", "run alpine login, or set ALPINE_TOKEN"),
        (_, C::SessionForbidden) => ("session is owned by another principal", "ask the session's owner or an admin of your tenant"),
        (_, C::Forbidden) => (
            "the token lacks the scope sessions:write",
            "use a token with that scope: alpine token create --name <name> --scope sessions:write",
        ),
        (_, C::SessionNotFound) => ("session not found", "check the id with alpine list"),
        (_, C::NotFound) => ("token not found", "check the id, and that it is yours"),
        (_, C::BranchRequired) => ("branch is required", "give --branch <branch>"),
        (_, C::InvalidBranch) => ("invalid branch name", "give a branch name that git accepts"),
        (_, C::InvalidRepoUrl) => {
            ("invalid repository URL", "give https://host/path or git@host:path, without user info, query or fragment")
        }
        (_, C::RepoAuthMissing) => (
            "repository credentials are missing",
            "set GITHUB_TOKEN or GH_TOKEN, store a token with alpine credential set, or pass --public for a public repository",
        ),
        (_, C::OperationConflict) => ("cancelled by down", "run alpine up again with a NEW client-request-id"),
        (_, C::SandboxProvisionFailed) => (
            "resolve: branch main does not exist on the remote",
            "check the branch's name (git ls-remote --heads <repo-url> shows all), then run alpine up again with a NEW client-request-id",
        ),
        (_, C::PersistenceVerificationFailed) => ("session is stopped but not persisted", "run alpine down <session-id> --retry-persist"),
        (_, C::PersistPayloadTooLarge) => ("the record is too large", "run alpine down <session-id> --retry-persist"),
        (_, C::QuotaExceeded) => {
            ("the principal has 20 of 20 active sessions", "stop a session with alpine down <session-id>, or ask an operator for more")
        }
        (_, C::RateLimited) => ("this caller has sent too many requests in a short time", "send less; try again in 1 s"),
        (_, C::Unavailable) => ("the database is not available", "try again in a moment"),
        (_, C::DeadlineExceeded) => ("install: not done within 600 s", "run alpine up again with a NEW client-request-id"),
        (_, C::Internal) => ("internal error", "try again; if it happens again, report it with its request id"),
        (_, C::InvalidRequest | C::CommandReplaced | C::Interrupted) => {
            ("limit must be from 1 to 200", "correct the request; its form is in /openapi.json")
        }
    }
}
