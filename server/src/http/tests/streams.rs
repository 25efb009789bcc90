//! For how long a stream goes on.

use std::time::Duration;

use chrono::DateTime;

use super::{NOW, state};
use crate::{
    domain::principal::{Caller, Principal, PrincipalId, Roles, TenantId},
    http::stream::lifetime,
};

#[tokio::test]
async fn a_stream_goes_on_for_its_time_and_not_longer_than_its_callers_credential_is_good() {
    let state = state();
    let lifetime = |expires_in: Option<i64>| {
        let expires_at = expires_in.map(|seconds| DateTime::from_timestamp(NOW + seconds, 0).unwrap());
        let principal = Principal::new(TenantId::parse("t").unwrap(), PrincipalId::parse("ann").unwrap(), Roles::default());
        lifetime(&state, &Caller { principal: Principal { expires_at, ..principal }, request_id: String::new() })
    };
    assert_eq!(lifetime(None), Duration::from_secs(900));
    assert_eq!(lifetime(Some(3600)), Duration::from_secs(900));
    // An issuer's clock may differ by half a minute.
    assert_eq!(lifetime(Some(60)), Duration::from_secs(90));
    assert_eq!(lifetime(Some(-3600)), Duration::from_secs(30));
}
