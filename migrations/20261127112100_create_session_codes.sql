-- One-time codes with which a browser is let into a session's host: by their digests, each until it is spent, or was good for long
-- enough and is swept.
CREATE TABLE session_codes (
    tenant_id   text        NOT NULL,
    code_sha256 bytea       NOT NULL,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT session_codes_pkey PRIMARY KEY (tenant_id, code_sha256),
    CONSTRAINT session_codes_digest CHECK (octet_length(code_sha256) = 32)
);

CREATE INDEX session_codes_by_end ON session_codes (expires_at);

GRANT SELECT, INSERT, DELETE ON session_codes TO alpine_api;
GRANT SELECT (expires_at), DELETE ON session_codes TO alpine_worker;

ALTER TABLE session_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY of_acting_tenant ON session_codes TO alpine_api
    USING (tenant_id = (SELECT current_setting('alpine.tenant')::acting_tenant));
CREATE POLICY of_every_tenant ON session_codes TO alpine_worker USING (true);
