//! Who asks, and what they may do.

use std::{fmt, ops::Deref, sync::Arc};

pub use alpine_api::Scope;
use chrono::{DateTime, Utc};

/// The team that a principal belongs to; the outermost wall.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantId(Arc<str>);

/// A person or a script, within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PrincipalId(Arc<str>);

/// A name that cannot be a tenant's or a principal's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant or principal is 1 to 255 characters without control characters or surrounding space")]
pub struct BadName;

fn check(name: &str) -> Result<Arc<str>, BadName> {
    let ok = (1..=255).contains(&name.len()) && name.trim() == name && !name.chars().any(char::is_control);
    if ok { Ok(name.into()) } else { Err(BadName) }
}

macro_rules! name {
    ($type:ident) => {
        impl $type {
            pub fn parse(name: &str) -> Result<Self, BadName> {
                check(name).map(Self)
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
name!(TenantId);
name!(PrincipalId);

/// The actor of what the control plane does by itself.
pub const SYSTEM_ACTOR: &str = "system";

/// The name of [`Roles::admin`] in a token.
pub const ADMIN: &str = "alpine.admin";
/// The name of [`Roles::operator`] in a token.
pub const OPERATOR: &str = "alpine.operator";

/// What the identity provider says that somebody is, besides a member of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles {
    /// `alpine.admin`: may see and stop every session of its tenant.
    pub admin: bool,
    /// `alpine.operator`: runs the control plane; may see every tenant's limits and audit log, and set the limits.
    pub operator: bool,
}

/// What a caller's credential is good for: all that the caller may do, or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    pub sessions_read: bool,
    pub sessions_write: bool,
    /// Without it the roles count for nothing.
    pub admin: bool,
}

impl Scopes {
    pub const ALL: Self = Self { sessions_read: true, sessions_write: true, admin: true };

    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        match scope {
            Scope::SessionsRead => self.sessions_read,
            Scope::SessionsWrite => self.sessions_write,
            Scope::Admin => self.admin,
        }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        let none = Self { sessions_read: false, sessions_write: false, admin: false };
        scopes.into_iter().fold(none, |held, scope| match scope {
            Scope::SessionsRead => Self { sessions_read: true, ..held },
            Scope::SessionsWrite => Self { sessions_write: true, ..held },
            Scope::Admin => Self { admin: true, ..held },
        })
    }
}

/// With what a caller has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A token of an identity provider.
    Jwt,
    /// A personal access token.
    AccessToken,
    /// The cookie of a session's own host.
    Cookie,
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Principal {
    pub tenant: TenantId,
    pub id: PrincipalId,
    pub roles: Roles,
    pub scopes: Scopes,
    pub via: Via,
    /// When the credential stops being good.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Who asks, in which request: what an entry of the audit log says of its actor.
#[derive(Debug, Clone)]
pub struct Caller {
    pub principal: Principal,
    pub request_id: String,
}

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// Whose session an action touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Own,
    /// Another's, by the role of an admin; written to the audit log.
    AsAdmin,
    /// Another's; written to the audit log, and refused.
    Denied,
}

impl Principal {
    /// A member of a tenant, with a token of an identity provider.
    #[must_use]
    pub const fn new(tenant: TenantId, id: PrincipalId, roles: Roles) -> Self {
        Self { tenant, id, roles, scopes: Scopes::ALL, via: Via::Jwt, expires_at: None }
    }

    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.roles.admin && self.scopes.admin
    }

    #[must_use]
    pub const fn is_operator(&self) -> bool {
        self.roles.operator && self.scopes.admin
    }

    /// May this principal act on a session of `owner` (in its own tenant)?
    #[must_use]
    pub fn access(&self, owner: &str) -> Access {
        if self.id.as_str() == owner {
            Access::Own
        } else if self.is_admin() {
            Access::AsAdmin
        } else {
            Access::Denied
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(roles: Roles) -> Principal {
        Principal::new(TenantId::parse("t").unwrap(), PrincipalId::parse("ann").unwrap(), roles)
    }

    const AN_ADMIN: Roles = Roles { admin: true, operator: false };

    #[test]
    fn owners_and_admins_may_act_and_others_may_not() {
        assert_eq!(principal(Roles::default()).access("ann"), Access::Own);
        assert_eq!(principal(AN_ADMIN).access("bob"), Access::AsAdmin);
        assert_eq!(principal(Roles::default()).access("bob"), Access::Denied);
        assert_eq!(principal(Roles { admin: false, operator: true }).access("bob"), Access::Denied, "an operator is no admin");
    }

    #[test]
    fn a_role_counts_only_with_the_scope_for_it() {
        let scopes = [Scope::SessionsRead, Scope::SessionsWrite].into_iter().collect();
        let script = Principal { scopes, via: Via::AccessToken, ..principal(Roles { admin: true, operator: true }) };
        assert!(!script.is_admin() && !script.is_operator());
        assert_eq!(script.access("bob"), Access::Denied);
    }

    #[test]
    fn blank_and_padded_names_are_nobody() {
        for bad in ["", " ", "a ", " a", "a\nb", &"x".repeat(256)] {
            assert!(PrincipalId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
