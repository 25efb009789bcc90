-- What admins do to what is not theirs; written in the transaction of the deed.
CREATE TABLE audit_log (
    tenant_id  text        NOT NULL,
    audit_id   bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text        NOT NULL,
    action     text        NOT NULL,
    session_id uuid        NOT NULL,
    owner      text        NOT NULL,
    reason     text,
    request_id text        NOT NULL,
    CONSTRAINT audit_log_pkey PRIMARY KEY (tenant_id, audit_id)
);
