//! What one request holds of the limits, and what its caller is told of them.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{FromRequestParts, Request},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, request::Parts},
    response::Response,
};

use super::{
    class::{Class, Place},
    principals::Turn,
    rates::Figures,
};
use crate::http::{ApiError, AppState, layers::Within};
use tracing::Instrument;

/// Shared by all that serve one request; what it holds is given back when the last of them is done.
#[derive(Debug, Clone, Default)]
pub struct Ticket(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    place: Option<Place>,
    turn: Option<Turn>,
    figures: Option<Figures>,
}

impl Ticket {
    pub fn of(extensions: &mut Extensions) -> Self {
        extensions.get_or_insert_default::<Self>().clone()
    }

    #[cfg(test)]
    pub fn place(&self) -> Option<Place> {
        self.held().place.clone()
    }

    /// Do this in a task of its own: a client that goes away must not stop it between BEGIN and COMMIT, nor free its place
    /// before it is done.
    pub async fn see_through<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, ApiError> {
        let place = self.held().place.clone();
        let holding = async move {
            let _place = place;
            work.await
        };
        tokio::spawn(holding.in_current_span()).await.map_err(|_| ApiError::Panicked)
    }

    pub(super) fn show(&self, figures: Option<Figures>) {
        self.held().figures = figures;
    }

    pub(super) fn take_place(&self, place: Place) {
        self.held().place = Some(place);
    }

    pub(super) fn take_turn(&self, turn: Option<Turn>) {
        self.held().turn = turn;
    }

    /// Give the place back for now; of which class it was.
    pub(super) fn step_aside(&self) -> Option<Class> {
        self.held().place.take().map(|place| place.class)
    }

    /// Give everything back: this request only waits for what others do.
    pub fn leave(&self) {
        let mut held = self.held();
        (held.place, held.turn) = (None, None);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromRequestParts<AppState> for Ticket {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        Ok(Self::of(&mut parts.extensions))
    }
}

/// The layer: a ticket for every request, and its figures on the answer.
pub async fn ticket<N: Within>(mut request: Request, next: N) -> Response {
    let ticket = Ticket::of(request.extensions_mut());
    let mut response = next.run(request).await;
    if let Some(figures) = ticket.held().figures {
        write(response.headers_mut(), figures);
    }
    response
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

fn write(headers: &mut HeaderMap, figures: Figures) {
    headers.insert(LIMIT, HeaderValue::from(figures.limit));
    headers.insert(REMAINING, HeaderValue::from(figures.remaining));
    headers.insert(RESET, HeaderValue::from(crate::http::problem::whole_seconds(figures.reset)));
}
