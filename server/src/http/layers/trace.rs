//! A span around every request, in the caller's trace, as OpenTelemetry's conventions for HTTP have it. It never holds a query, a
//! body or a token.

use std::time::Instant;

use axum::{extract::Request, http::Version, response::Response};
use tracing::{Instrument, Span, field::Empty};

use super::{APP, RequestId, Within, method, path, route};
use crate::telemetry;

pub async fn trace<N: Within>(request: Request, next: N) -> Response {
    let route = route(&request);
    // Probes and scrapes come every few seconds and say nothing new: they are not exported either.
    let quiet = matches!(&*route, "/livez" | "/readyz" | "/metrics");
    let span = if quiet { tracing::info_span!("probe", request_id = id(&request)) } else { span(&request, &route) };
    telemetry::follow(&span, request.headers().get("traceparent").and_then(|value| value.to_str().ok()));
    let begun = Instant::now();
    async move {
        let response = next.run(request).await;
        let (status, took) = (response.status().as_u16(), begun.elapsed().as_millis());
        telemetry::attribute(&Span::current(), "http.response.status_code", status.into());
        if response.status().is_server_error() {
            Span::current().record("otel.status_code", "ERROR");
            Span::current().record("error.type", status);
        }
        if quiet || route == APP {
            tracing::debug!(route = &*route, status, took_ms = took, "answered");
        } else {
            tracing::info!(status, took_ms = took, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

fn span(request: &Request, route: &str) -> Span {
    let method = method(request.method());
    tracing::info_span!(
        "http",
        "otel.name" = format!("{method} {route}"),
        "otel.kind" = "server",
        "otel.status_code" = Empty,
        "http.request.method" = if method == "other" { "_OTHER" } else { method },
        "http.route" = route,
        "url.path" = path(request),
        "url.scheme" = request.uri().scheme_str(),
        "network.protocol.version" = version(request.version()),
        "error.type" = Empty,
        request_id = id(request),
        tenant = Empty,
        principal = Empty,
    )
}

fn id(request: &Request) -> &str {
    request.extensions().get::<RequestId>().map_or("", RequestId::as_str)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
