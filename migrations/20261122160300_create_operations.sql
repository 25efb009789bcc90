CREATE TABLE operations (
    tenant_id        text        NOT NULL,
    operation_id     uuid        NOT NULL,
    session_id       uuid        NOT NULL,
    kind             text        NOT NULL,
    status           text        NOT NULL DEFAULT 'queued',
    phase            text        NOT NULL,
    -- Failed tries of the phase, and when it began (tries included).
    phase_attempt    integer     NOT NULL DEFAULT 0,
    phase_started_at timestamptz,
    persist_attempt  integer     NOT NULL DEFAULT 1,
    force            boolean     NOT NULL DEFAULT false,
    actor            text        NOT NULL,
    reason           text,
    -- Why it failed; a replay is rendered from it. Set as soon as it is known, before the clean-up ends.
    error            jsonb,
    -- W3C trace context of the request.
    traceparent      text,
    -- Not claimed before.
    available_at     timestamptz NOT NULL DEFAULT now(),
    deadline_at      timestamptz NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CONSTRAINT operations_pkey PRIMARY KEY (tenant_id, operation_id),
    CONSTRAINT operations_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id),
    CONSTRAINT operations_kind CHECK (kind IN ('up', 'down', 'cleanup')),
    CONSTRAINT operations_status CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT operations_finished CHECK ((status IN ('queued', 'running')) = (finished_at IS NULL)),
    CONSTRAINT operations_error CHECK (status NOT IN ('failed', 'cancelled') OR error IS NOT NULL)
) WITH (fillfactor = 80);

-- At most one operation of a session has not ended.
CREATE UNIQUE INDEX operations_one_live ON operations (tenant_id, session_id) WHERE status IN ('queued', 'running');
-- What a worker may claim.
CREATE INDEX operations_claim ON operations (available_at) WHERE status IN ('queued', 'running');
CREATE INDEX operations_of_session ON operations (tenant_id, session_id, created_at);
