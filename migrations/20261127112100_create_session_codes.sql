-- One-time codes with which a browser is let into a session's host: by their digests, each until it is spent, or has been
-- good for long enough and the tenant's next one is made.
CREATE TABLE session_codes (
    tenant_id   text        NOT NULL,
    code_sha256 bytea       NOT NULL,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT session_codes_pkey PRIMARY KEY (tenant_id, code_sha256),
    CONSTRAINT session_codes_digest CHECK (octet_length(code_sha256) = 32)
);

GRANT SELECT, INSERT, DELETE ON session_codes TO alpine_api;

ALTER TABLE session_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY of_acting_tenant ON session_codes TO alpine_api
    USING (tenant_id = (SELECT current_setting('alpine.tenant')::acting_tenant));
