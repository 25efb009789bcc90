-- What one server asks on behalf of all who watch through it, of every tenant at once. Who watches what was judged when
-- the watching began; each answer is handed to those alone who asked for that tenant's row.

-- Operations as they are shown, with what their sessions show now.
CREATE FUNCTION watched_operations(tenants text[], ids uuid[]) RETURNS TABLE (
        operation_id uuid, session_id uuid, kind text, status text, phase text, error jsonb, created_at timestamptz, finished_at timestamptz,
        principal_id text, state text, target_commit_sha text, opencode_url text, ready_at timestamptz, durable_object_id text,
        persisted_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT o.operation_id, o.session_id, o.kind, o.status, o.phase, o.error, o.created_at, o.finished_at,
        s.principal_id, s.state, s.target_commit_sha, s.opencode_url, s.ready_at, s.durable_object_id, s.persisted_at
    FROM unnest(tenants, ids) AS w (tenant_id, operation_id)
    JOIN operations o ON o.tenant_id = w.tenant_id AND o.operation_id = w.operation_id
    JOIN sessions s ON s.tenant_id = o.tenant_id AND s.session_id = o.session_id
$$;

-- How far sessions are: their states, and the numbers of their latest events and pieces of log.
CREATE FUNCTION watched_heads(tenants text[], ids uuid[]) RETURNS TABLE (session_id uuid, state text, event_seq bigint, log_seq bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT s.session_id, s.state, coalesce(s.event_seq, s.transition_seq), coalesce(h.seq, 0)
    FROM unnest(tenants, ids) AS w (tenant_id, session_id)
    JOIN sessions s ON s.tenant_id = w.tenant_id AND s.session_id = w.session_id
    LEFT JOIN session_log_heads h ON h.tenant_id = w.tenant_id AND h.session_id = w.session_id
$$;

-- Of each session up to `most` events that come after its number in `afters`, oldest first.
CREATE FUNCTION watched_events(tenants text[], ids uuid[], afters bigint[], most bigint) RETURNS TABLE (
        session_id uuid, seq bigint, kind text, from_state text, to_state text, at timestamptz, actor text, reason text, operation_id uuid,
        fence bigint, phase text, percent smallint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT w.session_id, e.* FROM unnest(tenants, ids, afters) AS w (tenant_id, session_id, after), LATERAL (
        SELECT * FROM (
            (SELECT coalesce(t.event_seq, t.seq) AS seq, 'transition' AS kind, t.from_state, t.to_state, t.at, t.actor, t.reason,
                t.operation_id, t.fence, NULL AS phase, NULL::smallint AS percent
             FROM transitions t
             WHERE t.tenant_id = w.tenant_id AND t.session_id = w.session_id AND coalesce(t.event_seq, t.seq) > w.after)
            UNION ALL
            (SELECT p.seq, 'progress', p.state, p.state, p.at, p.actor, p.message, p.operation_id, p.fence, p.phase, p.percent
             FROM progress p WHERE p.tenant_id = w.tenant_id AND p.session_id = w.session_id AND p.seq > w.after ORDER BY p.seq LIMIT most)
        ) AS both_kinds ORDER BY both_kinds.seq LIMIT most
    ) AS e ORDER BY w.session_id, e.seq
$$;

-- The same of their logs.
CREATE FUNCTION watched_log(tenants text[], ids uuid[], afters bigint[], most bigint) RETURNS TABLE (
        session_id uuid, seq bigint, at timestamptz, source text, text text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT w.session_id, l.* FROM unnest(tenants, ids, afters) AS w (tenant_id, session_id, after), LATERAL (
        SELECT c.seq, c.at, c.source, c.text FROM session_logs c
        WHERE c.tenant_id = w.tenant_id AND c.session_id = w.session_id AND c.seq > w.after ORDER BY c.seq LIMIT most
    ) AS l ORDER BY w.session_id, l.seq
$$;

GRANT CREATE ON SCHEMA public TO alpine_definer;
ALTER FUNCTION watched_operations(text[], uuid[]) OWNER TO alpine_definer;
ALTER FUNCTION watched_heads(text[], uuid[]) OWNER TO alpine_definer;
ALTER FUNCTION watched_events(text[], uuid[], bigint[], bigint) OWNER TO alpine_definer;
ALTER FUNCTION watched_log(text[], uuid[], bigint[], bigint) OWNER TO alpine_definer;
REVOKE CREATE ON SCHEMA public FROM alpine_definer;
REVOKE EXECUTE ON FUNCTION watched_operations(text[], uuid[]), watched_heads(text[], uuid[]), watched_events(text[], uuid[], bigint[], bigint),
    watched_log(text[], uuid[], bigint[], bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watched_operations(text[], uuid[]), watched_heads(text[], uuid[]), watched_events(text[], uuid[], bigint[], bigint),
    watched_log(text[], uuid[], bigint[], bigint) TO alpine_api;
-- A worker's operation may be ended by a `down` whose hint was lost; it sees the operations of every tenant as it is.
GRANT EXECUTE ON FUNCTION ended_operations(text[], uuid[]) TO alpine_worker;
