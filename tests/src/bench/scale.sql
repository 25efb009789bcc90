-- SESSIONS of 200 tenants as they are after more than a year: a tenth in one tenant, one in five ready, the others stopped and
-- those that stopped more than 30 days ago swept. Ann (of the big tenant) and Bob (of a small one) have 500 ready ones each.
-- Ids are in the order of time, as the server makes them.
INSERT INTO tenants (tenant_id) SELECT 'dev' UNION ALL SELECT 't' || i FROM generate_series(1, 199) i;

INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, transition_seq, event_seq, operation_id,
    target_commit_sha, sandbox, opencode_url, durable_object_id, created_at, updated_at, ready_at, stopped_at, persisted_at, history_swept_at)
SELECT tenant, session, principal, 'https://github.com/org/repo' || n % 50 || '.git', 'main', true,
    CASE WHEN ready THEN 'ready' ELSE 'stopped' END, CASE WHEN ready THEN 5 ELSE 8 END, CASE WHEN ready THEN 12 ELSE 17 END,
    overlay(session::text PLACING CASE WHEN ready THEN 'a' ELSE 'b' END FROM 20)::uuid,
    md5(n::text) || 'ffffffff',
    jsonb_build_object('provider', 'local', 'session', 'ses_' || replace(session::text, '-', ''), 'detail', jsonb_build_object(
        'directory', '/var/lib/alpine/sandboxes/ses_' || replace(session::text, '-', ''), 'root', md5((n % 1000)::text))),
    'http://127.0.0.1:' || 20000 + n % 10000 || '/', CASE WHEN NOT ready THEN 'rec_' || replace(session::text, '-', '') END,
    begun, CASE WHEN ready THEN begun ELSE ended END + interval '3 s', begun + interval '3 s',
    CASE WHEN NOT ready THEN ended END, CASE WHEN NOT ready THEN ended END,
    CASE WHEN NOT ready AND ended < now() - interval '30 days' THEN ended + interval '30 days' END
FROM (
    SELECT n, ready, tenant, principal, begun, begun + interval '1 hour' AS ended,
        (lpad(to_hex((extract(epoch FROM begun) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || left(md5(n::text), 15))::uuid
            AS session
    FROM (
        SELECT n, ready,
            CASE WHEN n <= SESSIONS / 10 THEN 'dev' WHEN n <= SESSIONS / 10 + 500 THEN 't1' ELSE 't' || n % 199 + 1 END AS tenant,
            CASE WHEN n <= 500 THEN 'ann' WHEN n <= SESSIONS / 10 THEN 'p' || n % 1000
                WHEN n <= SESSIONS / 10 + 500 THEN 'bob' ELSE 'p' || n % 45 END AS principal,
            now() - interval '1 hour' - CASE WHEN ready THEN interval '7 days' ELSE interval '400 days' END * (hashint8(n) & 65535) / 65536 AS begun
        FROM generate_series(1, SESSIONS) n, LATERAL (SELECT n % 5 = 0 OR n <= 500 OR n BETWEEN SESSIONS / 10 + 1 AND SESSIONS / 10 + 500) AS r (ready)
    ) AS numbered
    ORDER BY begun
) AS made;

INSERT INTO leases (tenant_id, session_id, fence) SELECT tenant_id, session_id, CASE state WHEN 'ready' THEN 1 ELSE 2 END FROM sessions;

-- The last operation is each session's; the one before it goes with the history.
INSERT INTO operations (tenant_id, operation_id, session_id, kind, status, phase, actor, deadline_at, created_at, started_at, finished_at)
SELECT tenant_id, operation_id, session_id, CASE state WHEN 'ready' THEN 'up' ELSE 'down' END, 'succeeded',
    CASE state WHEN 'ready' THEN 'start' ELSE 'destroy' END, principal_id, updated_at, updated_at, updated_at, updated_at FROM sessions
UNION ALL
SELECT tenant_id, overlay(operation_id::text PLACING 'a' FROM 20)::uuid, session_id, 'up', 'succeeded', 'start', principal_id, ready_at,
    created_at, created_at, ready_at FROM sessions WHERE state = 'stopped' AND history_swept_at IS NULL;

-- The first operation's key, for three days after its end.
INSERT INTO idempotency_keys (tenant_id, principal_id, action, key, fingerprint, operation_id, created_at)
SELECT o.tenant_id, actor, 'up', left(md5(o.operation_id::text), 32), sha256(o.operation_id::text::bytea), o.operation_id, o.created_at
FROM operations o WHERE kind = 'up' AND finished_at > now() - interval '72 hours';

INSERT INTO transitions (tenant_id, session_id, seq, event_seq, from_state, to_state, at, actor, reason, operation_id, fence)
SELECT s.tenant_id, s.session_id, t.seq, t.event_seq, t.from_state, t.to_state, CASE WHEN t.seq < 6 THEN s.created_at ELSE s.updated_at END,
    CASE WHEN t.seq IN (1, 6) THEN s.principal_id ELSE 'system' END, t.reason, s.operation_id, CASE WHEN t.seq < 6 THEN 1 ELSE 2 END
FROM sessions s, (VALUES
    (1, 1, NULL, 'requested', 'up accepted'),
    (2, 2, 'requested', 'provisioning', 'main is at 8c1a5a4f5e3bd0c1a2f4a9b8e7d6c5f4a3b2c1d0'),
    (3, 3, 'provisioning', 'repo_syncing', 'sandbox made'),
    (4, 8, 'repo_syncing', 'installing', 'cloned at 8c1a5a4f5e3bd0c1a2f4a9b8e7d6c5f4a3b2c1d0'),
    (5, 12, 'installing', 'ready', 'every readiness condition holds'),
    (6, 13, 'ready', 'stopping', 'down accepted'),
    (7, 15, 'stopping', 'persisting', 'no process is left'),
    (8, 17, 'persisting', 'stopped', 'the record is stored and verified')
) AS t (seq, event_seq, from_state, to_state, reason)
WHERE t.seq <= s.transition_seq AND (s.history_swept_at IS NULL OR t.seq = s.transition_seq)
