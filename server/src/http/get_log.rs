//! A session's log.

use alpine_api::{LogPage, SessionId};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    ApiError, AppState,
    extract::{After, ApiQuery, Caller, LastEventId, Resume, SessionPath, WantsStream},
    limits::Ticket,
    openapi::EventRefusals,
    stream::{self, Watching},
};

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
/// A comment (a line that begins with `:`) comes where nothing else does for 15 seconds (the server may be set otherwise), so that
/// nothing on the way takes the connection for dead. The server may end a stream at any time: come again with `Last-Event-ID: <seq>`
/// (or `after`), and it goes on behind that piece, with no gap and no repetition. Once the session is over (`stopped` or `failed`)
/// and everything was sent the stream ends; a request that begins there is answered `204`.
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/log", operation_id = "getLog", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session"), After, LastEventId),
    responses(
        (status = 200, description = "A page of the log; or, to those who accept `text/event-stream`, each piece as a message (`id`: its number, `event`: `log`, `data`: the piece)",
            content((LogPage = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "Of a stream: the session is over, and there is nothing after this number"),
        EventRefusals,
    )
)]
pub async fn get_log(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(id): SessionPath,
    stream: WantsStream,
    ticket: Ticket,
    resume: Result<Resume, ApiError>,
    ApiQuery(page): ApiQuery<After>,
) -> Result<Response, ApiError> {
    let (after, limit) = page.checked()?;
    let ledger = state.ledger.tenant(&caller.tenant);
    if !stream.0 {
        return Ok(Json(ledger.log(&caller, id, after, limit).await?).into_response());
    }
    let place = state.limits.watch(&caller.tenant, &caller.id)?;
    let follower = ledger.follow_log(&caller, id, resume?.0.unwrap_or(after)).await?;
    Ok(stream::begin(&state, &ticket, Watching { caller, session: id, place }, follower))
}
