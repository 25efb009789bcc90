//! What a caller may ask of one process: how many requests a second, how many at once, and how many of each class
//! together. All of it is counted in this process alone; replicas do not know of each other.

mod class;
mod principals;
mod rates;
mod ticket;
mod visits;
mod watchers;

use std::{
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use alpine_api::SessionId;
use axum::http::request::Parts;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

pub use class::{Class, Places};
pub use rates::{Rate, Rates};
pub use ticket::{Ticket, ticket};
pub use visits::{OF_ALL as MOST_VISITS, VisitPlace};
pub use watchers::WatchPlace;

use self::{class::Place, principals::Principals, rates::Buckets, visits::Visits, watchers::Watchers};
use super::ApiError;
use crate::{
    domain::principal::{PrincipalId, TenantId},
    metrics::Metrics,
};

/// How long a stream that is behind waits for a place to read in, at a time.
const OF_A_STREAM: Duration = Duration::from_secs(5);

/// Bounds of callers.
#[derive(Debug, Clone, Copy)]
pub struct LimitSettings {
    pub rates: Rates,
    /// Requests of one principal under way; 0: any number.
    pub at_once: u32,
    /// Streams of one principal that are open; 0: any number.
    pub streams_of_one: u32,
    /// Streams of all that are open.
    pub streams: usize,
    pub places: Places,
    /// How long a request waits for a place of its class.
    pub queue: Duration,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            rates: Rates::default(),
            at_once: 64,
            streams_of_one: 32,
            streams: 10_000,
            places: Places::of(16, 6),
            queue: Duration::from_millis(250),
        }
    }
}

#[derive(Debug)]
pub struct Limits {
    buckets: Buckets,
    principals: Arc<Principals>,
    watchers: Watchers,
    visits: Visits,
    places: [Arc<Semaphore>; Class::ALL.len()],
    queue: Duration,
    /// Names are kept as numbers that nobody outside can make collide.
    names: RandomState,
    metrics: Arc<Metrics>,
}

impl Limits {
    #[must_use]
    pub fn new(settings: &LimitSettings, metrics: Arc<Metrics>) -> Self {
        Self {
            buckets: Buckets::new(&settings.rates),
            principals: Arc::new(Principals::new(settings.at_once, "too many requests of this caller are under way")),
            watchers: Watchers::new(settings.streams_of_one, settings.streams, Arc::clone(&metrics)),
            visits: Visits::new(Arc::clone(&metrics)),
            places: Class::ALL.map(|class| Arc::new(Semaphore::new(settings.places.of_class(class)))),
            queue: settings.queue,
            names: RandomState::new(),
            metrics,
        }
    }

    /// Let an authenticated request in, or say when to come again. What it holds goes into its ticket.
    pub async fn admit(&self, parts: &mut Parts, tenant: &str, principal: &str) -> Result<(), ApiError> {
        let (class, ticket) = (Class::of(parts), Ticket::of(&mut parts.extensions));
        let (principal, tenant) = (self.names.hash_one((tenant, principal)), self.names.hash_one(tenant));
        let (figures, within) = self.buckets.take(class, tenant, principal);
        ticket.show(figures);
        within?;
        ticket.take_turn(self.principals.enter(principal)?);
        ticket.take_place(self.place(class, self.queue).await?);
        Ok(())
    }

    /// A place in which to find out who somebody is: as long as that is not known, no rate can be counted.
    pub async fn look_up(&self) -> Result<Place, ApiError> {
        self.place(Class::Lookup, self.queue).await
    }

    async fn place(&self, class: Class, patience: Duration) -> Result<Place, ApiError> {
        match timeout(patience, Arc::clone(&self.places[class.index()]).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place::new(class, permit)),
            _ => {
                self.metrics.request_shed(class.as_str());
                Err(ApiError::Busy)
            }
        }
    }

    /// Await what the caller has yet to send; the place is another's meanwhile.
    pub async fn while_sending<F: Future>(&self, ticket: &Ticket, sent: F) -> Result<F::Output, ApiError> {
        let mut sent = pin!(sent);
        // What is there already costs nobody a place.
        tokio::select! {
            biased;
            done = &mut sent => return Ok(done),
            () = std::future::ready(()) => {}
        }
        let class = ticket.step_aside();
        let done = sent.await;
        if let Some(class) = class {
            ticket.take_place(self.place(class, self.queue).await?);
        }
        Ok(done)
    }

    /// A place of a stream, which is none of a class: it may be open for long, and asks for nothing meanwhile.
    pub fn watch(&self, tenant: &TenantId, principal: &PrincipalId) -> Result<WatchPlace, ApiError> {
        self.watchers.enter(self.names.hash_one((tenant.as_str(), principal.as_str())))
    }

    /// A place of a request for what a session serves. It may go on for long, and asks for nothing of ours meanwhile.
    pub fn visit(&self, session: SessionId, tenant: &TenantId, principal: &PrincipalId, guest: bool) -> Result<VisitPlace, ApiError> {
        let principal = self.names.hash_one((tenant.as_str(), principal.as_str()));
        self.visits.enter(self.names.hash_one(session), principal, self.names.hash_one(tenant.as_str()), guest)
    }

    /// Whether a browser that is let in may ask for one thing more: those who show a token have their rates.
    pub fn page(&self, tenant: &TenantId, principal: &PrincipalId) -> Result<(), ApiError> {
        self.visits.ask(self.names.hash_one((tenant.as_str(), principal.as_str())))
    }

    /// A place in which to spend a code: who guesses at codes takes none from those who have tokens or cookies.
    pub async fn spend(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.visits.spend(self.queue).await
    }

    /// A place for a look that a visitor needs.
    pub async fn look(&self) -> Result<Place, ApiError> {
        self.place(Class::Read, self.queue).await
    }

    /// A place for a stream that has to read for itself.
    pub async fn read_again(&self) -> Result<Place, ApiError> {
        self.place(Class::Read, OF_A_STREAM).await
    }
}

#[cfg(test)]
mod tests;
