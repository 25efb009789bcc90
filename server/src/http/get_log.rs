//! A session's log.

use alpine_api::{LogPage, SessionId};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiError, AppState,
    extract::{ApiQuery, Caller, SessionPath},
    openapi::EventRefusals,
};

const LIMIT: std::ops::RangeInclusive<i64> = 1..=500;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// Only pieces that come after this number: `next_after` of the page before.
    #[param(minimum = 0, default = 0)]
    after: Option<i64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<i64>,
}

/// What was written while a session was made and served
///
/// By git, the installer and the program that serves the workspace, oldest first, in numbered pieces. Old pieces of a long log are
/// gone: `first_seq` is the oldest that is kept.
///
/// With `Accept: text/event-stream` the same come as a stream (server-sent events), those that are there first and then each as it
/// happens. A message is
///
/// ```text
/// id: <seq>
/// event: log
/// data: <a LogChunk as JSON, on one line>
/// ```
///
/// A comment (a line that begins with `:`) comes every 15 seconds, so that nothing on the way takes the connection for dead. The
/// server may end a stream at any time: come again with `Last-Event-ID: <seq>` (or `after`), and it goes on behind that piece, with
/// no gap and no repetition. Once the session is
/// over (`stopped` or `failed`) and everything was sent the stream ends; a request that begins there is answered `204`.
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/log", operation_id = "getLog", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session"), Parameters),
    responses((status = 200, body = LogPage, description = "A page of the log"), EventRefusals)
)]
pub async fn get_log(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(id): SessionPath,
    ApiQuery(parameters): ApiQuery<Parameters>,
) -> Result<Json<LogPage>, ApiError> {
    let (after, limit) = (parameters.after.unwrap_or(0), parameters.limit.unwrap_or(100));
    if after < 0 || !LIMIT.contains(&limit) {
        return Err(ApiError::malformed("after must not be negative; limit must be from 1 to 500"));
    }
    Ok(Json(state.ledger.tenant(&caller.tenant).log(&caller, id, after, limit).await?))
}
