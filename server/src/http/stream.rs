//! A session's events and its log as they come (server-sent events). A stream holds no place of a class and no connection
//! to the database while nothing comes: what it is told was read for all who watch, by the ledger's hub. The body is
//! asked for as its reader takes it, so one that reads slowly makes nothing pile up here.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use alpine_api::{Event, LogChunk, SessionId};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    AppState,
    limits::{Ticket, WatchPlace},
};
use crate::{
    domain::principal::Caller,
    ledger::{self, Follower, Next, Page, TenantLedger, Told},
};

/// For proxies that would gather an answer before they hand it on.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// A credential is good for this long after it expires: the leeway of issuers.
const LEEWAY: Duration = Duration::from_secs(30);
/// Between tries to read what cannot be read just now.
const AGAIN: Duration = Duration::from_secs(1);

/// Who watches what.
#[derive(Debug)]
pub(super) struct Watching {
    pub caller: Caller,
    pub session: SessionId,
    pub place: WatchPlace,
}

/// What is told in a stream.
pub(super) trait Streamed: Told + Serialize {
    fn name(&self) -> &'static str;

    fn more(ledger: &TenantLedger, session: SessionId, after: i64) -> impl Future<Output = Result<Page<Self>, ledger::Error>> + Send;
}

impl Streamed for Event {
    fn name(&self) -> &'static str {
        self.kind.as_str()
    }

    async fn more(ledger: &TenantLedger, session: SessionId, after: i64) -> Result<Page<Self>, ledger::Error> {
        ledger.more_events(session, after).await
    }
}

impl Streamed for LogChunk {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn more(ledger: &TenantLedger, session: SessionId, after: i64) -> Result<Page<Self>, ledger::Error> {
        ledger.more_log(session, after).await
    }
}

/// The stream; or, where all was told already, the answer that keeps an `EventSource` from coming back.
pub(super) fn begin<T: Streamed>(state: &AppState, ticket: &Ticket, watching: Watching, follower: Follower<T>) -> Response {
    if follower.has_nothing() {
        return StatusCode::NO_CONTENT.into_response();
    }
    ticket.leave();
    let Watching { caller, session, place } = watching;
    let (ledger, until) = (state.ledger.tenant(&caller.tenant), Instant::now() + lifetime(state, &caller));
    let stream = Stream { state: state.clone(), ledger, session, _place: place, follower, until, stage: Stage::Begins };
    let messages = unfold(stream, |mut stream| async move { stream.next().await.map(|message| (Ok::<_, Infallible>(message), stream)) });
    let alive = KeepAlive::new().interval(state.settings.heartbeat).text("");
    let mut response = Sse::new(messages).keep_alive(alive).into_response();
    response.headers_mut().insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Not for ever, and not longer than the caller's credential is good.
pub(super) fn lifetime(state: &AppState, caller: &Caller) -> Duration {
    let good_for = caller.expires_at.map(|at| (at - state.clock.now()).to_std().unwrap_or_default() + LEEWAY);
    good_for.map_or(state.settings.stream, |good_for| good_for.min(state.settings.stream))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begins,
    Goes,
    Ends,
}

struct Stream<T: Streamed> {
    state: AppState,
    ledger: TenantLedger,
    session: SessionId,
    _place: WatchPlace,
    follower: Follower<T>,
    until: Instant,
    stage: Stage,
}

impl<T: Streamed> Stream<T> {
    async fn next(&mut self) -> Option<sse::Event> {
        match self.stage {
            Stage::Begins => {
                self.stage = Stage::Goes;
                // Not all at once after a restart.
                Some(sse::Event::default().retry(Duration::from_millis(fastrand::u64(500..1500))))
            }
            Stage::Goes => {
                let (shutdown, until) = (self.state.shutdown.clone(), self.until);
                let ended = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => "the server is going",
                    () = sleep_until(until) => "come again",
                    item = self.item() => return item.map(|item| message(&*item)),
                };
                self.stage = Stage::Ends;
                Some(sse::Event::default().comment(ended))
            }
            Stage::Ends => None,
        }
    }

    /// What comes next, read where it must be; `None`: nothing ever will.
    async fn item(&mut self) -> Option<Arc<T>> {
        loop {
            let after = match self.follower.next().await {
                Next::Item(item) => return Some(item),
                Next::Over => return None,
                Next::Read(after) => after,
            };
            // Reads of streams are reads like others: no more of them at once.
            let read = async {
                let _place = self.state.limits.read_again().await.ok()?;
                Some(T::more(&self.ledger, self.session, after).await)
            };
            match pin!(read).await {
                Some(Ok(page)) => self.follower.read(page),
                Some(Err(ledger::Error::Fault(_))) => return None,
                Some(Err(error)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a stream waits for the ledger");
                    sleep(AGAIN).await;
                }
                None => {}
            }
        }
    }
}

fn message<T: Streamed>(item: &T) -> sse::Event {
    let event = sse::Event::default().id(item.seq().to_string()).event(item.name());
    // What is serialised here is always JSON.
    event.json_data(item).unwrap_or_else(|_| sse::Event::default().comment("unreadable"))
}
