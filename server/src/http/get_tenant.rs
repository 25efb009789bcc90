//! One tenant.

use alpine_api::Tenant;
use axum::{Json, extract::State};

use super::{
    ApiError, AppState,
    extract::{Caller, TenantPath},
    openapi::SessionRefusals,
};

/// A tenant with its limits and what it uses: any for the role `alpine.operator`, one's own for `alpine.admin`.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}", operation_id = "getTenant", tag = "tenants",
    params(("tenant_id" = String, Path, description = "The tenant")),
    responses((status = 200, body = Tenant, description = "The tenant"), SessionRefusals)
)]
pub async fn get_tenant(
    State(state): State<AppState>,
    Caller(caller): Caller,
    TenantPath(tenant): TenantPath,
) -> Result<Json<Tenant>, ApiError> {
    Ok(Json(state.ledger.tenant(&tenant).describe(&caller).await?))
}
