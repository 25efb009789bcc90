-- While servers are replaced one after the other, an older one still writes transitions without a number among the
-- session's events. They are numbered here as a newer one would have. Its statement changes the session and appends
-- the transition at once.
CREATE FUNCTION sessions_number_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.event_seq := OLD.event_seq + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER sessions_number_event BEFORE UPDATE OF transition_seq ON sessions
    FOR EACH ROW WHEN (NEW.transition_seq > OLD.transition_seq AND NEW.event_seq = OLD.event_seq)
    EXECUTE FUNCTION sessions_number_event();

CREATE FUNCTION transitions_number_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Where the session has no number yet, its transitions are all that there is, and their own numbers count.
    SELECT s.event_seq + CASE WHEN s.transition_seq >= NEW.seq THEN 0 ELSE 1 END INTO NEW.event_seq
    FROM sessions s WHERE s.tenant_id = NEW.tenant_id AND s.session_id = NEW.session_id;
    RETURN NEW;
END $$;
CREATE TRIGGER transitions_number_event BEFORE INSERT ON transitions
    FOR EACH ROW WHEN (NEW.event_seq IS NULL AND NEW.seq > 1)
    EXECUTE FUNCTION transitions_number_event();

-- A commit once pinned is not taken away either. An import passes through an empty one.
DROP TRIGGER sessions_identity ON sessions;
CREATE TRIGGER sessions_identity BEFORE UPDATE ON sessions
    FOR EACH ROW WHEN (
        (OLD.tenant_id, OLD.session_id, OLD.principal_id, OLD.repo_url, OLD.branch, OLD.public, OLD.created_at)
            IS DISTINCT FROM (NEW.tenant_id, NEW.session_id, NEW.principal_id, NEW.repo_url, NEW.branch, NEW.public, NEW.created_at)
        OR OLD.target_commit_sha <> NEW.target_commit_sha
        OR (OLD.target_commit_sha <> '' AND NEW.target_commit_sha IS NULL))
    EXECUTE FUNCTION sessions_guard_identity();
