//! The tenants, for operators.

use alpine_api::TenantPage;
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiError, AppState,
    extract::{ApiQuery, Caller},
    openapi::ListTenantsRefusals,
};

const LIMIT: std::ops::RangeInclusive<i64> = 1..=200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Only tenants that come after this one: `next_after` of the page before.
    #[param(max_length = 255, pattern = r"^[^\x00]*$")]
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// A list of tenants
///
/// All of them in the order of their ids, each with its limits and what it uses. For the role `alpine.operator`.
#[utoipa::path(
    get, path = "/v1/tenants", operation_id = "listTenants", tag = "tenants",
    params(Parameters),
    responses((status = 200, body = TenantPage, description = "A page of tenants"), ListTenantsRefusals)
)]
pub async fn list_tenants(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ApiQuery(parameters): ApiQuery<Parameters>,
) -> Result<Json<TenantPage>, ApiError> {
    let (after, limit) = (parameters.after.unwrap_or_default(), parameters.limit.unwrap_or(50));
    if !LIMIT.contains(&limit) || after.contains('\0') || after.chars().count() > 255 {
        return Err(ApiError::malformed("limit must be from 1 to 200, after a tenant's id"));
    }
    Ok(Json(state.ledger.tenants(&caller, &after, limit).await?))
}
