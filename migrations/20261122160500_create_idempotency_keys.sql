-- Insert-only. The scope is columns, never one joined text: `a` + `b:c` is not `a:b` + `c`.
CREATE TABLE idempotency_keys (
    tenant_id    text        NOT NULL,
    principal_id text        NOT NULL,
    action       text        NOT NULL,
    key          text        NOT NULL,
    fingerprint  bytea       NOT NULL,
    operation_id uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, principal_id, action, key),
    CONSTRAINT idempotency_keys_operation_fkey FOREIGN KEY (tenant_id, operation_id) REFERENCES operations (tenant_id, operation_id),
    CONSTRAINT idempotency_keys_fingerprint CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT idempotency_keys_action CHECK (action IN ('up'))
);
