-- The durable payload. The bytes are the truth; the digest is checked where they are stored.
CREATE TABLE session_records (
    tenant_id         text        NOT NULL,
    session_id        uuid        NOT NULL,
    persist_attempt   integer     NOT NULL,
    durable_object_id text        NOT NULL,
    payload           bytea       NOT NULL,
    sha256            bytea       NOT NULL,
    operation_id      uuid        NOT NULL,
    fence             bigint      NOT NULL,
    persisted_at      timestamptz NOT NULL,
    -- When it was read back on another connection and found equal.
    verified_at       timestamptz,
    CONSTRAINT session_records_pkey PRIMARY KEY (tenant_id, session_id, persist_attempt),
    CONSTRAINT session_records_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id),
    CONSTRAINT session_records_size CHECK (octet_length(payload) <= 524288),
    CONSTRAINT session_records_digest CHECK (sha256(payload) = sha256)
);
