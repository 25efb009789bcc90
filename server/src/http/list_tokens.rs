//! `token list`.

use alpine_api::{TokenId, TokenPage};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiError, AppState,
    extract::{ApiQuery, Caller},
    list_sessions::Owner,
    openapi::ListTokensRefusals,
};
use crate::ledger::TokenQuery;

const LIMIT: std::ops::RangeInclusive<i64> = 1..=200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Whose tokens; the caller's own unless said otherwise.
    owner: Option<Owner>,
    /// `next_cursor` of the page before.
    cursor: Option<TokenId>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// A list of personal access tokens
///
/// Newest first, those that are expired or revoked too: the caller's own, or with `owner=all` everybody's in the tenant (for the
/// role `alpine.admin`). Never the secrets: nobody has them but whoever was given them.
#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "listTokens", tag = "tokens",
    params(Parameters),
    responses((status = 200, body = TokenPage, description = "A page of tokens"), ListTokensRefusals)
)]
pub async fn list_tokens(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ApiQuery(parameters): ApiQuery<Parameters>,
) -> Result<Json<TokenPage>, ApiError> {
    let limit = parameters.limit.unwrap_or(50);
    if !LIMIT.contains(&limit) {
        return Err(ApiError::malformed("limit must be from 1 to 200"));
    }
    let query = TokenQuery { all_owners: parameters.owner == Some(Owner::All), after: parameters.cursor, limit };
    Ok(Json(state.ledger.tenant(&caller.tenant).list_tokens(&caller, query).await?))
}
