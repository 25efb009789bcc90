-- After how many seconds without a use a ready session is stopped; `NULL`: however long nobody uses it.
ALTER TABLE sessions
    ADD COLUMN idle_timeout_seconds integer,
    -- The last use that is known. In no index: it is all that a use changes, and a use is frequent.
    ADD COLUMN used_at timestamptz,
    -- When it is to be looked at, to warn of its end or for the end itself. A use does not move it: it may be earlier than either is, and is never later.
    ADD COLUMN idle_look_at timestamptz,
    ADD CONSTRAINT sessions_idle CHECK (
        idle_timeout_seconds > 0 AND (idle_look_at IS NULL OR (idle_timeout_seconds IS NOT NULL AND used_at IS NOT NULL))) NOT VALID;

-- When a session is stopped that nobody uses any more.
CREATE FUNCTION idle_end(used timestamptz, timeout integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT used + make_interval(secs => timeout)
$$;

-- The last use, as it counts: where the end is past and nobody was warned of it, while nobody could use anything say, there is time for the warning.
CREATE FUNCTION idle_since(used timestamptz, timeout integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN idle_end(used, timeout) > now() THEN used
        ELSE now() + least(interval '15 minutes', make_interval(secs => timeout / 4.0)) - make_interval(secs => timeout) END
$$;

-- When it is to be looked at next: for the warning, or for the end once that is given.
CREATE FUNCTION idle_next(used timestamptz, timeout integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN lifetime_warning(idle_end(used, timeout), timeout) > now() THEN lifetime_warning(idle_end(used, timeout), timeout)
        ELSE idle_end(used, timeout) END
$$;

-- Here and not in the server's statement: a worker of an earlier version makes sessions ready too, and knows nothing of this.
CREATE FUNCTION sessions_begin_idle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.used_at := NEW.ready_at;
    NEW.idle_look_at := lifetime_warning(idle_end(NEW.used_at, NEW.idle_timeout_seconds), NEW.idle_timeout_seconds);
    RETURN NEW;
END $$;
CREATE TRIGGER sessions_begin_idle BEFORE UPDATE OF state ON sessions
    FOR EACH ROW WHEN (NEW.state = 'ready' AND OLD.state <> 'ready' AND NEW.idle_timeout_seconds IS NOT NULL)
    EXECUTE FUNCTION sessions_begin_idle();

GRANT UPDATE (used_at) ON sessions TO alpine_api;
