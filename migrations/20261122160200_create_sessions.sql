CREATE TABLE sessions (
    tenant_id         text        NOT NULL,
    session_id        uuid        NOT NULL,
    principal_id      text        NOT NULL,
    repo_url          text        NOT NULL,
    branch            text        NOT NULL,
    public            boolean     NOT NULL,
    state             text        NOT NULL,
    -- The number of the latest transition.
    transition_seq    bigint      NOT NULL DEFAULT 1,
    -- The latest operation.
    operation_id      uuid        NOT NULL,
    persist_attempt   integer     NOT NULL DEFAULT 1,
    target_commit_sha text,
    sandbox           jsonb,
    opencode_url      text,
    last_error        jsonb,
    durable_object_id text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    ready_at          timestamptz,
    stopped_at        timestamptz,
    persisted_at      timestamptz,
    -- When the sweeper next tries a clean-up or close that failed, and how often it has.
    sweep_at          timestamptz,
    sweep_attempt     integer     NOT NULL DEFAULT 0,
    CONSTRAINT sessions_pkey PRIMARY KEY (tenant_id, session_id),
    CONSTRAINT sessions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT sessions_state CHECK (state IN (
        'requested', 'provisioning', 'repo_syncing', 'installing', 'ready', 'failing', 'failed', 'cleanup_failed',
        'stopping', 'close_failed', 'persisting', 'persist_failed', 'stopped_unpersisted', 'stopped')),
    CONSTRAINT sessions_ready_is_proved CHECK (
        state <> 'ready' OR (ready_at IS NOT NULL AND target_commit_sha IS NOT NULL AND opencode_url IS NOT NULL)),
    CONSTRAINT sessions_stopped_is_persisted CHECK (
        state <> 'stopped' OR (stopped_at IS NOT NULL AND persisted_at IS NOT NULL AND durable_object_id IS NOT NULL))
) WITH (fillfactor = 80);

-- `list`: what is active is always there, what is final for a day. Two ranges, never an OR.
CREATE INDEX sessions_active_own ON sessions (tenant_id, principal_id, updated_at DESC, session_id DESC)
    WHERE state NOT IN ('stopped', 'failed');
CREATE INDEX sessions_final_own ON sessions (tenant_id, principal_id, updated_at DESC, session_id DESC)
    WHERE state IN ('stopped', 'failed');
CREATE INDEX sessions_active_tenant ON sessions (tenant_id, updated_at DESC, session_id DESC)
    WHERE state NOT IN ('stopped', 'failed');
CREATE INDEX sessions_final_tenant ON sessions (tenant_id, updated_at DESC, session_id DESC)
    WHERE state IN ('stopped', 'failed');
CREATE INDEX sessions_sweep ON sessions (sweep_at) WHERE sweep_at IS NOT NULL;

CREATE FUNCTION sessions_guard_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lifecycle_allowed(OLD.state, NEW.state) THEN
        RAISE EXCEPTION 'a session cannot go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sessions_state_path';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER sessions_state_path BEFORE UPDATE OF state ON sessions
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
    EXECUTE FUNCTION sessions_guard_state();
