-- Tables that are only added to. Rows go when nobody may ask for them any more, and not a day sooner.

-- 72 h after its operation has ended a key is free again; for as long at least a session's history stays.
CREATE FUNCTION is_past(ended_at timestamptz) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(ended_at <= now() - interval '72 hours', false);

CREATE FUNCTION guard_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse(TG_NAME, format('%s is only added to', TG_TABLE_NAME));
    RETURN NULL;
END $$;

CREATE FUNCTION guard_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Without a session there is nothing to belong to: it goes in this very statement, and has a guard of its own.
    IF EXISTS (
        SELECT FROM sessions s
        WHERE s.tenant_id = OLD.tenant_id AND s.session_id = OLD.session_id
          AND NOT (s.state IN ('stopped', 'failed') AND is_past(s.updated_at)))
    THEN
        PERFORM refuse(TG_NAME, format('%s of this session are still needed', TG_TABLE_NAME));
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER transitions_append_only BEFORE UPDATE ON transitions FOR EACH ROW EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER transitions_kept BEFORE DELETE ON transitions FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER transitions_not_truncated BEFORE TRUNCATE ON transitions EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER operations_kept BEFORE DELETE ON operations FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER leases_not_truncated BEFORE TRUNCATE ON leases EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER leases_kept BEFORE DELETE ON leases FOR EACH ROW EXECUTE FUNCTION guard_history();

CREATE FUNCTION guard_session_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'failed' OR NOT is_past(OLD.updated_at) THEN
        PERFORM refuse('sessions_kept', 'only a session that failed, and long ago, may go');
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER sessions_kept BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION guard_session_kept();

CREATE FUNCTION guard_key_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM operations o WHERE o.tenant_id = OLD.tenant_id AND o.operation_id = OLD.operation_id AND is_past(o.finished_at))
    THEN
        PERFORM refuse('idempotency_keys_kept', 'a key lives 72 hours after its operation has ended');
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER idempotency_keys_insert_only BEFORE UPDATE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER idempotency_keys_kept BEFORE DELETE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION guard_key_kept();
CREATE TRIGGER idempotency_keys_not_truncated BEFORE TRUNCATE ON idempotency_keys EXECUTE FUNCTION guard_append_only();

-- A record is written once, unverified; that it was verified is added once.
CREATE TRIGGER session_records_begin_unverified BEFORE INSERT ON session_records
    FOR EACH ROW WHEN (NEW.verified_at IS NOT NULL) EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER session_records_write_once BEFORE UPDATE ON session_records
    FOR EACH ROW WHEN (
        (OLD.verified_at IS NOT NULL AND OLD.verified_at IS DISTINCT FROM NEW.verified_at)
        OR (OLD.tenant_id, OLD.session_id, OLD.persist_attempt, OLD.durable_object_id, OLD.payload, OLD.sha256, OLD.operation_id, OLD.fence, OLD.persisted_at)
            IS DISTINCT FROM
           (NEW.tenant_id, NEW.session_id, NEW.persist_attempt, NEW.durable_object_id, NEW.payload, NEW.sha256, NEW.operation_id, NEW.fence, NEW.persisted_at))
    EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER session_records_kept BEFORE DELETE ON session_records FOR EACH ROW EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER session_records_not_truncated BEFORE TRUNCATE ON session_records EXECUTE FUNCTION guard_append_only();

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION guard_append_only();
CREATE TRIGGER audit_log_not_truncated BEFORE TRUNCATE ON audit_log EXECUTE FUNCTION guard_append_only();

-- At commit: what is appended carries the fence that counts now, and continues where the last one ended.
CREATE FUNCTION transitions_check_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM leases l WHERE l.tenant_id = NEW.tenant_id AND l.session_id = NEW.session_id AND l.fence = NEW.fence)
    THEN
        PERFORM refuse('transitions_follow_lease', format('fence %s is not the lease''s', NEW.fence));
    END IF;
    IF NOT EXISTS (
        SELECT FROM sessions s WHERE s.tenant_id = NEW.tenant_id AND s.session_id = NEW.session_id AND s.transition_seq >= NEW.seq)
    THEN
        PERFORM refuse('transitions_continue', 'a transition is of its session''s state');
    END IF;
    IF NEW.seq > 1 AND NOT EXISTS (
        SELECT FROM transitions t
        WHERE t.tenant_id = NEW.tenant_id AND t.session_id = NEW.session_id AND t.seq = NEW.seq - 1 AND t.to_state = NEW.from_state)
    THEN
        PERFORM refuse('transitions_continue', 'a transition begins where the last one ended');
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transitions_follow_lease AFTER INSERT ON transitions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION transitions_check_lease();

CREATE FUNCTION session_records_check_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM leases l WHERE l.tenant_id = NEW.tenant_id AND l.session_id = NEW.session_id AND l.fence = NEW.fence)
    THEN
        PERFORM refuse('session_records_follow_lease', format('fence %s is not the lease''s', NEW.fence));
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER session_records_follow_lease AFTER INSERT ON session_records DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION session_records_check_lease();
