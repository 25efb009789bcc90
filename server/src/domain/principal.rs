//! Who asks, and what they may do.

use std::fmt;

use crate::domain::Fault;

/// The team that a principal belongs to; the outermost wall.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantId(String);

/// A person or a script, within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PrincipalId(String);

/// A name that cannot be a tenant's or a principal's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant or principal is 1 to 255 characters without control characters or surrounding space")]
pub struct BadName;

fn check(name: &str) -> Result<String, BadName> {
    let ok = (1..=255).contains(&name.len()) && name.trim() == name && !name.chars().any(char::is_control);
    if ok { Ok(name.to_owned()) } else { Err(BadName) }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Member,
    /// May see and stop every session of its tenant.
    Admin,
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Principal {
    pub tenant: TenantId,
    pub id: PrincipalId,
    pub role: Role,
}

/// Whose session an allowed action touches; the second kind is written to the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Own,
    AsAdmin,
}

impl Principal {
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// May this principal act on a session of `owner` (in its own tenant)?
    pub fn authorize(&self, owner: &str) -> Result<Access, Fault> {
        if self.id.as_str() == owner {
            Ok(Access::Own)
        } else if self.is_admin() {
            Ok(Access::AsAdmin)
        } else {
            Err(Fault::NotOwner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(role: Role) -> Principal {
        Principal { tenant: TenantId::parse("t").unwrap(), id: PrincipalId::parse("ann").unwrap(), role }
    }

    #[test]
    fn owners_and_admins_may_act_and_others_may_not() {
        assert_eq!(principal(Role::Member).authorize("ann").unwrap(), Access::Own);
        assert_eq!(principal(Role::Admin).authorize("bob").unwrap(), Access::AsAdmin);
        assert!(matches!(principal(Role::Member).authorize("bob"), Err(Fault::NotOwner)));
    }

    #[test]
    fn blank_and_padded_names_are_nobody() {
        for bad in ["", " ", "a ", " a", "a\nb", &"x".repeat(256)] {
            assert!(PrincipalId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
