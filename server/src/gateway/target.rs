//! Whether a visitor may use a session, and where the session's own program listens. Both are known for a second, for all that one page
//! asks for at once; longer would keep in whom a `down` has put out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use axum::http::HeaderValue;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::ExposeSecret as _;

use super::who::Visitor;
use crate::{
    domain::{Fault, apps::USER},
    http::{ApiError, AppState},
    ledger,
    recent::Recent,
    sandbox::{Endpoint, Provider, Status},
};

const KNOWN_FOR: Duration = Duration::from_secs(1);
const KNOWN: usize = 4096;
/// A provider that does not answer must not hold what waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a session's own program listens, and what lets in there.
#[derive(Debug, Clone)]
pub struct Target {
    pub endpoint: Endpoint,
    /// Marked as secret.
    pub authorization: HeaderValue,
}

/// One visitor of one session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Visit {
    session: SessionId,
    tenant: String,
    principal: String,
    admin: bool,
    /// What is to be on record is not known from a time when it did not have to be.
    on_record: bool,
}

#[derive(Debug)]
pub struct Targets {
    state: AppState,
    provider: Option<Arc<dyn Provider>>,
    entered: Recent<Visit, (Instant, Result<(), Fault>)>,
    found: Recent<SessionId, (Instant, Target)>,
}

impl Targets {
    pub fn new(state: AppState, provider: Option<Arc<dyn Provider>>) -> Self {
        Self { state, provider, entered: Recent::new(KNOWN), found: Recent::new(KNOWN) }
    }

    /// Refused as the API refuses to show the session.
    pub async fn enter(&self, visitor: &Visitor, session: SessionId) -> Result<(), ApiError> {
        let by = &visitor.caller;
        let (tenant, principal) = (by.tenant.to_string(), by.id.to_string());
        let visit = Visit { session, tenant, principal, admin: by.is_admin(), on_record: visitor.on_record };
        if let Some((at, verdict)) = self.entered.get(&visit)
            && at.elapsed() < KNOWN_FOR
        {
            return Ok(verdict?);
        }
        let begun = Instant::now();
        let _place = self.state.limits.look().await?;
        let verdict = match self.state.ledger.tenant(&by.tenant).enter_session(by, session, visitor.on_record).await {
            Ok(()) => Ok(()),
            Err(ledger::Error::Fault(fault)) => Err(fault),
            Err(other) => return Err(other.into()),
        };
        self.entered.put(visit, (begun, verdict.clone()));
        Ok(verdict?)
    }

    /// Only what the provider has seen to be the session's own: a stranger on its port gets no password.
    pub async fn find(&self, visitor: &Visitor, session: SessionId) -> Result<Target, ApiError> {
        const ELSEWHERE: ApiError = ApiError::Unreached("this server does not reach the session's machine");
        if let Some((at, target)) = self.found.get(&session)
            && at.elapsed() < KNOWN_FOR
        {
            return Ok(target);
        }
        let provider = self.provider.as_ref().ok_or(ELSEWHERE)?;
        let begun = Instant::now();
        let looked = tokio::time::timeout(PATIENCE, provider.inspect(session)).await;
        let endpoint = match looked {
            Ok(Ok(Status::Serving { endpoint, listening: true })) => endpoint,
            Ok(Ok(Status::Serving { .. })) => return Err(ApiError::Unreached("the session's server does not listen")),
            Ok(Ok(Status::Idle | Status::Absent)) => return Err(ELSEWHERE),
            Ok(Err(error)) => {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "a sandbox cannot be looked at");
                return Err(ApiError::Unreached("the session's sandbox cannot be looked at"));
            }
            Err(_) => return Err(ApiError::Unreached("the session's sandbox cannot be looked at")),
        };
        // It began without one, and so without a host of its own.
        let password = self.state.ledger.session_password(&visitor.caller.tenant, session).await?.ok_or(Fault::NoApp)?;
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{}", password.expose_secret())));
        // Base64 is what a header can hold.
        let mut authorization = HeaderValue::from_str(&basic).map_err(|_| ApiError::Unreached("the session's password is not one"))?;
        authorization.set_sensitive(true);
        let target = Target { endpoint, authorization };
        self.found.put(session, (begun, target.clone()));
        Ok(target)
    }
}

/// Said by the ledger, and not for want of it.
pub fn is_verdict(error: &ApiError) -> bool {
    matches!(error, ApiError::Fault(_) | ApiError::Ledger(ledger::Error::Fault(_)))
}
