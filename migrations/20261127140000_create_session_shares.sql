-- Who else may use a session's host, and until when. A row is what a link or a name counts for: without it neither does.
CREATE TABLE session_shares (
    tenant_id     text        NOT NULL,
    session_id    uuid        NOT NULL,
    share_id      uuid        NOT NULL,
    -- Of the host; NULL: the session's own program.
    port          integer,
    -- NULL: whoever has the link.
    principal_ids text[],
    created_by    text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    CONSTRAINT session_shares_pkey PRIMARY KEY (tenant_id, session_id, share_id),
    CONSTRAINT session_shares_port CHECK (port BETWEEN 1 AND 65535),
    CONSTRAINT session_shares_with CHECK (cardinality(principal_ids) BETWEEN 1 AND 32)
);

CREATE INDEX session_shares_by_end ON session_shares (expires_at);

GRANT SELECT, INSERT, DELETE ON session_shares TO alpine_api;
GRANT SELECT (expires_at), DELETE ON session_shares TO alpine_worker;

ALTER TABLE session_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY of_acting_tenant ON session_shares TO alpine_api
    USING (tenant_id = (SELECT current_setting('alpine.tenant')::acting_tenant));
CREATE POLICY of_every_tenant ON session_shares TO alpine_worker USING (true);
