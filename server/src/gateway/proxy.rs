//! One request, handed to a session's program on a connection of its own: what is wrong with one exchange is no other's.

use std::sync::Arc;

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
use tokio::{io::copy_bidirectional, net::TcpStream};
use tracing::Instrument as _;

use super::{
    body::{Ends, Guarded},
    headers,
    target::Target,
    uses::Used,
    watched::{Client, Frames, Upload},
};
use crate::http::{ApiError, Foreign, VisitPlace, authority};

/// Of an answer's head.
const HEAD: usize = 64 * 1024;
const HEADERS: usize = 200;
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const NO_ANSWER: ApiError = ApiError::Unreached("the session's server does not answer");

#[derive(Debug)]
pub struct Exchange {
    target: Target,
    ends: Ends,
    /// Given back when neither way has anything more to say.
    place: Arc<VisitPlace>,
    used: Used,
}

impl Exchange {
    pub fn new(target: Target, ends: Ends, place: VisitPlace, used: Used) -> Self {
        Self { target, ends, place: Arc::new(place), used }
    }

    pub async fn run(mut self, mut request: Request) -> Result<Response, ApiError> {
        let upgrade = wants_websocket(&request).then(|| on(&mut request));
        // What may be answered with a stream is a use by its answer: a page that stays open asks for one again by itself.
        if request.method() != Method::GET {
            self.used.now();
        }
        let request = self.prepared(request, upgrade.is_some())?;
        let stream = self.target.connect().await?;
        let mut sender = self.spoken(stream).await?;
        let ends = self.ends.clone();
        // However long the program thinks about it.
        let answer = tokio::select! {
            biased;
            () = ends.credential() => return Err(ApiError::NotLetIn),
            answer = sender.send_request(request) => answer.map_err(unanswered)?,
        };
        match (answer.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) if is_websocket(answer.headers()) => Ok(self.switched(client, answer)),
            // Nobody asked for that, or not for this.
            (StatusCode::SWITCHING_PROTOCOLS, _) => Err(NO_ANSWER),
            _ => Ok(self.answered(answer)),
        }
    }

    /// As the session sees it.
    fn prepared(&self, request: Request, upgrade: bool) -> Result<Request, ApiError> {
        let host = authority(request.uri(), request.headers()).and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let host = host.ok_or(ApiError::Bare(StatusCode::BAD_REQUEST))?;
        let (mut parts, body) = request.into_parts();
        // Of whoever asks here, and of the way here.
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        parts.uri = Uri::from(parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        headers::request(&mut parts.headers, &host, self.target.authorization.clone(), self.ends.by_cookie());
        // The other side closes first, and keeps what the kernel keeps of it.
        parts.headers.insert(CONNECTION, HeaderValue::from_static(if upgrade { "upgrade" } else { "close" }));
        if upgrade {
            parts.headers.insert(UPGRADE, WEBSOCKET);
        }
        // What is empty stays known to be.
        let body = if body.is_end_stream() { body } else { Body::new(Upload { inner: body, used: self.used.clone() }) };
        Ok(Request::from_parts(parts, body))
    }

    /// HTTP on a connection of this exchange's own, which ends with the credential whether anybody reads or not.
    async fn spoken(&self, stream: TcpStream) -> Result<http1::SendRequest<Body>, ApiError> {
        let mut client = http1::Builder::new();
        client.max_buf_size(HEAD).max_headers(HEADERS);
        let (sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(unanswered)?;
        let (ends, place) = (self.ends.clone(), Arc::clone(&self.place));
        let connection = async move {
            let _place = place;
            tokio::select! {
                ended = connection.with_upgrades() => if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a connection to a session ended");
                },
                () = ends.credential() => {}
            }
        };
        tokio::spawn(connection.in_current_span());
        Ok(sender)
    }

    fn answered(mut self, answer: Answer<Incoming>) -> Response {
        let (mut parts, body) = answer.into_parts();
        headers::response(&mut parts.headers);
        let is_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_stream {
            headers::stream(&mut parts.headers);
        } else {
            self.used.now();
        }
        let mut response = Response::from_parts(parts, Body::new(Guarded::new(body, self.ends, is_stream, self.used)));
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
