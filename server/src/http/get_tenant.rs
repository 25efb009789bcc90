//! One tenant.

use alpine_api::Tenant;
use axum::{Json, extract::State};

use super::{
    ApiError, AppState,
    extract::{Caller, TenantPath},
    openapi::TenantRefusals,
};

/// A tenant
///
/// With its limits and what it uses at this moment: any for the role `alpine.operator`, one's own for `alpine.admin`.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}", operation_id = "getTenant", tag = "tenants",
    params(("tenant_id" = String, Path, min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x20\\x7f-\\xa0]([^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0])?$", example = "acme", description = "The tenant")),
    responses((status = 200, body = Tenant, description = "The tenant"), TenantRefusals)
)]
pub async fn get_tenant(
    State(state): State<AppState>,
    Caller(caller): Caller,
    TenantPath(tenant): TenantPath,
) -> Result<Json<Tenant>, ApiError> {
    Ok(Json(state.ledger.tenant(&tenant).describe(&caller).await?))
}
