//! The page of the error catalogue: each code, and who may answer it.

use alpine_api::ErrorCode;
use serde_json::Value;

/// Of every operation: the layers around it answer these.
const OF_ALL: [&str; 4] = ["414", "431", "500", "503"];

/// The whole page. The codes of an operation are those that the document names.
pub(super) fn page(document: &utoipa::openapi::OpenApi) -> String {
    let row = |code: &ErrorCode| {
        let retryable = if code.retryable() { "yes" } else { "no" };
        let (title, status, exit) = (code.title(), code.http_status(), code.exit_code());
        format!("<tr id=\"{code}\"><td><code>{code}</code><td>{title}<td>{status}<td>{exit}<td>{retryable}</tr>\n")
    };
    let rows: String = ErrorCode::ALL.iter().map(row).collect();
    let by_operation = by_operation(&serde_json::to_value(document).unwrap_or_default());
    let of_all = OF_ALL.join(", ");
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Alpine: errors</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" type=\"image/png\" href=\"/docs/favicon-32x32.png\">\
         <link rel=\"stylesheet\" href=\"/docs/page.css\"><main class=\"text\"><p><a href=\"/docs/\">Alpine API</a></p><h1>Errors</h1>\n\
         <p>The status and retryability are the usual ones; an answer's own fields say what holds in its case.</p>\n\
         <table><thead><tr><th>Code<th>Meaning<th>HTTP status<th>Exit code<th>Retryable</tr></thead><tbody>\n{rows}</tbody></table>\n\
         <h2>By operation</h2>\n<p>Each may also be answered {of_all}.</p>\n\
         <table><thead><tr><th>Operation<th>Status and codes</tr></thead><tbody>\n{by_operation}</tbody></table></main></html>\n"
    )
}

fn by_operation(document: &Value) -> String {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(_, path)| path.as_object().into_iter().flatten()).map(|(_, operation)| operation);
    let row = |operation: &Value| {
        let responses = operation["responses"].as_object().into_iter().flatten();
        let own = responses.filter(|(status, _)| !OF_ALL.contains(&status.as_str()));
        let lines: String = own.filter_map(|(status, response)| Some(line(status, response["x-error-codes"].as_array()?))).collect();
        let id = operation["operationId"].as_str().unwrap_or_default();
        if lines.is_empty() { lines } else { format!("<tr><td><code>{id}</code><td>{lines}</tr>\n") }
    };
    operations.map(row).collect()
}

fn line(status: &str, codes: &[Value]) -> String {
    let link = |code: &str| format!("<a href=\"#{code}\"><code>{code}</code></a>");
    let links: Vec<String> = codes.iter().filter_map(Value::as_str).map(link).collect();
    format!("<div>{status} {}</div>", links.join(" "))
}
