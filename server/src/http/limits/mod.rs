//! What a caller may ask of one process: how many requests a second, how many at once, and how many of each class
//! together. All of it is counted in this process alone; replicas do not know of each other.

mod class;
mod principals;
mod rates;
mod ticket;

use std::{
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::http::request::Parts;
use tokio::{sync::Semaphore, time::timeout};

pub use class::{Class, Places};
pub use rates::{Rate, Rates};
pub use ticket::{Ticket, ticket};

use self::{class::Place, principals::Principals, rates::Buckets};
use super::ApiError;
use crate::metrics::Metrics;

/// How long one that waited for an operation may wait for a place to read its end in.
const AFTER_A_WAIT: Duration = Duration::from_secs(5);

/// Bounds of callers.
#[derive(Debug, Clone, Copy)]
pub struct LimitSettings {
    pub rates: Rates,
    /// Requests of one principal under way; 0: any number.
    pub at_once: u32,
    pub places: Places,
    /// How long a request waits for a place of its class.
    pub queue: Duration,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { rates: Rates::default(), at_once: 64, places: Places::of(16, 6), queue: Duration::from_millis(250) }
    }
}

#[derive(Debug)]
pub struct Limits {
    buckets: Buckets,
    principals: Arc<Principals>,
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
            principals: Arc::new(Principals::new(settings.at_once)),
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

    /// Await what others do; nothing is held meanwhile.
    pub async fn while_waiting(&self, ticket: &Ticket, other: impl Future<Output = ()>) -> Result<(), ApiError> {
        ticket.leave();
        other.await;
        ticket.take_place(self.place(Class::Woken, AFTER_A_WAIT).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
