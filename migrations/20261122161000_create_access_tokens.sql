-- Personal access tokens: only a hash is kept.
CREATE TABLE access_tokens (
    tenant_id    text        NOT NULL,
    token_id     uuid        NOT NULL,
    principal_id text        NOT NULL,
    name         text        NOT NULL,
    token_sha256 bytea       NOT NULL,
    scopes       text[]      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT access_tokens_pkey PRIMARY KEY (tenant_id, token_id),
    CONSTRAINT access_tokens_hash UNIQUE (token_sha256),
    CONSTRAINT access_tokens_hash_form CHECK (octet_length(token_sha256) = 32)
);
