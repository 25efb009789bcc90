-- What no query, however wrong, may do to a session.

CREATE FUNCTION refuse(rule text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', what USING ERRCODE = 'check_violation', CONSTRAINT = rule;
END $$;

CREATE FUNCTION sessions_guard_begin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse('sessions_begin_requested', format('a session begins as requested, not as %s', NEW.state));
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_begin_requested BEFORE INSERT ON sessions
    FOR EACH ROW WHEN (NEW.state <> 'requested' OR NEW.transition_seq <> 1)
    EXECUTE FUNCTION sessions_guard_begin();

CREATE FUNCTION sessions_guard_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse('sessions_identity', 'whose a session is, its repository, its branch and its pinned commit do not change');
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_identity BEFORE UPDATE ON sessions
    FOR EACH ROW WHEN (
        (OLD.tenant_id, OLD.session_id, OLD.principal_id, OLD.repo_url, OLD.branch, OLD.public, OLD.created_at)
            IS DISTINCT FROM (NEW.tenant_id, NEW.session_id, NEW.principal_id, NEW.repo_url, NEW.branch, NEW.public, NEW.created_at)
        OR OLD.target_commit_sha <> NEW.target_commit_sha)
    EXECUTE FUNCTION sessions_guard_identity();

-- `stopped` says that the record is stored, was read back, and carries the session's own id and time.
CREATE FUNCTION sessions_guard_stopped() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM session_records r
        WHERE r.tenant_id = NEW.tenant_id AND r.session_id = NEW.session_id AND r.persist_attempt = NEW.persist_attempt
          AND r.verified_at IS NOT NULL AND r.durable_object_id = NEW.durable_object_id AND r.persisted_at = NEW.persisted_at)
    THEN
        PERFORM refuse('sessions_stopped_is_verified', 'a session is stopped only with a verified record');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER sessions_stopped_is_verified BEFORE INSERT OR UPDATE ON sessions
    FOR EACH ROW WHEN (NEW.state = 'stopped')
    EXECUTE FUNCTION sessions_guard_stopped();

-- At commit: the latest transition is the state, exactly the states that something works on have a live
-- operation, and there is a lease.
CREATE FUNCTION sessions_check_consistent() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    session record;
BEGIN
    SELECT s.state, s.transition_seq INTO session FROM sessions s
    WHERE s.tenant_id = NEW.tenant_id AND s.session_id = NEW.session_id;
    IF NOT EXISTS (
        SELECT FROM transitions t
        WHERE t.tenant_id = NEW.tenant_id AND t.session_id = NEW.session_id
          AND t.seq = session.transition_seq AND t.to_state = session.state)
    THEN
        PERFORM refuse('sessions_consistent', format('no transition leads to %s', session.state));
    END IF;
    IF session.state IN ('requested', 'provisioning', 'repo_syncing', 'installing', 'failing', 'stopping', 'persisting') IS DISTINCT FROM EXISTS (
        SELECT FROM operations o
        WHERE o.tenant_id = NEW.tenant_id AND o.session_id = NEW.session_id AND o.status IN ('queued', 'running'))
    THEN
        PERFORM refuse('sessions_consistent', format('in %s a session has a live operation if and only if something works on it', session.state));
    END IF;
    IF NOT EXISTS (SELECT FROM leases l WHERE l.tenant_id = NEW.tenant_id AND l.session_id = NEW.session_id) THEN
        PERFORM refuse('sessions_consistent', 'a session has a lease');
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER sessions_consistent AFTER INSERT ON sessions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION sessions_check_consistent();
CREATE CONSTRAINT TRIGGER sessions_consistent_still AFTER UPDATE ON sessions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.state <> NEW.state OR OLD.transition_seq <> NEW.transition_seq)
    EXECUTE FUNCTION sessions_check_consistent();
