//! Tenants and their audit logs.

use alpine_api::{AuditPage, CreateTenant, Tenant, TenantPage, UpdateTenant};
use reqwest::Method;

use super::{Client, ClientError, Patience};
use crate::ui::Ui;

impl Client {
    pub async fn tenants(&self, ui: &Ui, after: Option<&str>, limit: u32) -> Result<TenantPage, ClientError> {
        let query = [after.map(|after| ("after", after.to_owned())), Some(("limit", limit.to_string()))];
        let request = || self.request(Method::GET, "v1/tenants", None).query(&query.iter().flatten().collect::<Vec<_>>());
        self.call(ui, Patience::Ask, request).await
    }

    pub async fn tenant(&self, ui: &Ui, id: &str) -> Result<Tenant, ClientError> {
        let path = tenant_path(id);
        self.call(ui, Patience::Ask, || self.request(Method::GET, &path, None)).await
    }

    pub async fn create_tenant(&self, ui: &Ui, body: &CreateTenant) -> Result<Tenant, ClientError> {
        self.call(ui, Patience::Begin, || self.request(Method::POST, "v1/tenants", None).json(body)).await
    }

    pub async fn update_tenant(&self, ui: &Ui, id: &str, body: &UpdateTenant) -> Result<Tenant, ClientError> {
        let path = tenant_path(id);
        self.call(ui, Patience::Begin, || self.request(Method::PATCH, &path, None).json(body)).await
    }

    /// Of the caller's own tenant unless another is named.
    pub async fn audit(&self, ui: &Ui, tenant: Option<&str>, after: i64, limit: u32) -> Result<AuditPage, ClientError> {
        let query = [Some(("after", after.to_string())), Some(("limit", limit.to_string())), tenant.map(|id| ("tenant", id.to_owned()))];
        let request = || self.request(Method::GET, "v1/audit", None).query(&query.iter().flatten().collect::<Vec<_>>());
        self.call(ui, Patience::Ask, request).await
    }
}

/// A tenant's id may hold what means something in a path.
fn tenant_path(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("v1/tenants/{}", id.bytes().map(encode).collect::<String>())
}
