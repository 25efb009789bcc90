//! One request, handed to a session's program. What asks for something and no more may go on with a connection that the same visitor's last
//! exchange has left in order; everything else has one of its own, so that what is wrong with it is no other's.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, Response as Answer, StatusCode, Uri, Version,
        header::{CONNECTION, CONTENT_TYPE, UPGRADE},
        uri::PathAndQuery,
    },
    response::Response,
};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    client::conn::http1,
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    sync::oneshot,
    time::{Instant, timeout},
};
use tracing::Instrument as _;

use super::{
    body::{Back, Begun, Ends, Guarded, Whole},
    headers,
    kept::{Kept, Line, Owner},
    target::Target,
    uses::Used,
    watched::{Client, Frames, Upload},
};
use crate::http::{ApiError, Foreign, Unreached, VisitPlace, authority};

/// Of an answer's head.
const HEAD: usize = 64 * 1024;
const HEADERS: usize = 200;
/// A connection that was left in order has nothing more to say.
const READY: Duration = Duration::from_millis(100);
const AT_ONCE: Duration = Duration::from_secs(1);
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const NO_ANSWER: ApiError = ApiError::Unreached(Unreached::NoAnswer);

#[derive(Debug)]
pub struct Exchange {
    target: Target,
    ends: Ends,
    /// Given back when neither way has anything more to say.
    place: Arc<VisitPlace>,
    used: Used,
    lines: Arc<Kept>,
    /// `None`: nothing is kept for them.
    owner: Option<Owner>,
}

impl Exchange {
    pub fn new(target: Target, ends: Ends, place: VisitPlace, used: Used, (lines, owner): (Arc<Kept>, Option<Owner>)) -> Self {
        Self { target, ends, place: Arc::new(place), used, lines, owner }
    }

    pub async fn run(mut self, mut request: Request) -> Result<Response, ApiError> {
        let upgrade = wants_websocket(&request).then(|| on(&mut request));
        // What may be answered with a stream is a use by its answer: a page that stays open asks for one again by itself.
        if request.method() != Method::GET {
            self.used.now();
        }
        // What may be asked twice: the program may give a connection up at the moment at which it is used again.
        let harmless = matches!(*request.method(), Method::GET | Method::HEAD) && request.body().is_end_stream();
        let owner = self.owner.take().filter(|_| upgrade.is_none() && harmless);
        let (answer, line) = if let Some(owner) = owner {
            let (answer, line) = self.on_a_line(&owner, self.prepared(request, None)?).await?;
            (answer, Some((owner, line)))
        } else {
            // The other side closes first, and keeps what the kernel keeps of it.
            let then = if upgrade.is_some() { "upgrade" } else { "close" };
            let request = self.prepared(request, Some(HeaderValue::from_static(then)))?;
            let mut sender = self.spoken(self.target.connect().await?).await?;
            (self.asked(&mut sender, request).await?.map_err(unanswered)?, None)
        };
        match (answer.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) if is_websocket(answer.headers()) => Ok(self.switched(client, answer)),
            // Nobody asked for that, or not for this.
            (StatusCode::SWITCHING_PROTOCOLS, _) => Err(NO_ANSWER),
            _ => Ok(self.answered(answer, line).await),
        }
    }

    /// However long the program thinks about it.
    async fn asked(
        &self,
        sender: &mut http1::SendRequest<Body>,
        request: Request,
    ) -> Result<Result<Answer<Incoming>, hyper::Error>, ApiError> {
        tokio::select! {
            biased;
            () = self.ends.credential() => Err(ApiError::NotLetIn),
            answer = sender.send_request(request) => Ok(answer),
        }
    }

    /// On one that was left, or a new one where that is good no more.
    async fn on_a_line(&self, owner: &Owner, request: Request) -> Result<(Answer<Incoming>, Line), ApiError> {
        let (parts, _) = request.into_parts();
        let request = || Request::from_parts(parts.clone(), Body::empty());
        while let Some(mut line) = self.lines.take(owner, &self.target.listener) {
            if !matches!(timeout(READY, line.sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            let begun = Instant::now();
            match self.asked(&mut line.sender, request()).await? {
                Ok(answer) => return Ok((answer, line)),
                // What was asked has hardly been begun.
                Err(error) if is_given_up(&error) && begun.elapsed() < AT_ONCE => break,
                Err(error) => return Err(unanswered(error)),
            }
        }
        let (sender, connection) = handshake(self.target.connect().await?).await?;
        // Not in this exchange's span: others go on with it.
        let connection = tokio::spawn(async move { connection.await.unwrap_or_else(|error| ended(&error)) }).abort_handle();
        let mut line = Line { sender, connection, made: Instant::now(), listener: self.target.listener.clone() };
        let answer = self.asked(&mut line.sender, request()).await?.map_err(unanswered)?;
        Ok((answer, line))
    }

    /// As the session sees it.
    fn prepared(&self, request: Request, connection: Option<HeaderValue>) -> Result<Request, ApiError> {
        let host = authority(request.uri(), request.headers()).and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let host = host.ok_or(ApiError::Bare(StatusCode::BAD_REQUEST))?;
        let (mut parts, body) = request.into_parts();
        // Of whoever asks here, and of the way here.
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        parts.uri = Uri::from(parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        headers::request(&mut parts.headers, &host, self.target.authorization.clone(), self.ends.by_cookie());
        if let Some(connection) = connection {
            if connection == "upgrade" {
                parts.headers.insert(UPGRADE, WEBSOCKET);
            }
            parts.headers.insert(CONNECTION, connection);
        }
        // What is empty stays known to be.
        let body = if body.is_end_stream() { body } else { Body::new(Upload { inner: body, used: self.used.clone() }) };
        Ok(Request::from_parts(parts, body))
    }

    /// HTTP on a connection of this exchange's own, which ends with the credential whether anybody reads or not.
    async fn spoken(&self, stream: TcpStream) -> Result<http1::SendRequest<Body>, ApiError> {
        let (sender, connection) = handshake(stream).await?;
        let (ends, place) = (self.ends.clone(), Arc::clone(&self.place));
        let connection = async move {
            let _place = place;
            tokio::select! {
                end = connection.with_upgrades() => end.unwrap_or_else(|error| ended(&error)),
                () = ends.credential() => {}
            }
        };
        tokio::spawn(connection.in_current_span());
        Ok(sender)
    }

    /// What is had on a kept connection ends with the credential too, whether anybody reads or not.
    fn watched(&self, (owner, line): (Owner, Line)) -> Back {
        let (over, is_over) = oneshot::channel::<()>();
        let (ends, place, connection) = (self.ends.clone(), Arc::clone(&self.place), line.connection.clone());
        let watch = async move {
            let _place = place;
            tokio::select! {
                biased;
                _ = is_over => {}
                () = ends.credential() => connection.abort(),
            }
        };
        tokio::spawn(watch.in_current_span());
        Back { lines: Arc::clone(&self.lines), owner, line, over }
    }

    async fn answered(mut self, answer: Answer<Incoming>, line: Option<(Owner, Line)>) -> Response {
        let (mut parts, body) = answer.into_parts();
        headers::response(&mut parts.headers);
        let is_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let begun = if is_stream {
            headers::stream(&mut parts.headers);
            Begun::unread(body)
        } else {
            self.used.now();
            Begun::read(body).await
        };
        let body = match begun.whole() {
            Some(whole) => {
                if let Some((owner, line)) = line {
                    self.lines.put(owner, line);
                }
                Body::new(Whole::new(whole, self.place))
            }
            None => {
                let back = line.map(|line| self.watched(line));
                Body::new(Guarded::new(begun, self.ends, is_stream, self.used, back))
            }
        };
        let mut response = Response::from_parts(parts, body);
        response.extensions_mut().insert(Foreign);
        response
    }

    /// Both sides speak WebSocket from here on, to each other.
    fn switched(self, client: OnUpgrade, mut answer: Answer<Incoming>) -> Response {
        let server = on(&mut answer);
        let Self { ends, place, used, .. } = self;
        let talk = async move {
            let _place = place;
            let talking = async {
                let (client, server) = tokio::try_join!(client, server).map_err(std::io::Error::other)?;
                let mut client = Client { inner: TokioIo::new(client), frames: Frames::default(), used };
                copy_bidirectional(&mut client, &mut TokioIo::new(server)).await
            };
            tokio::select! {
                talked = talking => if let Err(error) = talked {
                    tracing::debug!(%error, "a WebSocket of a session ended");
                },
                () = ends.stream() => {}
            }
        };
        tokio::spawn(talk.in_current_span());
        let (mut parts, _) = answer.into_parts();
        headers::response(&mut parts.headers);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, WEBSOCKET);
        let mut response = Response::from_parts(parts, Body::empty());
        response.extensions_mut().insert(Foreign);
        response
    }
}

async fn handshake(stream: TcpStream) -> Result<(http1::SendRequest<Body>, http1::Connection<TokioIo<TcpStream>, Body>), ApiError> {
    let mut client = http1::Builder::new();
    client.max_buf_size(HEAD).max_headers(HEADERS);
    client.handshake(TokioIo::new(stream)).await.map_err(unanswered)
}

fn ended(error: &hyper::Error) {
    tracing::debug!(error = error as &dyn std::error::Error, "a connection to a session ended");
}

/// The connection, at the moment at which it was used again, or with what was left on it.
fn is_given_up(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || error.is_incomplete_message() || error.is_parse()
}

fn unanswered(error: hyper::Error) -> ApiError {
    tracing::debug!(error = &error as &dyn std::error::Error, "a session's server has not answered");
    NO_ANSWER
}

/// Nothing else is switched to.
fn wants_websocket(request: &Request) -> bool {
    request.version() == Version::HTTP_11 && request.method() == Method::GET && is_websocket(request.headers())
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let mut asked = headers.get_all(UPGRADE).iter();
    let only = asked.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) && asked.next().is_none();
    let connection = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    only && connection.into_iter().any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}
