//! What lets a browser use a session's host: a code that is good once, and the cookie that it is changed for.

use std::time::Duration;

use alpine_api::ShareId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::principal::{BadName, Principal, PrincipalId, Roles, Scopes, TenantId, Via};

/// Of a code: for a browser to start.
pub const CODE_GOOD_FOR: Duration = Duration::from_secs(60);

/// In whose name, with which role, and until when. Sealed for one session and one kind, so neither has to stand in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    #[serde(rename = "t")]
    tenant: String,
    #[serde(rename = "p")]
    principal: String,
    #[serde(rename = "a")]
    admin: bool,
    /// In Unix seconds.
    #[serde(rename = "e")]
    expires: i64,
    /// It is a guest's, as long as this is there.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    share: Option<ShareId>,
}

impl Pass {
    #[must_use]
    pub fn of(principal: &Principal, until: DateTime<Utc>) -> Self {
        Self {
            tenant: principal.tenant.to_string(),
            principal: principal.id.to_string(),
            admin: principal.is_admin(),
            expires: until.timestamp(),
            share: None,
        }
    }

    /// Of whoever comes with a link: nobody by name.
    #[must_use]
    pub fn of_guest(tenant: &TenantId, share: ShareId, until: DateTime<Utc>) -> Self {
        let principal = share.to_string();
        Self { tenant: tenant.to_string(), principal, admin: false, expires: until.timestamp(), share: Some(share) }
    }

    #[must_use]
    pub const fn share(&self) -> Option<ShareId> {
        self.share
    }

    /// The same, to another time if that comes first.
    #[must_use]
    pub fn until(self, until: DateTime<Utc>) -> Self {
        Self { expires: self.expires.min(until.timestamp()), ..self }
    }

    #[must_use]
    pub fn is_good(&self, now: DateTime<Utc>) -> bool {
        now.timestamp() < self.expires
    }

    /// In seconds.
    #[must_use]
    pub fn good_for(&self, now: DateTime<Utc>) -> i64 {
        self.expires.saturating_sub(now.timestamp()).max(0)
    }

    /// Who this is. As an admin only where it was one when the pass was made.
    pub fn principal(&self) -> Result<Principal, BadName> {
        let scopes = Scopes { sessions_read: true, sessions_write: true, admin: self.admin };
        Ok(Principal {
            tenant: TenantId::parse(&self.tenant)?,
            id: PrincipalId::parse(&self.principal)?,
            roles: Roles { admin: self.admin, operator: false },
            scopes,
            via: Via::Cookie,
            expires_at: DateTime::from_timestamp(self.expires, 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_nobody_by_name_and_comes_for_no_longer_than_the_link_is_good() {
        let (at, share) = (|seconds| DateTime::from_timestamp(seconds, 0).unwrap(), ShareId::generate());
        let link = Pass::of_guest(&TenantId::parse("acme").unwrap(), share, at(100));
        assert_eq!(link.clone().until(at(200)), link);
        let cookie = link.until(at(50));
        assert!(cookie.is_good(at(49)) && !cookie.is_good(at(50)));
        let guest = cookie.principal().unwrap();
        assert_eq!((cookie.share(), guest.id.as_str(), guest.is_admin()), (Some(share), share.to_string().as_str(), false));
    }

    #[test]
    fn a_pass_is_whoever_it_was_made_for_until_its_end_and_never_an_operator() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        for admin in [false, true] {
            let roles = Roles { admin, operator: true };
            let ann = Principal::new(TenantId::parse("acme").unwrap(), PrincipalId::parse("ann").unwrap(), roles);
            let pass = Pass::of(&ann, at(100));
            assert!(pass.is_good(at(99)) && !pass.is_good(at(100)));
            let back = pass.principal().unwrap();
            assert_eq!((back.tenant, back.id, back.expires_at), (ann.tenant, ann.id, Some(at(100))));
            assert_eq!((back.roles, back.via), (Roles { admin, operator: false }, Via::Cookie));
            assert_eq!(back.scopes.admin, admin);
        }
    }
}
