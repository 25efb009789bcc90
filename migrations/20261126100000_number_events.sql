-- A session's events, transitions and progress alike, are numbered together: 1, 2, 3, without gaps. The session's
-- row is locked by whoever appends, so numbers are committed in their order. NULL, on what was written before: the
-- transitions are all that there is, and their own numbers count.
ALTER TABLE sessions ADD COLUMN event_seq bigint;
ALTER TABLE transitions ADD COLUMN event_seq bigint;

-- How far a phase is. Append-only; rows go with the session's history.
CREATE TABLE progress (
    tenant_id    text        NOT NULL,
    session_id   uuid        NOT NULL,
    -- Of the session's events, not of its progress alone.
    seq          bigint      NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    state        text        NOT NULL,
    phase        text        NOT NULL,
    message      text        NOT NULL,
    percent      smallint,
    actor        text        NOT NULL,
    operation_id uuid        NOT NULL,
    fence        bigint      NOT NULL,
    CONSTRAINT progress_pkey PRIMARY KEY (tenant_id, session_id, seq),
    CONSTRAINT progress_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id),
    CONSTRAINT progress_message CHECK (length(message) <= 1000),
    CONSTRAINT progress_percent CHECK (percent BETWEEN 0 AND 100)
);

CREATE TRIGGER progress_append_only BEFORE UPDATE ON progress FOR EACH ROW EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER progress_kept BEFORE DELETE ON progress FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER progress_not_truncated BEFORE TRUNCATE ON progress EXECUTE FUNCTION guard_append_only();

GRANT UPDATE (event_seq) ON sessions TO alpine_api;
GRANT SELECT ON progress TO alpine_api, alpine_definer;
GRANT SELECT ON transitions TO alpine_definer;
GRANT SELECT, INSERT, DELETE ON progress TO alpine_worker;

ALTER TABLE progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE progress FORCE ROW LEVEL SECURITY;
CREATE POLICY of_acting_tenant ON progress TO alpine_api USING (tenant_id = (SELECT current_setting('alpine.tenant')::acting_tenant));
CREATE POLICY of_every_tenant ON progress TO alpine_worker USING (true);
CREATE POLICY of_definer ON progress TO alpine_definer USING (true);
CREATE POLICY of_definer ON transitions TO alpine_definer USING (true);
