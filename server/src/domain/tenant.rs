//! How tenants come to be, what they may use, and who may see and change that.

use alpine_api::{TenantQuotas, UpdateTenant};

use super::{
    Fault,
    principal::{ADMIN, OPERATOR, Principal, TenantId},
};

/// What becomes of a tenant that is named for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantPolicy {
    /// It is made when a principal of it first asks for a session; otherwise operators make tenants.
    pub on_first_sight: bool,
    /// What it then may use.
    pub quotas: Quotas,
}

impl Default for TenantPolicy {
    fn default() -> Self {
        Self { on_first_sight: true, quotas: Quotas::default() }
    }
}

/// As the contract has them. `None`: no limit.
pub type Quotas = TenantQuotas;

/// What is there for operators only.
pub fn needs_operator(by: &Principal) -> Result<(), Fault> {
    if by.is_operator() { Ok(()) } else { Err(Fault::RoleMissing(OPERATOR)) }
}

/// Operators see every tenant, admins their own. To everybody else another tenant is not there.
pub fn may_see(by: &Principal, tenant: &TenantId) -> Result<(), Fault> {
    match (by.is_operator(), by.tenant == *tenant, by.is_admin()) {
        (true, ..) | (false, true, true) => Ok(()),
        (false, true, false) => Err(Fault::RoleMissing(ADMIN)),
        (false, false, _) => Err(Fault::NotFound("tenant")),
    }
}

/// Admins share out what their tenant has; how much that is, operators say.
pub fn may_change(by: &Principal, tenant: &TenantId, change: &UpdateTenant) -> Result<(), Fault> {
    let whole = [change.max_active_sessions, change.max_operations, change.max_memory_mb, change.max_cpu_millis, change.max_disk_mb];
    let bounds = [change.max_lifetime_seconds, change.max_idle_seconds];
    let of_the_whole = whole.iter().chain(&bounds).any(Option::is_some);
    match may_see(by, tenant) {
        // The role that would do: an admin could not change it either.
        Ok(()) | Err(Fault::RoleMissing(_)) if of_the_whole => needs_operator(by),
        verdict => verdict,
    }
}

/// Operators read every tenant's audit log, admins their own. Another tenant's is refused in the same words whether
/// there is such a tenant or not.
pub fn may_read_log(by: &Principal, tenant: &TenantId) -> Result<(), Fault> {
    match may_see(by, tenant) {
        Err(Fault::NotFound(_)) => Err(Fault::RoleMissing(OPERATOR)),
        verdict => verdict,
    }
}

/// The limits after a change, and what it changes, in words for the audit log.
#[must_use]
pub fn changed(now: Quotas, change: &UpdateTenant) -> (Quotas, String) {
    let next = Quotas {
        max_active_sessions: change.max_active_sessions.unwrap_or(now.max_active_sessions),
        max_active_sessions_per_principal: change.max_active_sessions_per_principal.unwrap_or(now.max_active_sessions_per_principal),
        max_operations: change.max_operations.unwrap_or(now.max_operations),
        max_operations_per_principal: change.max_operations_per_principal.unwrap_or(now.max_operations_per_principal),
        max_memory_mb: change.max_memory_mb.unwrap_or(now.max_memory_mb),
        max_cpu_millis: change.max_cpu_millis.unwrap_or(now.max_cpu_millis),
        max_disk_mb: change.max_disk_mb.unwrap_or(now.max_disk_mb),
        max_lifetime_seconds: change.max_lifetime_seconds.unwrap_or(now.max_lifetime_seconds),
        max_idle_seconds: change.max_idle_seconds.unwrap_or(now.max_idle_seconds),
    };
    let said = [
        ("max_active_sessions", now.max_active_sessions, next.max_active_sessions),
        ("max_active_sessions_per_principal", now.max_active_sessions_per_principal, next.max_active_sessions_per_principal),
        ("max_operations", now.max_operations, next.max_operations),
        ("max_operations_per_principal", now.max_operations_per_principal, next.max_operations_per_principal),
        ("max_memory_mb", now.max_memory_mb, next.max_memory_mb),
        ("max_cpu_millis", now.max_cpu_millis, next.max_cpu_millis),
        ("max_disk_mb", now.max_disk_mb, next.max_disk_mb),
        ("max_lifetime_seconds", now.max_lifetime_seconds, next.max_lifetime_seconds),
        ("max_idle_seconds", now.max_idle_seconds, next.max_idle_seconds),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(name, before, after)| format!("{name}: {} -> {}", limit(before), limit(after)))
    .collect::<Vec<_>>()
    .join(", ");
    (next, if said.is_empty() { "nothing changed".to_owned() } else { said })
}

fn limit(value: Option<i32>) -> String {
    value.map_or_else(|| "none".to_owned(), |most| most.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::{PrincipalId, Roles, Scope, Scopes};

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn member(admin: bool, operator: bool) -> Principal {
        Principal::new(tenant("acme"), PrincipalId::parse("ann").unwrap(), Roles { admin, operator })
    }

    #[test]
    fn to_all_but_operators_another_tenant_is_not_there() {
        let (own, other) = (tenant("acme"), tenant("other"));
        for (by, of_own, of_other) in [
            (member(false, false), Err(Fault::RoleMissing(ADMIN)), Err(Fault::NotFound("tenant"))),
            (member(true, false), Ok(()), Err(Fault::NotFound("tenant"))),
            (member(false, true), Ok(()), Ok(())),
        ] {
            assert_eq!((may_see(&by, &own), may_see(&by, &other)), (of_own, of_other), "{by:?}");
        }
        assert_eq!(may_read_log(&member(true, false), &other), Err(Fault::RoleMissing(OPERATOR)));
        assert_eq!(may_read_log(&member(false, false), &own), Err(Fault::RoleMissing(ADMIN)));
    }

    #[test]
    fn an_admin_shares_out_and_does_not_take_more() {
        let share = UpdateTenant { max_operations_per_principal: Some(None), ..UpdateTenant::default() };
        for more in [
            UpdateTenant { max_operations: Some(Some(1)), ..share.clone() },
            UpdateTenant { max_active_sessions: Some(None), ..share.clone() },
            UpdateTenant { max_memory_mb: Some(None), ..share.clone() },
            UpdateTenant { max_cpu_millis: Some(None), ..share.clone() },
            UpdateTenant { max_disk_mb: Some(None), ..share.clone() },
            UpdateTenant { max_lifetime_seconds: Some(None), ..share.clone() },
            UpdateTenant { max_idle_seconds: Some(Some(60)), ..share.clone() },
        ] {
            assert_eq!(may_change(&member(true, false), &tenant("acme"), &more), Err(Fault::RoleMissing(OPERATOR)));
            assert_eq!(may_change(&member(false, false), &tenant("acme"), &more), Err(Fault::RoleMissing(OPERATOR)));
            assert_eq!(may_change(&member(false, true), &tenant("other"), &more), Ok(()));
        }
        assert_eq!(may_change(&member(true, false), &tenant("acme"), &share), Ok(()));
        assert_eq!(may_change(&member(false, false), &tenant("acme"), &share), Err(Fault::RoleMissing(ADMIN)));
        assert_eq!(may_change(&member(true, false), &tenant("other"), &share), Err(Fault::NotFound("tenant")));
    }

    #[test]
    fn a_token_without_the_scope_makes_no_operator() {
        let scopes: Scopes = [Scope::SessionsRead, Scope::SessionsWrite].into_iter().collect();
        let script = Principal { scopes, ..member(true, true) };
        assert_eq!(needs_operator(&script), Err(Fault::RoleMissing(OPERATOR)));
        assert_eq!(may_see(&script, &tenant("other")), Err(Fault::NotFound("tenant")));
    }

    #[test]
    fn a_change_is_told_in_words() {
        let now = Quotas { max_active_sessions: Some(5), ..Quotas::default() };
        let change = UpdateTenant { max_active_sessions: Some(None), max_operations: Some(Some(0)), ..UpdateTenant::default() };
        let (next, said) = changed(now, &change);
        assert_eq!(next, Quotas { max_operations: Some(0), ..Quotas::default() });
        assert_eq!(said, "max_active_sessions: 5 -> none, max_operations: none -> 0");
        assert_eq!(
            changed(now, &UpdateTenant { max_active_sessions: Some(Some(5)), ..UpdateTenant::default() }),
            (now, "nothing changed".into())
        );
    }
}
