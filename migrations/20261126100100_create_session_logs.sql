-- What git, the installer and the served program wrote, in pieces of whole lines. Bounded: the oldest pieces go first,
-- so a log may begin with a number above 1.
CREATE TABLE session_logs (
    tenant_id  text        NOT NULL,
    session_id uuid        NOT NULL,
    -- 1, 2, 3, without gaps.
    seq        bigint      NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    source     text        NOT NULL,
    text       text        NOT NULL,
    CONSTRAINT session_logs_pkey PRIMARY KEY (tenant_id, session_id, seq),
    CONSTRAINT session_logs_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id),
    CONSTRAINT session_logs_source CHECK (source IN ('git', 'install', 'server')),
    CONSTRAINT session_logs_text CHECK (octet_length(text) <= 65536)
);

-- One row a session; whoever appends locks it.
CREATE TABLE session_log_heads (
    tenant_id     text   NOT NULL,
    session_id    uuid   NOT NULL,
    -- The number of the latest piece.
    seq           bigint NOT NULL DEFAULT 0,
    -- What is kept, in bytes.
    bytes         bigint NOT NULL DEFAULT 0,
    -- How much of the served program's output has been taken. Who takes more says from where: of two that read the
    -- same only one appends.
    served_offset bigint NOT NULL DEFAULT 0,
    CONSTRAINT session_log_heads_pkey PRIMARY KEY (tenant_id, session_id),
    CONSTRAINT session_log_heads_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id)
) WITH (fillfactor = 60);

CREATE TRIGGER session_logs_append_only BEFORE UPDATE ON session_logs FOR EACH ROW EXECUTE FUNCTION guard_append_only();

GRANT SELECT ON session_logs, session_log_heads TO alpine_api, alpine_definer;
GRANT SELECT, INSERT, DELETE ON session_logs TO alpine_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON session_log_heads TO alpine_worker;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['session_logs', 'session_log_heads'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY of_acting_tenant ON %I TO alpine_api USING (tenant_id = (SELECT current_setting(''alpine.tenant'')::acting_tenant))', name);
        EXECUTE format('CREATE POLICY of_every_tenant ON %I TO alpine_worker USING (true)', name);
        EXECUTE format('CREATE POLICY of_definer ON %I TO alpine_definer USING (true)', name);
    END LOOP;
END $$;
