//! How long an exchange goes on: not longer than whoever asked may use the session.

use std::{
    convert::Infallible,
    future::poll_fn,
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
    task::yield_now,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Gateway,
    kept::{Kept, Line, Owner},
    uses::Used,
    who::Visitor,
};
use crate::{
    domain::{apps::App, principal::Via},
    http::VisitPlace,
};

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
    pub async fn credential(&self) {
        loop {
            let look = Instant::now() + LOOK;
            match self.until.filter(|until| *until <= look) {
                Some(until) => return sleep_until(until).await,
                None => sleep_until(look).await,
            }
            if !self.still().await {
                return;
            }
        }
    }

    /// However long that takes to find out, not longer than the credential is good for.
    async fn still(&self) -> bool {
        let still = self.gateway.still(&self.visitor, self.app);
        match self.until {
            Some(until) => timeout_at(until, still).await.unwrap_or(false),
            None => still.await,
        }
    }

    /// The same, or this server is going.
    pub async fn stream(&self) {
        tokio::select! {
            () = self.gateway.0.state.shutdown.cancelled() => {}
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

/// A session's answer, of which something may have been read.
pub struct Begun {
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    inner: Incoming,
}

impl Begun {
    pub const fn unread(inner: Incoming) -> Self {
        Self { first: None, inner }
    }

    /// What is there with its head, or is as soon as whoever reads the connection has had a turn: most pages are short, and all there.
    pub async fn read(mut inner: Incoming) -> Self {
        if inner.is_end_stream() {
            return Self::unread(inner);
        }
        let first = tokio::select! {
            biased;
            first = poll_fn(|context| Pin::new(&mut inner).poll_frame(context)) => first,
            () = yield_now() => None,
        };
        Self { first, inner }
    }

    /// All of it, if it is all here.
    pub fn whole(&self) -> Option<Bytes> {
        match &self.first {
            _ if !self.inner.is_end_stream() => None,
            None => Some(Bytes::new()),
            Some(first) => first.as_ref().ok()?.data_ref().cloned(),
        }
    }
}

/// A session's answer that is all here: what is left of its exchange is to be read by whoever asked, who has a place as long as that takes.
pub struct Whole {
    left: Option<Bytes>,
    _place: Arc<VisitPlace>,
}

impl Whole {
    pub fn new(all: Bytes, place: Arc<VisitPlace>) -> Self {
        Self { left: Some(all).filter(|all| !all.is_empty()), _place: place }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.take().map(|all| Ok(Frame::data(all))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.as_ref().map_or(0, |left| left.len() as u64))
    }
}

/// A session's answer, as far as it may be read.
pub struct Guarded {
    /// Of it, what came with its head.
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
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
    pub fn new(Begun { first, inner }: Begun, ends: Ends, is_stream: bool, used: Used, back: Option<Back>) -> Self {
        let over: BoxFuture<'static, ()> =
            if is_stream { Box::pin(async move { ends.stream().await }) } else { Box::pin(async move { ends.credential().await }) };
        Self { first, inner, over, is_stream, used, ended: false, whole: false, back }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let whole = !self.ended && self.first.is_none() && (self.whole || self.inner.is_end_stream());
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
        let polled = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.inner).poll_frame(context),
        };
        self.whole |= matches!(polled, Poll::Ready(None));
        // A page that stays open asks for a stream, whether anybody is there or not.
        if !self.is_stream && matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.used.now();
        }
        polled.map_err(Broken::from)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.first.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref()).map_or(0, |data| data.len() as u64);
        let (rest, mut hint) = (self.inner.size_hint(), SizeHint::new());
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint.set_lower(rest.lower() + first);
        hint
    }
}
