//! `up`.

use alpine_api::{Operation, OperationStatus, SessionState, UpSession};
use axum::{extract::State, response::Response};
use secrecy::{ExposeSecret, SecretString};

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller, Key, Prefer, Wait},
    limits::Ticket,
    openapi::UpRefusals,
    seconds, wait,
};
use crate::{
    domain::{
        Fault,
        class::Classes,
        hosts::HostPolicy,
        idempotency::{IdempotencyKey, UpOptions},
        principal::Principal,
        repo::{Branch, RepoUrl, Scheme},
        stored_credential::{TOKEN_MAX_BYTES, check_token},
    },
    ledger::{NewUp, UpAnswer},
    telemetry,
};

/// Make a session ready
///
/// Begins an operation that makes a sandbox, clones the branch's commit into it, installs its dependencies and starts the web app.
/// The answer is `202` while that is under way and `200` once the session is ready; one that fails is answered with its problem.
///
/// The same key with the same parameters is the same operation, whatever has become of it. With other parameters it is refused
/// with `422 ERR_OPERATION_CONFLICT`, and once its session is over with `409 ERR_OPERATION_CONFLICT`.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "createSession", tag = "sessions",
    params(
        ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", example = "4f7c1f8e-nightly-build", description = "Names this `up` among the caller's own: a new one for each session that is wanted, and the same one again where an answer was lost"),
        Prefer,
    ),
    request_body = UpSession,
    responses(
        (status = 200, body = Operation, description = "The session is ready", headers(("Location" = String), ("Preference-Applied" = String))),
        (status = 202, body = Operation, description = "Under way", headers(("Location" = String), ("Preference-Applied" = String))),
        UpRefusals,
    )
)]
pub async fn create_session(
    State(state): State<AppState>,
    Caller(caller): Caller,
    wait: Wait,
    ticket: Ticket,
    key: Result<Key, ApiError>,
    body: Result<ApiJson<UpSession>, ApiError>,
) -> Result<Response, ApiError> {
    let ApiJson(body) = body?;
    let rules = Rules {
        hosts: &state.hosts,
        classes: &state.classes,
        takes_secrets: state.settings.takes_secrets,
        sees_uses: state.apps.is_some(),
    };
    let up = new_up(rules, caller.principal.clone(), key?.0, body)?;
    let ledger = state.ledger.tenant(&caller.tenant);
    let operation = match ticket.see_through(async move { ledger.accept_up(up).await }).await?? {
        UpAnswer::Accepted(operation) | UpAnswer::Running(operation) => {
            not_over(wait::settle(&state, &caller.tenant, operation, wait, &ticket).await)?
        }
        UpAnswer::Ready(operation) | UpAnswer::Failed(operation) => operation,
    };
    Ok(wait::answer(operation, wait))
}

/// A `down` may have come between the end of an `up` that was waited for and the look at it.
fn not_over(operation: Operation) -> Result<Operation, Fault> {
    if operation.status == OperationStatus::Succeeded && operation.state != SessionState::Ready {
        return Err(Fault::SessionOver { operation: operation.operation_id });
    }
    Ok(operation)
}

/// What is allowed here.
#[derive(Debug, Clone, Copy)]
struct Rules<'a> {
    hosts: &'a HostPolicy,
    classes: &'a Classes,
    takes_secrets: bool,
    /// Of sessions, by their hosts.
    sees_uses: bool,
}

/// Checked in this order, which is part of the contract: branch, URL, credentials. Whether any are stored is the ledger's to say, and
/// whether the key has an answer that what is not allowed any more takes nothing from.
fn new_up(rules: Rules<'_>, principal: Principal, key: IdempotencyKey, body: UpSession) -> Result<NewUp, ApiError> {
    let branch: Branch = body.branch.parse().map_err(Fault::from)?;
    let repo_url: RepoUrl = body.repo_url.parse().map_err(Fault::from)?;
    let token = repo_token(body.repo_token)?;
    if token.is_some() && !rules.takes_secrets {
        return Err(Fault::PlainHttp.into());
    }
    let options = UpOptions {
        lifetime: seconds::lifetime(body.max_lifetime_seconds)?,
        idle_timeout: seconds::idle(body.idle_timeout_seconds)?,
        class: body.class,
    };
    let grant = |_| rules.classes.grant(&principal.tenant, &options);
    let seen = |_| if options.idle_timeout.is_none() || rules.sees_uses { Ok(()) } else { Err(Fault::UsesUnseen) };
    let admitted = rules.hosts.judge(&repo_url).and_then(seen).and_then(grant);
    // A token that will not be used is not kept.
    let repo_token = token.filter(|_| !body.public && repo_url.scheme() == Scheme::Https);
    let traceparent = telemetry::current_traceparent();
    let sees_uses = rules.sees_uses;
    Ok(NewUp { principal, key, repo_url, branch, public: body.public, repo_token, options, admitted, sees_uses, traceparent })
}

/// A blank token is none.
fn repo_token(given: Option<String>) -> Result<Option<SecretString>, ApiError> {
    let given = given.map(SecretString::from);
    // Blank or not.
    let fits = given.as_ref().is_none_or(|token| token.expose_secret().len() <= TOKEN_MAX_BYTES);
    let given = given.filter(|token| !token.expose_secret().trim().is_empty());
    let token = given.as_ref().map(check_token).transpose().ok().filter(|_| fits);
    token.ok_or_else(|| ApiError::malformed("repo_token must be at most 4096 bytes, without control characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::{PrincipalId, Roles, TenantId};

    fn up(repo_url: &str, branch: &str, public: bool, repo_token: Option<&str>) -> Result<NewUp, ApiError> {
        let principal = Principal::new(TenantId::parse("t").unwrap(), PrincipalId::parse("ann").unwrap(), Roles::default());
        let body = UpSession {
            repo_url: repo_url.into(),
            branch: branch.into(),
            public,
            repo_token: repo_token.map(str::to_owned),
            max_lifetime_seconds: None,
            idle_timeout_seconds: None,
            class: None,
        };
        new_up(open(&HostPolicy::default(), &Classes::default()), principal, IdempotencyKey::parse("k").unwrap(), body)
    }

    fn open<'a>(hosts: &'a HostPolicy, classes: &'a Classes) -> Rules<'a> {
        Rules { hosts, classes, takes_secrets: true, sees_uses: true }
    }

    fn fault(result: Result<NewUp, ApiError>) -> Fault {
        match result {
            Err(ApiError::Fault(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    const URL: &str = "https://h/o/r.git";

    #[test]
    fn checks_go_in_the_order_of_the_contract() {
        assert_eq!(fault(up("http://bad", "", false, None)), Fault::BranchRequired);
        assert_eq!(fault(up("http://bad", "a..b", false, None)), Fault::InvalidBranch);
        assert!(matches!(fault(up("http://bad", "main", false, None)), Fault::InvalidRepoUrl(_)));
        assert_eq!(up("https://10.0.0.1/r", "main", false, None).unwrap().admitted, Err(Fault::HostPrivate));
    }

    #[test]
    fn a_blank_token_is_none_and_one_that_will_not_be_used_is_not_kept() {
        let token = |up: Result<NewUp, ApiError>| up.unwrap().repo_token.map(|t| t.expose_secret().to_owned());
        assert_eq!(token(up(URL, "main", false, Some(" tok \n"))), Some("tok".into()));
        assert_eq!(token(up(URL, "main", true, None)), None);
        assert_eq!(token(up(URL, "main", true, Some("tok"))), None);
        for blank in ["", " ", "\n\t"] {
            assert_eq!(token(up(URL, "main", false, Some(blank))), None);
        }
        assert_eq!(token(up("git@h:o/r", "main", false, Some("tok"))), None);
    }

    #[test]
    fn no_token_is_taken_where_others_can_read_it() {
        let principal = || Principal::new(TenantId::parse("t").unwrap(), PrincipalId::parse("ann").unwrap(), Roles::default());
        let body = |public, repo_token: Option<&str>| UpSession {
            repo_url: URL.into(),
            branch: "main".into(),
            public,
            repo_token: repo_token.map(str::to_owned),
            max_lifetime_seconds: None,
            idle_timeout_seconds: None,
            class: None,
        };
        let (hosts, classes) = (HostPolicy::default(), Classes::default());
        let plain = Rules { takes_secrets: false, ..open(&hosts, &classes) };
        let up = |body| new_up(plain, principal(), IdempotencyKey::parse("k").unwrap(), body);
        for public in [true, false] {
            assert_eq!(fault(up(body(public, Some("tok")))), Fault::PlainHttp);
            assert!(up(body(public, Some(" "))).is_ok() && up(body(public, None)).is_ok());
        }
        let bad_url = UpSession { repo_url: "http://bad".into(), ..body(false, Some("tok")) };
        assert!(matches!(fault(up(bad_url)), Fault::InvalidRepoUrl(_)), "the order of the contract");
    }

    #[test]
    fn a_token_with_control_characters_or_beyond_its_length_is_malformed() {
        for bad in ["a\nb", "a\0b", "a\u{7f}b", &"x".repeat(4097), &" ".repeat(4097), &format!("{}x", " ".repeat(4096))] {
            assert!(matches!(up(URL, "main", false, Some(bad)), Err(ApiError::Malformed { .. })));
        }
    }
}
