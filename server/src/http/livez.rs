//! Liveness.

use super::openapi::PublicRefusals;

/// Whether the process answers
///
/// Says nothing of the database: restarting this would not mend that.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "system", security(()),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "Alive", example = json!("ok\n")),
        PublicRefusals,
    )
)]
pub async fn livez() -> &'static str {
    "ok\n"
}
