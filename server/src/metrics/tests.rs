//! The declarations, looked at as they are scraped.

use std::{collections::BTreeSet, time::Duration};

use alpine_api::{ErrorCode, OperationKind, OperationStatus, SessionState};

use super::*;
use crate::domain::operation::Phase;

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    metrics.encode().lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn every_error_code_and_action_is_there_at_zero_from_the_start() {
    let text = Metrics::new().encode();
    for code in ErrorCode::ALL {
        for action in Action::ALL {
            let line = format!("alpine_errors_total{{error_code=\"{code}\",action=\"{}\"}} 0", action.as_str());
            assert!(text.lines().any(|l| l == line), "{line}");
        }
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn names_are_those_that_dashboards_read() {
    let metrics = Metrics::new();
    metrics.error(ErrorCode::OperationConflict, Action::Up);
    metrics.operation_ended(OperationKind::Up, OperationStatus::Succeeded, None);
    metrics.phase_seconds("sync", "ok", Duration::from_secs(2));
    metrics.time_to_ready(Duration::from_secs(9));
    metrics.persist_verification(true);
    metrics.jwks_refresh(false);
    metrics.fenced_write();
    metrics.lease_adoption();
    metrics.orphan();
    metrics.set_sessions(&[(SessionState::Ready, 3)]);
    metrics.set_pool(10, 4);
    metrics.set_pool_max(46);
    metrics.connection_acquired(false, Duration::from_secs(5));
    metrics.claim_seconds(Duration::from_millis(2));
    metrics.claim_delay(OperationKind::Down, Duration::from_secs(2));
    metrics.set_queue(7, Duration::from_millis(1500));
    metrics.heartbeat_lag(Duration::ZERO);
    metrics.sweep_completed(chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    metrics.set_certificate_expiry(1_900_000_000);
    metrics.provider_call("exec", false, Duration::from_secs(1));
    let request = Answered { method: "GET", route: "/v1/sessions".into(), status: "2xx" };
    metrics.request_answered(&request, Duration::from_millis(3));
    for (series, expected) in [
        ("alpine_errors_total{error_code=\"ERR_OPERATION_CONFLICT\",action=\"up\"}", 1.0),
        ("alpine_operations_total{kind=\"up\",outcome=\"succeeded\"}", 1.0),
        ("alpine_operations_total{kind=\"down\",outcome=\"failed\"}", 0.0),
        ("alpine_operation_phase_duration_seconds_sum{phase=\"sync\",outcome=\"ok\"}", 2.0),
        ("alpine_time_to_ready_seconds_count", 1.0),
        ("alpine_persist_verifications_total{outcome=\"verified\"}", 1.0),
        ("alpine_persist_verifications_total{outcome=\"failed\"}", 0.0),
        ("alpine_jwks_refreshes_total{outcome=\"fetched\"}", 0.0),
        ("alpine_jwks_refreshes_total{outcome=\"failed\"}", 1.0),
        ("alpine_fenced_writes_total", 1.0),
        ("alpine_lease_adoptions_total", 1.0),
        ("alpine_orphans_total", 1.0),
        ("alpine_sessions{state=\"ready\"}", 3.0),
        ("alpine_sessions{state=\"failing\"}", 0.0),
        ("alpine_database_connections{state=\"used\"}", 6.0),
        ("alpine_http_requests_total{method=\"GET\",route=\"/v1/sessions\",status=\"2xx\"}", 1.0),
        ("alpine_database_connections_max", 46.0),
        ("alpine_database_acquire_duration_seconds_count{outcome=\"timed_out\"}", 1.0),
        ("alpine_database_acquire_duration_seconds_count{outcome=\"acquired\"}", 0.0),
        ("alpine_claim_duration_seconds_count", 1.0),
        ("alpine_operation_claim_delay_seconds_sum{kind=\"down\"}", 2.0),
        ("alpine_operation_claim_delay_seconds_count{kind=\"up\"}", 0.0),
        ("alpine_operations_queued", 7.0),
        ("alpine_operation_queue_age_seconds", 1.5),
        ("alpine_lease_heartbeat_lag_seconds_count", 1.0),
        ("alpine_sweep_last_completed_timestamp_seconds", 1_800_000_000.0),
        ("alpine_reconcile_last_completed_timestamp_seconds", 0.0),
        ("alpine_tls_certificate_expiry_timestamp_seconds", 1_900_000_000.0),
        ("alpine_provider_call_duration_seconds_count{call=\"exec\",outcome=\"failed\"}", 1.0),
        (concat!("alpine_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(value(&metrics, series), Some(expected), "{series}");
    }
}

#[test]
fn a_state_that_is_empty_again_goes_back_to_zero() {
    let metrics = Metrics::new();
    metrics.set_sessions(&[(SessionState::Ready, 3)]);
    metrics.set_sessions(&[(SessionState::Failing, 1)]);
    assert_eq!(value(&metrics, "alpine_sessions{state=\"ready\"}"), Some(0.0));
}

#[test]
fn a_request_is_in_flight_until_its_guard_is_dropped() {
    let metrics = Metrics::new();
    let series = "alpine_http_requests_in_flight{route=\"/v1/sessions\"}";
    let guards = [metrics.request_begins("/v1/sessions".into()), metrics.request_begins("unmatched".into())];
    assert_eq!(value(&metrics, series), Some(1.0));
    drop(guards);
    assert_eq!(value(&metrics, series), Some(0.0));
}

#[test]
fn the_page_is_what_is_declared() {
    let committed = include_str!("../../../docs/metrics.md");
    assert!(committed == page(), "cargo run -p alpine-server -- metrics-page > docs/metrics.md");
}

/// Every name that is scraped is in the table with its type and unit, and the other way round.
#[test]
fn what_is_scraped_is_what_is_declared() {
    let (metrics, table) = Metrics::declared();
    let text = metrics.encode();
    let told = |what: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what)).filter(|line| !line.starts_with("alpine_injected_faults"));
        lines.map(str::to_owned).collect()
    };
    let family = |row: &Declared| row.name.trim_end_matches("_total").trim_end_matches("_info").to_owned();
    // What has no series yet is not told of at all.
    let there = || table.iter().filter(|row| row.from_start);
    assert_eq!(told("# TYPE "), there().map(|row| format!("{} {}", family(row), row.kind)).collect());
    let units = there().filter_map(|row| Some(format!("{} {}", family(row), row.unit.as_deref()?)));
    assert_eq!(told("# UNIT "), units.collect());
    for row in &table {
        let name = row.name;
        assert_eq!(row.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(name.starts_with("alpine_") && !row.meaning.is_empty() && !row.meaning.contains('|'), "{name}");
        let first = if row.kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let there = text.lines().any(|line| line.strip_prefix(&first).is_some_and(|rest| rest.starts_with(['{', ' '])));
        assert_eq!(there, row.from_start, "{name} is there from the start, or is not");
    }
}

#[test]
fn values_that_are_written_twice_are_the_same() {
    let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    assert_eq!(operations::PHASES.as_slice(), phases);
}

#[test]
fn the_process_tells_of_itself() {
    let metrics = Metrics::new();
    for (series, least) in [
        ("alpine_process_resident_memory_bytes", 1e6),
        ("alpine_process_open_fds", 3.0),
        ("alpine_process_start_time_seconds", 1.7e9),
        ("alpine_process_cpu_seconds_total", 0.0),
    ] {
        let figure = value(&metrics, series);
        assert!(figure.is_some_and(|figure| figure >= least), "{series}: {figure:?}");
    }
}
