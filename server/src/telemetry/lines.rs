//! Lines of the log, each with the ids that lead from it to its request, its operation and its trace.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber, span::Record};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{Format, Full, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

use super::context::Known;

/// A span's fields as the library writes them. What is recorded later is put to them: the library reads all that is there, and writes it anew.
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        JsonFields::new().format_fields(writer, fields)
    }

    fn add_fields(&self, current: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut added = String::new();
        JsonFields::new().format_fields(Writer::new(&mut added), fields)?;
        if current.fields.len() <= "{}".len() {
            current.fields = added;
        } else if added.len() > "{}".len() {
            current.fields.pop();
            current.fields.push(',');
            current.fields.push_str(&added[1..]);
        }
        Ok(())
    }
}

/// The library's line, and more.
pub(super) struct Lines<F> {
    line: F,
    finish: fn(&str, Option<&Known>) -> String,
}

impl Lines<Format<Json>> {
    pub fn json(line: Format<Json>) -> Self {
        Self { line, finish: json }
    }
}

impl Lines<Format<Full>> {
    pub fn pretty(line: Format<Full>) -> Self {
        Self { line, finish: pretty }
    }
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let known = context.event_scope().and_then(|mut scope| scope.find_map(|span| span.extensions().get::<Known>().cloned()));
        writeln!(writer, "{}", (self.finish)(line.trim_end_matches('\n'), known.as_ref()))
    }
}

fn pretty(line: &str, known: Option<&Known>) -> String {
    match known {
        Some(Known(context)) => format!("{line} trace_id={} span_id={}", context.trace_id(), context.span_id()),
        None => line.to_owned(),
    }
}

/// What the spans around an event say stands beside what the event says, and never in its place; the innermost counts.
fn json(line: &str, known: Option<&Known>) -> String {
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(line) else { return line.to_owned() };
    let Some(Value::Array(spans)) = fields.remove("spans") else { return line.to_owned() };
    let mut around = Map::new();
    for span in spans {
        let Value::Object(span) = span else { continue };
        around.extend(span.into_iter().filter(|(name, _)| !name.starts_with("otel.")).map(|(name, value)| match name.as_str() {
            "name" => ("span".to_owned(), value),
            _ => (name, value),
        }));
    }
    if let Some(Known(context)) = known {
        around.insert("trace_id".to_owned(), context.trace_id().to_string().into());
        around.insert("span_id".to_owned(), context.span_id().to_string().into());
    }
    for (name, value) in around {
        fields.entry(name).or_insert(value);
    }
    Value::Object(fields).to_string()
}
