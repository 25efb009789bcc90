//! A new tenant.

use alpine_api::{CreateTenant, Tenant};
use axum::{Json, extract::State, http::StatusCode};

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller},
    limits::Ticket,
    openapi::CreateTenantRefusals,
    reason,
    update_tenant::{bounds, not_negative},
};
use crate::{domain::principal::TenantId, ledger::Made};

/// Make a tenant
///
/// For the role `alpine.operator`. One that is there with the same limits is answered with 200; with others it is a conflict.
#[utoipa::path(
    post, path = "/v1/tenants", operation_id = "createTenant", tag = "tenants",
    request_body = CreateTenant,
    responses(
        (status = 200, body = Tenant, description = "It was there already, with these limits"),
        (status = 201, body = Tenant, description = "Made"),
        CreateTenantRefusals,
    )
)]
pub async fn create_tenant(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ticket: Ticket,
    ApiJson(body): ApiJson<CreateTenant>,
) -> Result<(StatusCode, Json<Tenant>), ApiError> {
    let tenant = TenantId::parse(&body.tenant_id).map_err(|bad| ApiError::value(bad.to_string()))?;
    let quotas = body.quotas;
    not_negative([
        quotas.max_active_sessions,
        quotas.max_active_sessions_per_principal,
        quotas.max_operations,
        quotas.max_operations_per_principal,
        quotas.max_memory_mb,
        quotas.max_cpu_millis,
        quotas.max_disk_mb,
    ])?;
    bounds(&state, quotas.max_lifetime_seconds, quotas.max_idle_seconds)?;
    let new = CreateTenant { reason: reason::checked(body.reason)?, ..body };
    let ledger = state.ledger.tenant(&tenant);
    Ok(match ticket.see_through(async move { ledger.create(&caller, &new).await }).await?? {
        Made::New(tenant) => (StatusCode::CREATED, Json(tenant)),
        Made::Same(tenant) => (StatusCode::OK, Json(tenant)),
    })
}
