//! How long an exchange goes on: not longer than whoever asked may use the session.

use std::{
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Gateway,
    kept::{Kept, Line, Owner},
    uses::Used,
    who::Visitor,
};
use crate::domain::{apps::App, principal::Via};

/// How often it is looked whether an exchange that goes on may. A session that is over mostly ends it before: nothing serves it any more.
const LOOK: Duration = Duration::from_secs(15);
const LEEWAY: Duration = Duration::from_secs(30);

/// What ends an exchange.
#[derive(Debug, Clone)]
pub struct Ends {
    gateway: Gateway,
    visitor: Visitor,
    app: App,
    /// Of the credential; `None`: it has no end.
    until: Option<Instant>,
}

impl Ends {
    pub fn new(gateway: Gateway, visitor: Visitor, app: App) -> Self {
        let now = gateway.0.state.clock.now();
        let good_for = visitor.caller.expires_at.map(|at| (at - now).to_std().unwrap_or_default());
        let good_for = match visitor.caller.via {
            // As issuers' tokens are taken.
            Via::Jwt => good_for.map(|good_for| good_for + LEEWAY),
            // One may be revoked: whoever has it comes again, as to the API's own streams.
            Via::AccessToken => {
                Some(good_for.map_or(gateway.0.state.settings.stream, |good_for| good_for.min(gateway.0.state.settings.stream)))
            }
            Via::Cookie => good_for,
        };
        let until = good_for.map(|good_for| Instant::now() + good_for);
        // That a role let somebody in is on record since it began.
        Self { gateway, visitor: Visitor { on_record: true, ..visitor }, app, until }
    }

    pub fn by_cookie(&self) -> bool {
        self.visitor.caller.via == Via::Cookie
    }

    /// The credential has ended, or what it was good for.
    pub async fn credential(self) {
        let expired = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        let put_out = async {
            loop {
                sleep(LOOK).await;
                if !self.gateway.still(&self.visitor, self.app).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = expired => {}
            () = put_out => {}
        }
    }

    /// The same, or this server is going.
    pub async fn stream(self) {
        let going = self.gateway.0.state.shutdown.clone();
        tokio::select! {
            () = going.cancelled() => {}
            () = self.credential() => {}
        }
    }
}

/// A connection that is kept for the same visitor's next exchange, if the answer comes to its end.
#[derive(Debug)]
pub struct Back {
    pub lines: Arc<Kept>,
    pub owner: Owner,
    pub line: Line,
    /// Dropped, it tells whoever watches the exchange that it is over.
    pub over: oneshot::Sender<()>,
}

/// A session's answer, as far as it may be read.
pub struct Guarded {
    inner: Incoming,
    over: BoxFuture<'static, ()>,
    /// A stream that ends is one that its reader asks for again; anything else would be taken for whole.
    is_stream: bool,
    used: Used,
    ended: bool,
    /// It has come to its own end, which of one without a length nothing else says.
    whole: bool,
    back: Option<Back>,
}

#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("whoever asked may not read on")]
    Over,
    #[error("the session's answer broke off")]
    Answer(#[from] hyper::Error),
}

impl Guarded {
    pub fn new(inner: Incoming, ends: Ends, is_stream: bool, used: Used, back: Option<Back>) -> Self {
        let over: BoxFuture<'static, ()> = if is_stream { Box::pin(ends.stream()) } else { Box::pin(ends.credential()) };
        Self { inner, over, is_stream, used, ended: false, whole: false, back }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let whole = !self.ended && (self.whole || self.inner.is_end_stream());
        if let Some(Back { lines, owner, line, over }) = self.back.take() {
            // Before it is anybody else's.
            drop(over);
            if whole {
                lines.put(owner, line);
            }
        }
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.over.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(if self.is_stream { None } else { Some(Err(Broken::Over)) });
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        self.whole |= matches!(polled, Poll::Ready(None));
        // A page that stays open asks for a stream, whether anybody is there or not.
        if !self.is_stream && matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.used.now();
        }
        polled.map_err(Broken::from)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
