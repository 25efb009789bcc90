-- Who works on a session. The fence only grows; a write under an old one is refused.
CREATE TABLE leases (
    tenant_id  text   NOT NULL,
    session_id uuid   NOT NULL,
    fence      bigint NOT NULL DEFAULT 0,
    owner      text,
    until      timestamptz,
    CONSTRAINT leases_pkey PRIMARY KEY (tenant_id, session_id),
    CONSTRAINT leases_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id),
    CONSTRAINT leases_held CHECK ((owner IS NULL) = (until IS NULL))
) WITH (fillfactor = 60);

CREATE FUNCTION leases_guard_fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.fence < OLD.fence THEN
        RAISE EXCEPTION 'a fence only grows'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'leases_fence_grows';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER leases_fence_grows BEFORE UPDATE OF fence ON leases
    FOR EACH ROW EXECUTE FUNCTION leases_guard_fence();
