//! Refusals get what only the request knows, are written as problems and counted. An error answer that
//! some library wrote by itself becomes a problem too: no bare text ever leaves.

use alpine_api::PROBLEM_JSON;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    response::{IntoResponse, Response},
};

use super::{RequestId, Within, path, route};
use crate::{
    http::{
        ApiError, AppState,
        problem::{Foreign, Unsent},
    },
    metrics::Action,
};

pub async fn problems<N: Within>(State(state): State<AppState>, request: Request, next: N) -> Response {
    let action = action(request.method(), &route(&request));
    let instance = path(&request).to_owned();
    let private = request.uri().path().starts_with("/v1/");
    let request_id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    if private && response.extensions().get::<Foreign>().is_none() {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let Some(Unsent { mut problem, counts }) = unsent(&mut response) else { return response };
    if counts {
        state.metrics.error(problem.error_code, action);
    }
    (problem.instance, problem.request_id) = (instance, request_id.map_or_else(String::new, |id| id.as_str().to_owned()));
    let Ok(body) = serde_json::to_vec(&problem) else { return response };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

fn unsent(response: &mut Response) -> Option<Unsent> {
    if response.extensions().get::<Foreign>().is_some() {
        return None;
    }
    let given = response.extensions_mut().remove::<Unsent>();
    let status = response.status();
    if given.is_some() || !(status.is_client_error() || status.is_server_error()) {
        return given;
    }
    ApiError::Bare(status).into_response().extensions_mut().remove::<Unsent>()
}

fn action(method: &Method, route: &str) -> Action {
    let read = matches!(*method, Method::GET | Method::HEAD);
    match route {
        "/v1/sessions" if *method == Method::POST => Action::Up,
        "/v1/sessions/{session_id}/down" if *method == Method::POST => Action::Down,
        "/v1/sessions" if read => Action::List,
        "/v1/sessions/{session_id}" if read => Action::Status,
        "/v1/sessions/{session_id}/events" if read => Action::Events,
        "/v1/sessions/{session_id}/log" if read => Action::Log,
        "/v1/sessions/{session_id}/record" if read => Action::Record,
        "/v1/operations/{operation_id}" if read => Action::Operation,
        "/v1/tenants" | "/v1/tenants/{tenant_id}" => Action::Tenants,
        "/v1/audit" if read => Action::Audit,
        "/v1/imports/sessions" => Action::Imports,
        _ => Action::Other,
    }
}
