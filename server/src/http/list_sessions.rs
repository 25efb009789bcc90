//! `list`.

use alpine_api::{Branch, RepoUrl, SessionPage, SessionState};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, AppState,
    extract::{ApiQuery, Caller},
    openapi::ListSessionsRefusals,
};
use crate::{
    domain::Fault,
    ledger::{Cursor, ListQuery},
};

const LIMIT: std::ops::RangeInclusive<i64> = 1..=200;

/// Whose sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The caller's own.
    Me,
    /// Everybody's in the tenant; for admins.
    All,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Only sessions in this state.
    state: Option<SessionState>,
    /// Only sessions of this branch.
    #[param(value_type = Option<Branch>)]
    branch: Option<String>,
    /// Only sessions of this repository.
    #[param(value_type = Option<RepoUrl>)]
    repo_url: Option<String>,
    /// Whose sessions; the caller's own unless said otherwise.
    owner: Option<Owner>,
    /// `next_cursor` of the page before.
    #[param(min_length = 32, max_length = 32, pattern = "^AA[A-Za-z0-9_-]{30}$")]
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// A list of sessions
///
/// Those that are not over and those that ended in the last 24 hours, newest `updated_at` first: the caller's own, or with
/// `owner=all` everybody's in the tenant (for the role `alpine.admin`).
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "listSessions", tag = "sessions",
    params(Parameters),
    responses((status = 200, body = SessionPage, description = "A page of sessions"), ListSessionsRefusals)
)]
pub async fn list_sessions(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ApiQuery(parameters): ApiQuery<Parameters>,
) -> Result<Json<SessionPage>, ApiError> {
    let query = query(parameters)?;
    Ok(Json(state.ledger.tenant(&caller.tenant).list(&caller, query).await?))
}

fn query(parameters: Parameters) -> Result<ListQuery, ApiError> {
    let Parameters { state, branch, repo_url, owner, cursor, limit } = parameters;
    let all_owners = owner == Some(Owner::All);
    let limit = limit.unwrap_or(50);
    if !LIMIT.contains(&limit) {
        return Err(ApiError::malformed("limit must be from 1 to 200"));
    }
    // Parsed, so that what is compared is written as it was when it was stored.
    let branch = branch.map(|name| name.parse::<Branch>()).transpose().map_err(Fault::from)?;
    let repo_url = repo_url.map(|url| url.parse::<RepoUrl>()).transpose().map_err(Fault::from)?;
    let after = cursor.map(|cursor| cursor.parse::<Cursor>()).transpose().map_err(|bad| ApiError::malformed(bad.to_string()))?;
    Ok(ListQuery { all_owners, state, branch: branch.map(|b| b.to_string()), repo_url: repo_url.map(|u| u.to_string()), after, limit })
}
