-- Append-only: every change of a session's state, and its event stream.
CREATE TABLE transitions (
    tenant_id    text        NOT NULL,
    session_id   uuid        NOT NULL,
    seq          bigint      NOT NULL,
    from_state   text,
    to_state     text        NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    actor        text        NOT NULL,
    reason       text        NOT NULL,
    operation_id uuid        NOT NULL,
    fence        bigint      NOT NULL,
    CONSTRAINT transitions_pkey PRIMARY KEY (tenant_id, session_id, seq),
    CONSTRAINT transitions_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id),
    CONSTRAINT transitions_path CHECK (lifecycle_allowed(from_state, to_state)),
    CONSTRAINT transitions_first CHECK ((from_state IS NULL) = (seq = 1))
);
