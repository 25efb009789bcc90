//! `docs/metrics.md`, made from the declarations.

use std::fmt::Write as _;

use super::{Metrics, declare::Declared};

const BEGINNING: &str = "\
# Metrics

Made from the code by `alpine-server metrics-page`; a test fails where the two differ.

`GET /metrics` on the API's address answers in the OpenMetrics text format, without a token. With `ALPINE_METRICS_LISTEN` that address alone
does, in plain HTTP and with nothing else, and the API's address answers 404. A process of `--role worker` serves it in the same way. A
scrape waits for no database: what the ledger knows is read in between, by the sweep (operations), every 10 seconds (sessions) and every
second (the pools).

No label has a tenant, a principal, a session, an address or anything else in it that a caller may choose, so that the number of series is
bounded by the code: a test counts them over ten thousand sessions of two hundred tenants. Counters and gauges are there at 0 from the
start wherever the table says so; the others come with the first thing that they tell of.

Each process tells of itself. What it did is summed over processes; of the three that every process reads from the ledger (`alpine_sessions`,
`alpine_operations_queued`, `alpine_operation_queue_age_seconds`) take `max`. A histogram's name has `_bucket`, `_sum` and `_count` behind it.

";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut page =
        format!("{BEGINNING}| name | type | unit | labels and their values | from the start | meaning |\n|---|---|---|---|---|---|\n");
    for Declared { name, kind, unit, labels, meaning, from_start } in Metrics::declared().1 {
        let unit = unit.unwrap_or_default();
        let labels: Vec<_> = labels.iter().map(super::Label::cell).collect();
        let from_start = if from_start { "yes" } else { "no" };
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {} | {from_start} | {meaning} |", labels.join("; "));
    }
    page
}
