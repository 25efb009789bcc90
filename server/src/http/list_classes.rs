//! What a session can be made in.

use alpine_api::ClassList;
use axum::{Json, extract::State};

use super::{AppState, extract::Caller, openapi::CallerRefusals};

/// The classes to choose from
///
/// What `class` of an `up` can be for the caller's tenant, in the operator's order. None where the server has one size for all.
#[utoipa::path(
    get, path = "/v1/classes", operation_id = "listClasses", tag = "sessions",
    responses((status = 200, body = ClassList, description = "The classes of the caller's tenant"), CallerRefusals)
)]
pub async fn list_classes(State(state): State<AppState>, Caller(caller): Caller) -> Json<ClassList> {
    Json(ClassList { classes: state.classes.shown(&caller.tenant) })
}
