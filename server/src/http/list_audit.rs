//! The audit log.

use alpine_api::AuditPage;
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiError, AppState,
    extract::{After, ApiQuery, Caller},
    openapi::AuditRefusals,
};
use crate::domain::{Fault, principal::TenantId, tenant::needs_operator};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Only entries that come after this number: `next_after` of the page before.
    #[param(minimum = 0, default = 0)]
    after: Option<i64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<i64>,
    /// Whose log, for operators; the caller's own tenant's unless said otherwise.
    #[param(
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\x00-\\x20\\x7f-\\xa0]([^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0])?$"
    )]
    tenant: Option<String>,
}

/// A tenant's audit log
///
/// Oldest first: one's own for the role `alpine.admin`, any for `alpine.operator`. Each entry carries the digest of the one before
/// it, so that anybody who reads the log can see whether it is whole. A page with fewer entries than were asked for is the last.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "listAudit", tag = "audit",
    params(Parameters),
    responses((status = 200, body = AuditPage, description = "A page of entries"), AuditRefusals)
)]
pub async fn list_audit(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ApiQuery(parameters): ApiQuery<Parameters>,
) -> Result<Json<AuditPage>, ApiError> {
    let (after, limit) = After { after: parameters.after, limit: parameters.limit }.checked()?;
    let tenant = match parameters.tenant.map(|name| TenantId::parse(&name)) {
        None => caller.tenant.clone(),
        Some(Ok(tenant)) => tenant,
        // No tenant has such a name; to others than operators that is as good as any.
        Some(Err(_)) => return Err(needs_operator(&caller).err().unwrap_or(Fault::NotFound("tenant")).into()),
    };
    Ok(Json(state.ledger.tenant(&tenant).audit_log(&caller, after, limit).await?))
}
