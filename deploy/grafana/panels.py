"""The panels: what is shown, in which unit, and why one looks at it. build.py makes dashboards of them."""

# What the variables of each dashboard select.
S = 'job=~"$job", instance=~"$instance"'
R = "$__rate_interval"
WATCHED = "ERR_OPERATION_CONFLICT|ERR_PERSIST_PAYLOAD_TOO_LARGE|ERR_SESSION_FORBIDDEN|ERR_SANDBOX_PROVISION_FAILED"
USED = 'state="used"'
LIST = 'method="GET", route="/v1/sessions", status="2xx"'


def coded(code):
    return f'error_code=~"{code}"'


def sel(metric, *labels):
    return f"{metric}{{{', '.join([S, *labels])}}}"


def rate(metric, *labels, by="", window=R):
    return f"sum{f' by ({by})' if by else ''} (rate({sel(metric, *labels)}[{window}]))"


def increase(metric, *labels, by="", window="10m"):
    return f"sum{f' by ({by})' if by else ''} (increase({sel(metric, *labels)}[{window}]))"


def quantile(q, metric, *labels, by="", window=R):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', *labels, by=f'{by}, le' if by else 'le', window=window)})"


def of_version(metric, *labels, by="", window="10m"):
    """By the version that runs where it was counted; for ten minutes after a restart in place, the older one's end is in it."""
    joined = f"increase({sel(metric, *labels)}[{window}]) * on (environment, job, instance) group_left (version) alpine_build_info"
    return f"sum by (version{f', {by}' if by else ''}) ({joined})"


def ratio_of_ups(window="1h"):
    return (
        increase("alpine_operations_total", 'kind="up"', 'outcome="succeeded"', window=window)
        + " / "
        + increase("alpine_operations_total", 'kind="up"', 'outcome=~"succeeded|failed"', window=window)
    )


def stat(title, description, unit, query, **more):
    return {"kind": "stat", "title": title, "description": description, "unit": unit, "queries": [(query, more.pop("legend", ""))], **more}


def graph(title, description, unit, *queries, **more):
    return {"title": title, "description": description, "unit": unit, "queries": list(queries), "min": 0, **more}


OVERVIEW = [
    stat("Abort gates", "Alerts with the label gate=abort that fire: roll back.", "short",
         'count(ALERTS{alertstate="firing", gate="abort"}) or vector(0)', thresholds=[(1, "red")], runbooks=["abort-up-success", "abort-orphans"]),
    stat("Alerts", "Alerts of Alpine that fire, gates included.", "short",
         'count(ALERTS{alertstate="firing", alertname=~"Alpine.*"}) or vector(0)', thresholds=[(1, "orange")]),
    stat("Servers", "Processes that answer Prometheus.", "short", f"count({sel('alpine_build_info')})",
         thresholds=[(None, "red"), (1, "green")], runbooks=["target-down", "metrics-absent"]),
    stat("Ups that succeed", "Of those that ended within an hour; cancelled ones do not count.", "percentunit", ratio_of_ups(),
         thresholds=[(None, "red"), (0.9, "orange"), (0.95, "green")], runbooks=["up-success"]),
    stat("Ready after (p95)", "The 95th percentile of the time from the accept to ready, of an hour.", "s",
         quantile(0.95, "alpine_time_to_ready_seconds", window="1h"), thresholds=[(480, "red")], runbooks=["time-to-ready"]),
    stat("Sessions", "In a state that is not final.", "short", f"sum(max by (state) ({sel('alpine_sessions')}))"),
    graph("Requests", "By class of status.", "reqps", (rate("alpine_http_requests_total", by="status"), "{{status}}"), stack=True),
    graph("Time to an answer (p95)", "By route, of answers 2xx. Requests that wait for an operation (Prefer: wait) are in it.", "s",
          (quantile(0.95, "alpine_http_request_duration_seconds", 'status="2xx"', by="route"), "{{route}}")),
    graph("List of sessions", "GET /v1/sessions: the median, p95 and p99. Over 1 s at p95 alarms.", "s",
          *((quantile(q, "alpine_http_request_duration_seconds", LIST), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
          thresholds=[(1, "red")], runbooks=["list-slow"]),
    graph("Requests in flight", "By route template.", "short", (f"sum by (route) ({sel('alpine_http_requests_in_flight')})", "{{route}}"), stack=True),
    graph("Requests refused for want of a place", "By class. They are answered 503 with Retry-After.", "reqps",
          (rate("alpine_requests_shed_total", by="class"), "{{class}}")),
    graph("Connections and streams", "Open connections of clients; open streams of events and logs.", "short",
          (f"sum({sel('alpine_http_connections_open')})", "connections"), (f"sum({sel('alpine_event_stream_watchers')})", "streams")),
    graph("Memory", "Resident memory, by process.", "bytes", (sel("alpine_process_resident_memory_bytes"), "{{instance}}")),
    graph("Processor time", "Cores in use, by process.", "cores", (f"rate({sel('alpine_process_cpu_seconds_total')}[{R}])", "{{instance}}")),
    graph("Open files", "By process; sockets are files.", "short", (sel("alpine_process_open_fds"), "{{instance}}")),
    graph("Certificate", "Time for which the served certificate is still good.", "s",
          (f"({sel('alpine_tls_certificate_expiry_timestamp_seconds')} > 0) - time()", "{{instance}}"),
          thresholds=[(None, "red"), (3 * 86400, "orange"), (21 * 86400, "green")], runbooks=["certificate"]),
]  # fmt: skip

LIFECYCLE = [
    graph("Ups by outcome", "That ended within ten minutes.", "short",
          (increase("alpine_operations_total", 'kind="up"', by="outcome"), "{{outcome}}"), stack=True, runbooks=["up-success"]),
    graph("Ups that succeed", "Of those that ended within an hour, and within ten minutes.", "percentunit",
          (ratio_of_ups(), "1 h"), (ratio_of_ups("10m"), "10 min"), max=1,
          thresholds=[(None, "red"), (0.9, "orange"), (0.95, "green")], runbooks=["up-success", "abort-up-success"]),
    graph("Phases of ups that failed or were too late", "Tries, so up to three an up. Much `install` and `resolve` alone is often the callers'.", "short",
          (increase("alpine_operation_phase_duration_seconds_count", 'phase=~"resolve|provision|sync|install|start"', 'outcome!="ok"', by="phase, outcome"),
           "{{phase}} {{outcome}}"), stack=True, runbooks=["up-success", "sandbox-provision-failed"]),
    graph("Time to ready", "From the accept to ready.", "s",
          *((quantile(q, "alpine_time_to_ready_seconds", window="1h"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
          thresholds=[(480, "red")], runbooks=["time-to-ready"]),
    graph("Time of a phase (p95)", "Of phases that were done.", "s",
          (quantile(0.95, "alpine_operation_phase_duration_seconds", 'outcome="ok"', by="phase", window="30m"), "{{phase}}"), runbooks=["time-to-ready"]),
    graph("Calls to the sandbox provider (p95)", "By call and outcome.", "s",
          (quantile(0.95, "alpine_provider_call_duration_seconds", by="call, outcome", window="10m"), "{{call}} {{outcome}}"),
          runbooks=["sandbox-provision-failed"]),
    graph("Calls to the sandbox provider that failed", "Within ten minutes.", "short",
          (increase("alpine_provider_call_duration_seconds_count", 'outcome="failed"', by="call"), "{{call}}"), runbooks=["sandbox-provision-failed"]),
    graph("Downs and clean-ups", "That ended within ten minutes.", "short",
          (increase("alpine_operations_total", 'kind!="up"', by="kind, outcome"), "{{kind}} {{outcome}}"), stack=True),
    graph("Sessions by state", "Each server reads them from the ledger, so the highest counts. cleanup_failed and close_failed should not stay.", "short",
          (f"max by (state) ({sel('alpine_sessions')})", "{{state}}"), stack=True),
    graph("Records verified", "Tries to store a record and read it back, within ten minutes.", "short",
          (increase("alpine_persist_verifications_total", by="outcome"), "{{outcome}}"), runbooks=["persist-verification", "persist-payload-too-large"]),
    graph("Operations that wait", "Due, and nobody holds them.", "short", (f"max({sel('alpine_operations_queued')})", "waiting"), runbooks=["queue-old"]),
    graph("Longest wait", "How long the oldest of them has been due.", "s", (f"max({sel('alpine_operation_queue_age_seconds')})", "oldest"),
          thresholds=[(120, "red")], runbooks=["queue-old"]),
    graph("Delay until a claim", "From when an operation was due until a worker had it: p50 and p95, by kind.", "s",
          *((quantile(q, "alpine_operation_claim_delay_seconds", by="kind"), f"{{{{kind}}}} p{q * 100:g}") for q in (0.5, 0.95)), runbooks=["queue-old"]),
    graph("Lateness of heartbeats (p99)", "Beyond what was planned. At two thirds of ALPINE_LEASE_SECONDS a worker gives its jobs up.", "s",
          (quantile(0.99, "alpine_lease_heartbeat_lag_seconds", by="instance"), "{{instance}}"), runbooks=["lease-adoptions", "fenced-writes"]),
    graph("Adoptions, fenced writes, orphans", "Within ten minutes. Now and then is well: that is how crashes are survived.", "short",
          (increase("alpine_lease_adoptions_total"), "adoptions"), (increase("alpine_fenced_writes_total"), "fenced writes"),
          (increase("alpine_orphans_total"), "orphans"), runbooks=["lease-adoptions", "fenced-writes", "orphans"]),
    graph("Since the last sweep and comparison", "Sweep: of any worker. Comparison of sandboxes with the ledger: each worker its own.", "s",
          (f"time() - max({sel('alpine_sweep_last_completed_timestamp_seconds')} > 0)", "sweep"),
          (f"time() - ({sel('alpine_reconcile_last_completed_timestamp_seconds')} > 0)", "comparison {{instance}}"),
          thresholds=[(300, "orange"), (900, "red")], runbooks=["sweep-stalled", "reconcile-stalled"]),
]  # fmt: skip

ERRORS = [
    *(
        graph(code, "Answers and failed operations within ten minutes; a failure counts once, whoever asks for it. By action.", "short",
              (increase("alpine_errors_total", coded(code), by="action"), "{{action}}"),
              (f"4 * avg_over_time(({increase('alpine_errors_total', coded(code))})[1d:10m] offset 10m)", "four times the last day's average"),
              runbooks=[code.removeprefix("ERR_").lower().replace("_", "-")])
        for code in WATCHED.split("|")
    ),
    graph("All codes", "Answers and failed operations within ten minutes, by code.", "short",
          (increase("alpine_errors_total", by="error_code") + " > 0", "{{error_code}}"), stack=True),
    graph("The system's own", "ERR_INTERNAL, ERR_UNAVAILABLE, ERR_DEADLINE_EXCEEDED, by action. The caller cannot mend these.", "short",
          (increase("alpine_errors_total", 'error_code=~"ERR_INTERNAL|ERR_UNAVAILABLE|ERR_DEADLINE_EXCEEDED"', by="error_code, action") + " > 0",
           "{{error_code}} {{action}}"), stack=True),
    graph("Answers 5xx by route", "As a part of all answers of the route.", "percentunit",
          (rate("alpine_http_requests_total", 'status="5xx"', by="route") + " / " + rate("alpine_http_requests_total", by="route"), "{{route}}")),
    graph("Identity and limits", "Who is not known or not allowed, and who asks too much.", "short",
          (increase("alpine_errors_total", 'error_code=~"ERR_CALLER_IDENTITY_REQUIRED|ERR_FORBIDDEN|ERR_RATE_LIMITED|ERR_QUOTA_EXCEEDED"', by="error_code"),
           "{{error_code}}")),
    graph("Fetches of issuers' keys", "Within ten minutes. Known keys go on working while an issuer is away.", "short",
          (increase("alpine_jwks_refreshes_total", by="outcome"), "{{outcome}}")),
    graph("Connections refused", "Closed since there were too many: of the server, or of one address.", "short",
          (increase("alpine_http_connections_refused_total", by="bound"), "{{bound}}")),
    {"kind": "table", "title": "Codes by action", "description": "Of the last hour.", "unit": "short",
     "queries": [("topk(30, " + increase("alpine_errors_total", by="error_code, action", window="1h") + " > 0)", "")]},
]  # fmt: skip

DATABASE = [
    graph("Connections", "Of all processes: in use, idle, and how many the pools may open.", "short",
          (f"sum by (state) ({sel('alpine_database_connections')})", "{{state}}"), (f"sum({sel('alpine_database_connections_max')})", "most"),
          runbooks=["database-pool"]),
    graph("Part in use", "Of what the pools may open, by process. Near 1 for long: it starves.", "percentunit",
          (f"sum by (instance) ({sel('alpine_database_connections', USED)}) / sum by (instance) ({sel('alpine_database_connections_max')})",
           "{{instance}}"), max=1, thresholds=[(0.8, "orange"), (0.95, "red")], runbooks=["database-pool"]),
    graph("Wait for a connection", "p50, p95, p99 of the waits that ended with one.", "s",
          *((quantile(q, "alpine_database_acquire_duration_seconds", 'outcome="acquired"'), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
          thresholds=[(0.5, "red")], runbooks=["database-pool"]),
    graph("Waits in vain", "Within five minutes, by process: answered 503.", "short",
          (increase("alpine_database_acquire_duration_seconds_count", 'outcome="timed_out"', by="instance", window="5m"), "{{instance}}"),
          thresholds=[(5, "red")], runbooks=["database-pool"]),
    graph("The claim", "Time of the statement that claims operations. It grows with dead rows: see autovacuum.", "s",
          *((quantile(q, "alpine_claim_duration_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)), runbooks=["queue-old"]),
    graph("Reads for all who wait and watch", "Statements a second, by what is read. They do not grow with the number of watchers.", "ops",
          (rate("alpine_watch_reads_total", by="what"), "{{what}}")),
    graph("Answers that the database could not give", "ERR_UNAVAILABLE within ten minutes, by action.", "short",
          (increase("alpine_errors_total", 'error_code="ERR_UNAVAILABLE"', by="action"), "{{action}}"), stack=True),
    graph("Lateness of heartbeats", "p50, p99. A slow database shows here before leases are lost.", "s",
          *((quantile(q, "alpine_lease_heartbeat_lag_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99)), runbooks=["lease-adoptions"]),
]  # fmt: skip

RELEASE = [
    graph("Versions", "Processes of each.", "short", (f"count by (version) ({sel('alpine_build_info')})", "{{version}}"), stack=True),
    graph("Abort gates", "1 while one fires: roll back (docs/monitoring.md).", "short",
          ('max by (alertname, version) (ALERTS{alertstate="firing", gate="abort"})', "{{alertname}} {{version}}"), max=1,
          thresholds=[(1, "red")], runbooks=["abort-up-success", "abort-orphans"]),
    graph("Ups that succeed", "Of those that ended within half an hour, by version.", "percentunit",
          (of_version("alpine_operations_total", 'kind="up"', 'outcome="succeeded"', window="30m") + " / "
           + of_version("alpine_operations_total", 'kind="up"', 'outcome=~"succeeded|failed"', window="30m"), "{{version}}"), max=1,
          thresholds=[(None, "red"), (0.9, "orange"), (0.95, "green")], runbooks=["abort-up-success"]),
    graph("Ups", "That ended within half an hour, by version: how much the ratio is worth.", "short",
          (of_version("alpine_operations_total", 'kind="up"', 'outcome=~"succeeded|failed"', window="30m"), "{{version}}")),
    graph("Watched errors a hundred ups", "The plan's four codes, by version, of an hour.", "short",
          ("100 * " + of_version("alpine_errors_total", coded(WATCHED), by="error_code", window="1h") + " / on (version) group_left "
           + of_version("alpine_operations_total", 'kind="up"', window="1h"), "{{error_code}} {{version}}"), runbooks=["release-errors"]),
    graph("Watched errors now and before", "Of an hour, now and two days ago: before any release that is younger.", "short",
          (increase("alpine_errors_total", coded(WATCHED), by="error_code", window="1h"), "{{error_code}}"),
          (f"sum by (error_code) (increase({sel('alpine_errors_total', coded(WATCHED))}[1h] offset 2d))", "{{error_code}}, 2 days ago"),
          runbooks=["release-errors"]),
    graph("Time to ready (p95)", "By version, of an hour.", "s",
          (f"histogram_quantile(0.95, {of_version('alpine_time_to_ready_seconds_bucket', by='le', window='1h')})", "{{version}}"),
          thresholds=[(480, "red")], runbooks=["time-to-ready"]),
    graph("Time of a phase (p95)", "By version, of an hour; of phases that were done.", "s",
          ("histogram_quantile(0.95, " + of_version("alpine_operation_phase_duration_seconds_bucket", 'outcome="ok"', by="phase, le", window="1h") + ")",
           "{{phase}} {{version}}")),
    graph("List of sessions (p95)", "By version.", "s",
          (f"histogram_quantile(0.95, {of_version('alpine_http_request_duration_seconds_bucket', LIST, by='le')})", "{{version}}"),
          thresholds=[(1, "red")], runbooks=["list-slow"]),
    graph("Answers 5xx", "As a part of all, by version.", "percentunit",
          (of_version("alpine_http_requests_total", 'status="5xx"') + " / " + of_version("alpine_http_requests_total"), "{{version}}")),
    graph("Orphans, adoptions, fenced writes", "Of an hour, by version of the worker that saw them.", "short",
          (of_version("alpine_orphans_total", window="1h"), "orphans {{version}}"), (of_version("alpine_lease_adoptions_total", window="1h"), "adoptions {{version}}"),
          (of_version("alpine_fenced_writes_total", window="1h"), "fenced writes {{version}}"), runbooks=["abort-orphans", "orphans"]),
    graph("Memory", "Resident memory of the largest process of each version.", "bytes",
          (f"max by (version) ({sel('alpine_process_resident_memory_bytes')} * on (environment, job, instance) group_left (version) alpine_build_info)",
           "{{version}}")),
]  # fmt: skip

DASHBOARDS = [
    {"name": "overview", "description": "Is it well? Traffic, latency, processes.", "panels": OVERVIEW},
    {"name": "lifecycle", "description": "Operations from accept to end, and the workers that carry them.", "panels": LIFECYCLE},
    {"name": "errors", "description": "Error codes: the monitoring plan's four first.", "panels": ERRORS},
    {"name": "database", "description": "What the servers have of PostgreSQL.", "panels": DATABASE},
    {"name": "release", "description": "One version against another, for 48 hours after a release.", "from": "now-2d", "panels": RELEASE},
]
