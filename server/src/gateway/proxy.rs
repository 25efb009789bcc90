//! One request, handed to a session's program on a connection of its own: what is wrong with one exchange is no other's.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, Response as Answer, StatusCode, Uri, Version,
        header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE},
        uri::PathAndQuery,
    },
    response::Response,
};
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
};
use crate::http::{ApiError, Foreign, VisitPlace, authority};

const CONNECT: Duration = Duration::from_secs(5);
/// Of an answer's head.
const HEAD: usize = 64 * 1024;
const HEADERS: usize = 200;
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const NO_ANSWER: ApiError = ApiError::Unreached("the session's server does not answer");

#[derive(Debug)]
pub struct Exchange {
    pub target: Target,
    pub ends: Ends,
    pub place: VisitPlace,
}

impl Exchange {
    pub async fn run(self, mut request: Request) -> Result<Response, ApiError> {
        let upgrade = wants_websocket(&request).then(|| on(&mut request));
        let request = self.prepared(request, upgrade.is_some())?;
        let connected = tokio::time::timeout(CONNECT, self.answer(request)).await.map_err(|_| NO_ANSWER)?;
        let waiting = connected?;
        let ends = self.ends.clone();
        // However long the program thinks about it.
        let answer = tokio::select! {
            answer = waiting => answer.map_err(unanswered)?,
            () = ends.credential() => return Err(ApiError::NotLetIn),
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
        headers::request(&mut parts.headers, &host, self.target.authorization.clone());
        debug_assert!(parts.headers.contains_key(HOST));
        if upgrade {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, WEBSOCKET);
        }
        Ok(Request::from_parts(parts, body))
    }

    /// The request is on its way; its answer is yet to come.
    async fn answer(&self, request: Request) -> Result<impl Future<Output = hyper::Result<Answer<Incoming>>> + Send + use<>, ApiError> {
        let endpoint = &self.target.endpoint;
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(unconnected)?;
        stream.set_nodelay(true).map_err(unconnected)?;
        let mut client = http1::Builder::new();
        client.max_buf_size(HEAD).max_headers(HEADERS);
        let (mut sender, connection) = client.handshake::<_, Body>(TokioIo::new(stream)).await.map_err(unanswered)?;
        let connection = async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection to a session ended");
            }
        };
        tokio::spawn(connection.in_current_span());
        Ok(async move { sender.send_request(request).await })
    }

    fn answered(self, answer: Answer<Incoming>) -> Response {
        let (mut parts, body) = answer.into_parts();
        headers::response(&mut parts.headers);
        let is_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut response = Response::from_parts(parts, Body::new(Guarded::new(body, self.ends, is_stream, self.place)));
        response.extensions_mut().insert(Foreign);
        response
    }

    /// Both sides speak WebSocket from here on, to each other.
    fn switched(self, client: OnUpgrade, mut answer: Answer<Incoming>) -> Response {
        let server = on(&mut answer);
        let Self { ends, place, .. } = self;
        let talk = async move {
            let _place = place;
            let talking = async {
                let (client, server) = tokio::try_join!(client, server).map_err(std::io::Error::other)?;
                copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await
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

fn unconnected(error: std::io::Error) -> ApiError {
    tracing::debug!(%error, "a session's server is not connected to");
    NO_ANSWER
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
