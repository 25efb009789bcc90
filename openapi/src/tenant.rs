//! Tenants on the wire: what they may use, and what they use.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The limits once as they are sent, where what is not known is refused, and once as they are answered, where a client passes over those that
/// are newer than it is.
macro_rules! quotas {
    ($($(#[$told:meta])* $name:ident: [$($bound:tt)*],)*) => {
        /// The most that a tenant, and each of its principals, may have at once, and for how long. `null`: no limit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
        pub struct TenantQuotas {
            $($(#[$told])* #[serde(default)] #[schema($($bound)*, required = true)] pub $name: Option<i32>,)*
        }

        /// The limits of a tenant to be made. `null`, or nothing: no limit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct CreateTenantQuotas {
            $($(#[$told])* #[serde(default, skip_serializing_if = "Option::is_none")] #[schema($($bound)*)] pub $name: Option<i32>,)*
        }

        impl From<CreateTenantQuotas> for TenantQuotas {
            fn from(new: CreateTenantQuotas) -> Self {
                Self { $($name: new.$name),* }
            }
        }
    };
}

quotas! {
    /// Sessions that are not final.
    max_active_sessions: [minimum = 0],
    max_active_sessions_per_principal: [minimum = 0],
    /// Operations in flight.
    max_operations: [minimum = 0],
    max_operations_per_principal: [minimum = 0],
    /// Memory of all sessions that are not final, by their classes, in MB.
    max_memory_mb: [minimum = 0],
    /// CPUs likewise, in thousandths.
    max_cpu_millis: [minimum = 0],
    /// Disk likewise, in MB.
    max_disk_mb: [minimum = 0],
    /// The longest that a session may be ready, beside what its class and the server say.
    max_lifetime_seconds: [minimum = 60, maximum = 31_536_000],
    /// The longest that it may be ready without a use, likewise.
    max_idle_seconds: [minimum = 60, maximum = 31_536_000],
}

/// What a tenant uses at this moment; counted, not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TenantUsage {
    /// Sessions that are not final.
    #[schema(minimum = 0)]
    pub active_sessions: i64,
    /// Operations in flight.
    #[schema(minimum = 0)]
    pub operations: i64,
    /// Memory of the sessions that are not final, by their classes, in MB.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub memory_mb: i64,
    /// CPUs likewise, in thousandths.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub cpu_millis: i64,
    /// Disk likewise, in MB.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub disk_mb: i64,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    pub tenant_id: String,
    pub created_at: DateTime<Utc>,
    pub quotas: TenantQuotas,
    pub usage: TenantUsage,
}

/// A page of tenants, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantPage {
    pub tenants: Vec<Tenant>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// A tenant to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// As identity providers name it: 1 to 255 bytes without control characters or surrounding space.
    #[schema(
        min_length = 1,
        max_length = 255,
        examples("acme"),
        pattern = "^[^\\x00-\\x20\\x7f-\\xa0]([^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x20\\x7f-\\xa0])?$"
    )]
    pub tenant_id: String,
    #[serde(default)]
    pub quotas: CreateTenantQuotas,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500, pattern = "^\\s*[^\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    pub reason: Option<String>,
}

/// Limits to be changed: `null` takes one away, and what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTenant {
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 0, required = false)]
    pub max_active_sessions: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 0, required = false)]
    pub max_active_sessions_per_principal: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 0, required = false)]
    pub max_operations: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 0, required = false)]
    pub max_operations_per_principal: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 0, required = false)]
    pub max_memory_mb: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 0, required = false)]
    pub max_cpu_millis: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 0, required = false)]
    pub max_disk_mb: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 60, maximum = 31_536_000, required = false)]
    pub max_lifetime_seconds: Option<Option<i32>>,
    #[serde(default, deserialize_with = "stated", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 60, maximum = 31_536_000, required = false)]
    pub max_idle_seconds: Option<Option<i32>>,
    /// Kept in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500, pattern = "^\\s*[^\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    pub reason: Option<String>,
}

/// `null` is a value here, and not the same as nothing.
fn stated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_not_known_is_refused_where_it_is_sent_and_passed_over_where_it_is_answered() {
        let newer = r#"{"max_operations":3,"max_of_another_kind":1}"#;
        assert!(serde_json::from_str::<CreateTenantQuotas>(newer).is_err());
        let read: TenantQuotas = serde_json::from_str(newer).unwrap();
        assert_eq!(serde_json::to_string(&CreateTenantQuotas::default()).unwrap(), "{}", "an older server knows all that is sent");
        assert_eq!(read, TenantQuotas { max_operations: Some(3), ..TenantQuotas::default() });
    }

    #[test]
    fn null_takes_a_limit_away_and_what_is_absent_stays() {
        let update: UpdateTenant = serde_json::from_str(r#"{"max_active_sessions":null,"max_operations":3}"#).unwrap();
        let expected = UpdateTenant { max_active_sessions: Some(None), max_operations: Some(Some(3)), ..UpdateTenant::default() };
        assert_eq!(update, expected);
        assert_eq!(serde_json::to_string(&update).unwrap(), r#"{"max_active_sessions":null,"max_operations":3}"#);
    }
}
