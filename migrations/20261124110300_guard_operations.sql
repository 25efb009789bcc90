-- What no query, however wrong, may do to an operation.

CREATE FUNCTION operations_guard_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse('operations_final', 'an operation that has ended does not change: its replays are rendered from it');
    RETURN NULL;
END $$;
CREATE TRIGGER operations_final BEFORE UPDATE ON operations
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL)
    EXECUTE FUNCTION operations_guard_final();

CREATE FUNCTION operations_guard_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse('operations_identity', 'what an operation is, and of which session, does not change');
    RETURN NULL;
END $$;
CREATE TRIGGER operations_identity BEFORE UPDATE ON operations
    FOR EACH ROW WHEN (
        (OLD.tenant_id, OLD.operation_id, OLD.session_id, OLD.kind, OLD.persist_attempt, OLD.actor, OLD.created_at)
            IS DISTINCT FROM (NEW.tenant_id, NEW.operation_id, NEW.session_id, NEW.kind, NEW.persist_attempt, NEW.actor, NEW.created_at))
    EXECUTE FUNCTION operations_guard_identity();

CREATE FUNCTION operations_guard_destroy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM session_records r
        WHERE r.tenant_id = NEW.tenant_id AND r.session_id = NEW.session_id AND r.persist_attempt = NEW.persist_attempt
          AND r.verified_at IS NOT NULL)
    THEN
        PERFORM refuse('operations_destroy_needs_record', 'nothing is destroyed before the record is verified');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER operations_destroy_needs_record BEFORE INSERT OR UPDATE ON operations
    FOR EACH ROW WHEN (NEW.phase = 'destroy')
    EXECUTE FUNCTION operations_guard_destroy();

-- An operation begins and ends together with the change of its session's state.
CREATE CONSTRAINT TRIGGER sessions_consistent AFTER INSERT ON operations DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION sessions_check_consistent();
CREATE CONSTRAINT TRIGGER sessions_consistent_still AFTER UPDATE ON operations DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.finished_at IS DISTINCT FROM NEW.finished_at)
    EXECUTE FUNCTION sessions_check_consistent();
