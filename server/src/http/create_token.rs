//! `token create`.

use std::collections::BTreeSet;

use alpine_api::{CreateToken, CreatedToken, Scope};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller},
    limits::Ticket,
    openapi::CreateTokenRefusals,
};
use crate::{
    domain::{
        Fault,
        access_token::{DAYS, NAME_MAX, may_make},
    },
    ledger::NewToken,
};

/// Make a personal access token
///
/// The answer is the one place where it is ever shown. Only after signing in: an access token makes no other. Not idempotent: where the answer is lost, list the tokens and
/// revoke the one that nobody has.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "createToken", tag = "tokens",
    request_body = CreateToken,
    responses(
        (status = 201, body = CreatedToken, description = "The token", headers(("Location" = String))),
        CreateTokenRefusals,
    )
)]
pub async fn create_token(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ticket: Ticket,
    ApiJson(body): ApiJson<CreateToken>,
) -> Result<impl IntoResponse, ApiError> {
    // The answer is a secret too.
    if !state.settings.takes_secrets {
        return Err(Fault::PlainHttp.into());
    }
    let (name, days) = (checked_name(body.name)?, checked_days(body.expires_in_days)?);
    let scopes = checked_scopes(&body.scopes)?;
    may_make(&caller, &scopes)?;
    let ledger = state.ledger.tenant(&caller.tenant);
    let new = NewToken { caller, name, scopes, days };
    let (token, about) = ticket.see_through(async move { ledger.create_token(new).await }).await??;
    let location = [(header::LOCATION, format!("/v1/tokens/{}", about.token_id))];
    Ok((StatusCode::CREATED, location, Json(CreatedToken { token: token.expose().to_owned(), about })))
}

fn checked_name(name: String) -> Result<String, ApiError> {
    if (1..=NAME_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(ApiError::malformed("name must be 1 to 100 characters, without control characters"))
    }
}

fn checked_days(days: i32) -> Result<i32, ApiError> {
    if DAYS.contains(&days) { Ok(days) } else { Err(ApiError::malformed("expires_in_days must be from 1 to 365")) }
}

/// Each once.
fn checked_scopes(scopes: &[Scope]) -> Result<Vec<Scope>, ApiError> {
    if (1..=Scope::ALL.len()).contains(&scopes.len()) {
        Ok(scopes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect())
    } else {
        Err(ApiError::malformed("scopes must name at least one of sessions:read, sessions:write and admin, each once"))
    }
}
