//! A tenant's limits.

use alpine_api::{Tenant, UpdateTenant};
use axum::{Json, extract::State};

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller, TenantPath},
    limits::Ticket,
    openapi::UpdateTenantRefusals,
    reason, seconds,
};

/// Change a tenant's limits
///
/// What is absent stays as it is, and `null` takes a limit away. All of any tenant's for the role `alpine.operator`; for `alpine.admin` those for each principal, of its own.
#[utoipa::path(
    patch, path = "/v1/tenants/{tenant_id}", operation_id = "updateTenant", tag = "tenants",
    params(("tenant_id" = String, Path, min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x20\\x7f-\\xa0]([^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0])?$", example = "acme", description = "The tenant")),
    request_body = UpdateTenant,
    responses((status = 200, body = Tenant, description = "The tenant as it is now"), UpdateTenantRefusals)
)]
pub async fn update_tenant(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ticket: Ticket,
    TenantPath(tenant): TenantPath,
    ApiJson(body): ApiJson<UpdateTenant>,
) -> Result<Json<Tenant>, ApiError> {
    let sessions = [body.max_active_sessions, body.max_active_sessions_per_principal];
    let operations = [body.max_operations, body.max_operations_per_principal];
    let sizes = [body.max_memory_mb, body.max_cpu_millis, body.max_disk_mb];
    not_negative([sessions, operations].as_flattened().iter().chain(&sizes).copied().map(Option::flatten))?;
    bounds(&state, body.max_lifetime_seconds.flatten(), body.max_idle_seconds.flatten())?;
    let change = UpdateTenant { reason: reason::checked(body.reason)?, ..body };
    let ledger = state.ledger.tenant(&tenant);
    Ok(Json(ticket.see_through(async move { ledger.update(&caller, &change).await }).await??))
}

pub(super) fn not_negative(limits: impl IntoIterator<Item = Option<i32>>) -> Result<(), ApiError> {
    if limits.into_iter().flatten().all(|most| most >= 0) { Ok(()) } else { Err(ApiError::value("a limit must not be negative")) }
}

/// What nobody can ask for is no bound either, and where uses are not seen a session that is used would be stopped.
pub(super) fn bounds(state: &AppState, lifetime: Option<i32>, idle: Option<i32>) -> Result<(), ApiError> {
    seconds::lifetime(lifetime)?;
    match seconds::idle(idle)? {
        Some(_) if state.apps.is_none() => Err(ApiError::value("an idle timeout needs hosts of sessions (ALPINE_APPS_DOMAIN)")),
        _ => Ok(()),
    }
}
