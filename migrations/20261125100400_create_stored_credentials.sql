-- Credentials for repositories that outlive an operation: a principal's, or (without one) its tenant's. Sealed like
-- those of a request, with the row's own id as associated data.
CREATE TABLE stored_credentials (
    tenant_id     text        NOT NULL,
    credential_id uuid        NOT NULL,
    -- NULL: the tenant's.
    principal_id  text,
    -- Lower case, with `:port` where it is not the scheme's own.
    host          text        NOT NULL,
    kind          text        NOT NULL,
    key_id        text        NOT NULL,
    sealed        bytea       NOT NULL,
    -- Of a deploy key: the host keys that are pinned, as in a known_hosts file.
    known_hosts   text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text        NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stored_credentials_pkey PRIMARY KEY (tenant_id, credential_id),
    CONSTRAINT stored_credentials_kind CHECK (kind IN ('token', 'deploy_key')),
    CONSTRAINT stored_credentials_pinned CHECK ((kind = 'deploy_key') = (known_hosts IS NOT NULL)),
    CONSTRAINT stored_credentials_host CHECK (length(host) BETWEEN 1 AND 262)
);
-- One a host, kind and owner. `''` is no principal's id.
CREATE UNIQUE INDEX stored_credentials_one ON stored_credentials (tenant_id, coalesce(principal_id, ''), host, kind);
-- Rotation goes through what is sealed with another key.
CREATE INDEX stored_credentials_by_key ON stored_credentials (key_id);
CREATE INDEX credentials_by_key ON credentials (key_id);
