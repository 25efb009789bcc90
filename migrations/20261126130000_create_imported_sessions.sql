-- Sessions that were brought in from another ledger: under which id they stood there, and what was brought. A row
-- stays when its session is swept: the same file brings it in once.
CREATE TABLE imported_sessions (
    tenant_id   text        NOT NULL,
    original_id text        NOT NULL,
    session_id  uuid        NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    imported_by text        NOT NULL,
    -- Of the whole request.
    sha256      bytea       NOT NULL,
    -- The request without credentials, and without the record where that became the session's. JSON.
    bundle      text        NOT NULL,
    CONSTRAINT imported_sessions_pkey PRIMARY KEY (tenant_id, original_id),
    CONSTRAINT imported_sessions_original_id CHECK (length(original_id) BETWEEN 1 AND 200),
    CONSTRAINT imported_sessions_sha256 CHECK (octet_length(sha256) = 32),
    CONSTRAINT imported_sessions_bundle CHECK (octet_length(bundle) <= 3145728)
);
CREATE UNIQUE INDEX imported_sessions_by_session ON imported_sessions (tenant_id, session_id);

CREATE TRIGGER imported_sessions_append_only BEFORE UPDATE OR DELETE ON imported_sessions FOR EACH ROW EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER imported_sessions_not_truncated BEFORE TRUNCATE ON imported_sessions EXECUTE FUNCTION guard_append_only();

GRANT SELECT, INSERT ON imported_sessions TO alpine_api;
GRANT SELECT ON imported_sessions TO alpine_worker;

ALTER TABLE imported_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE imported_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY of_acting_tenant ON imported_sessions TO alpine_api USING (tenant_id = (SELECT current_setting('alpine.tenant')::acting_tenant));
CREATE POLICY of_every_tenant ON imported_sessions TO alpine_worker USING (true);
