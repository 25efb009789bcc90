//! The page of the error catalogue: each code, and who may answer it.

use std::fmt::Write as _;

use alpine_api::ErrorCode;

/// The whole page. The codes of an operation are those that the document names.
pub(super) fn page(document: &utoipa::openapi::OpenApi) -> String {
    let row = |code: &ErrorCode| {
        let retryable = if code.retryable() { "yes" } else { "no" };
        let (title, status, exit) = (code.title(), code.http_status(), code.exit_code());
        format!("<tr id=\"{code}\"><td><code>{code}</code><td>{title}<td>{status}<td>{exit}<td>{retryable}</tr>\n")
    };
    let rows: String = ErrorCode::ALL.iter().map(row).collect();
    let by_operation = by_operation(&serde_json::to_value(document).unwrap_or_default());
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Alpine: errors</title>\
         <link rel=\"stylesheet\" href=\"/docs/page.css\"><main class=\"text\"><h1>Errors</h1>\n\
         <p>The status and retryability are the usual ones; an answer's own fields say what holds in its case.</p>\n\
         <table><thead><tr><th>Code<th>Meaning<th>HTTP status<th>Exit code<th>Retryable</tr></thead><tbody>\n{rows}</tbody></table>\n\
         <h2>By operation</h2>\n<table><thead><tr><th>Operation<th>Status<th>Codes</tr></thead><tbody>\n{by_operation}</tbody></table>\n\
         <p><a href=\"/docs/\">The API</a></p></main></html>\n"
    )
}

fn by_operation(document: &serde_json::Value) -> String {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(_, path)| path.as_object().into_iter().flatten()).map(|(_, operation)| operation);
    let mut rows = String::new();
    for operation in operations {
        let id = operation["operationId"].as_str().unwrap_or_default();
        for (status, response) in operation["responses"].as_object().into_iter().flatten() {
            let Some(codes) = response["x-error-codes"].as_array() else { continue };
            let codes: Vec<String> =
                codes.iter().filter_map(|code| code.as_str()).map(|code| format!("<a href=\"#{code}\"><code>{code}</code></a>")).collect();
            // Writing to a string does not fail.
            let _ = writeln!(rows, "<tr><td>{id}<td>{status}<td>{}</tr>", codes.join(" "));
        }
    }
    rows
}
