-- Sealed secrets (AEAD; tenant and id are bound in as associated data). A request's own token lives
-- as long as its operation.
CREATE TABLE credentials (
    tenant_id     text        NOT NULL,
    credential_id uuid        NOT NULL,
    operation_id  uuid        NOT NULL,
    key_id        text        NOT NULL,
    sealed        bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credentials_pkey PRIMARY KEY (tenant_id, credential_id),
    CONSTRAINT credentials_operation_fkey FOREIGN KEY (tenant_id, operation_id) REFERENCES operations (tenant_id, operation_id)
);
CREATE UNIQUE INDEX credentials_of_operation ON credentials (tenant_id, operation_id);
