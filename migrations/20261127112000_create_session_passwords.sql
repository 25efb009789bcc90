-- The password of each session's own server, which the gateway alone gives it. Sealed; bound to the row. From before the program starts until
-- the session is final.
CREATE TABLE session_passwords (
    tenant_id  text        NOT NULL,
    session_id uuid        NOT NULL,
    key_id     text        NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT session_passwords_pkey PRIMARY KEY (tenant_id, session_id)
);
-- Rotation goes through what is sealed with another key.
CREATE INDEX session_passwords_by_key ON session_passwords (key_id);

-- A password is opened where sandboxes are, and nowhere else: who only serves requests has no right to the table.
GRANT SELECT, INSERT, UPDATE (key_id, sealed), DELETE ON session_passwords TO alpine_worker;

ALTER TABLE session_passwords ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_passwords FORCE ROW LEVEL SECURITY;
CREATE POLICY of_acting_tenant ON session_passwords TO alpine_api
    USING (tenant_id = (SELECT current_setting('alpine.tenant')::acting_tenant));
CREATE POLICY of_every_tenant ON session_passwords TO alpine_worker USING (true);
