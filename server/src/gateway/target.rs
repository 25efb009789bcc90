//! Whether a visitor may use a session, and where the session's own program listens. Both are known for a second, for all that one page
//! asks for at once; longer would keep in whom a `down` has put out. What many want to know at one time is looked for once.

use std::{
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use alpine_api::ShareId;
use axum::http::HeaderValue;
use tokio::{net::TcpStream, sync::Mutex};

use super::who::Visitor;
use crate::{
    domain::{
        Fault,
        apps::App,
        principal::{PrincipalId, TenantId},
    },
    http::{ApiError, AppState, Unreached},
    ledger,
    recent::Recent,
    sandbox::{self, Listener, Provider, ProviderError, Status, basic},
};

const KNOWN_FOR: Duration = Duration::from_secs(1);
const KNOWN: usize = 4096;
/// A provider that does not answer must not hold what waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a session's own program listens, and what lets in there.
#[derive(Debug, Clone)]
pub struct Target {
    provider: Arc<dyn Provider>,
    pub listener: Listener,
    /// Marked as secret. What is on a port of the session's own choice has none.
    pub authorization: Option<HeaderValue>,
}

impl Target {
    /// A connection to that program and to nobody else, also if it has left the port since it was seen there.
    pub async fn connect(&self) -> Result<TcpStream, ApiError> {
        let connected = sandbox::connect(&*self.provider, &self.listener).await;
        let stream = connected.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "a session's server is not connected to");
            if matches!(error, ProviderError::Gone) { Unreached::Silent.into() } else { ApiError::from(Unreached::NoAnswer) }
        })?;
        stream.set_nodelay(true).map_err(|_| Unreached::NoAnswer)?;
        Ok(stream)
    }
}

/// Why there is none now.
#[derive(Debug, Clone)]
enum Missing {
    Unreached(Unreached),
    Fault(Fault),
}

impl From<Missing> for ApiError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Unreached(why) => why.into(),
            Missing::Fault(fault) => fault.into(),
        }
    }
}

/// One visitor of one host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Visit {
    app: App,
    tenant: TenantId,
    principal: PrincipalId,
    admin: bool,
    /// What is to be on record is not known from a time when it did not have to be.
    on_record: bool,
    share: Option<ShareId>,
}

/// Answers that are good for a moment, each looked for by one of those who want it.
#[derive(Debug)]
struct Looked<K, V> {
    known: Recent<K, (Instant, V)>,
    looking: Recent<K, Arc<Mutex<()>>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Looked<K, V> {
    fn new() -> Self {
        Self { known: Recent::new(KNOWN), looking: Recent::new(KNOWN) }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.known.get(key).filter(|(at, _)| at.elapsed() < KNOWN_FOR).map(|(_, value)| value)
    }

    /// What is not an answer is not kept.
    async fn or_look<E>(&self, key: K, look: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        if let Some(known) = self.get(&key) {
            return Ok(known);
        }
        let turn = self.looking.get(&key).unwrap_or_default();
        self.looking.put(key.clone(), Arc::clone(&turn));
        let _turn = turn.lock().await;
        if let Some(known) = self.get(&key) {
            return Ok(known);
        }
        let begun = Instant::now();
        let value = look.await?;
        self.known.put(key, (begun, value.clone()));
        Ok(value)
    }
}

#[derive(Debug)]
pub struct Targets {
    state: AppState,
    provider: Option<Arc<dyn Provider>>,
    entered: Looked<Visit, Result<(), Fault>>,
    found: Looked<App, Result<Target, Missing>>,
}

impl Targets {
    pub fn new(state: AppState, provider: Option<Arc<dyn Provider>>) -> Self {
        Self { state, provider, entered: Looked::new(), found: Looked::new() }
    }

    /// Refused as the API refuses to show the session.
    pub async fn enter(&self, visitor: &Visitor, app: App) -> Result<(), ApiError> {
        let Visitor { caller: by, on_record, share, .. } = visitor;
        let (on_record, share) = (*on_record, *share);
        let (tenant, principal) = (by.tenant.clone(), by.id.clone());
        let visit = Visit { app, tenant, principal, admin: by.is_admin(), on_record, share };
        let look = async {
            let _place = self.state.limits.look().await?;
            let ledger = self.state.ledger.tenant(&by.tenant);
            let entered = match share {
                Some(share) => ledger.enter_as_guest(app, share).await,
                None => ledger.enter_session(by, app, on_record).await,
            };
            match entered {
                Ok(()) => Ok(Ok(())),
                Err(ledger::Error::Fault(fault)) => Ok(Err(fault)),
                Err(other) => Err(ApiError::from(other)),
            }
        };
        Ok(self.entered.or_look(visit, look).await??)
    }

    /// Only what the provider has seen to be the session's own: a stranger on its port gets no password.
    pub async fn find(&self, visitor: &Visitor, app: App) -> Result<Target, ApiError> {
        Ok(self.found.or_look(app, self.look(visitor, app)).await??)
    }

    async fn look(&self, visitor: &Visitor, app: App) -> Result<Result<Target, Missing>, ApiError> {
        let missing = |why| Ok(Err(Missing::Unreached(why)));
        let Some(provider) = &self.provider else { return missing(Unreached::Elsewhere) };
        let listener = match tokio::time::timeout(PATIENCE, listener(&**provider, app)).await {
            Ok(Ok(Ok(listener))) => listener,
            Ok(Ok(Err(why))) => return missing(why),
            Ok(Err(error)) => {
                tracing::warn!(session = %app.session, error = &error as &dyn std::error::Error, "a sandbox cannot be looked at");
                return missing(Unreached::Unseen);
            }
            Err(_) => return missing(Unreached::Unseen),
        };
        if app.port.is_some() {
            return Ok(Ok(Target { provider: Arc::clone(provider), listener, authorization: None }));
        }
        let password = self.state.ledger.session_password(&visitor.caller.tenant, app.session).await?;
        // It began without one, and so without a host of its own.
        let Some(password) = password else { return Ok(Err(Missing::Fault(Fault::NoApp))) };
        let Some(authorization) = basic(&password) else { return missing(Unreached::NoAnswer) };
        Ok(Ok(Target { provider: Arc::clone(provider), listener, authorization: Some(authorization) }))
    }
}

/// Where it listens, or why that is not known.
async fn listener(provider: &dyn Provider, app: App) -> Result<Result<Listener, Unreached>, ProviderError> {
    if let Some(listener) = provider.listener(app).await? {
        return Ok(Ok(listener));
    }
    let status = provider.inspect(app.session).await?;
    Ok(Err(match (status, app.port) {
        (Status::Absent, _) | (Status::Idle, None) => Unreached::Elsewhere,
        (Status::Idle | Status::Serving { .. }, Some(_)) => Unreached::Unheard,
        (Status::Serving { .. }, None) => Unreached::Silent,
    }))
}

/// Said by the ledger, and not for want of it.
pub fn is_verdict(error: &ApiError) -> bool {
    matches!(error, ApiError::Fault(_) | ApiError::Ledger(ledger::Error::Fault(_)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_many_want_to_know_is_looked_for_once_and_what_was_not_found_out_again() {
        let (looked, looks) = (Looked::<u8, u32>::new(), AtomicU32::new(0));
        let look = async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, ()>(looks.fetch_add(1, Ordering::Relaxed))
        };
        let all = futures_util::future::join_all((0..50).map(|_| looked.or_look(1, look()))).await;
        assert!(all.into_iter().all(|one| one == Ok(0)));
        assert_eq!(looked.or_look(2, look()).await, Ok(1), "another one's");
        assert_eq!(looked.or_look(3, async { Err::<u32, _>(()) }).await, Err(()));
        assert_eq!(looked.or_look(3, look()).await, Ok(2), "for want of an answer");
        tokio::time::sleep(KNOWN_FOR).await;
        assert_eq!(looked.or_look(1, look()).await, Ok(3), "not for ever");
    }
}
