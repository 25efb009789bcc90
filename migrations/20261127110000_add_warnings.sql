-- When those who watch a session are told that its end is near: in the last quarter of its lifetime, or the last 15 minutes. NULL: there
-- is nothing to tell, or it has been told.
ALTER TABLE sessions ADD COLUMN warn_at timestamptz;

CREATE FUNCTION lifetime_warning(expires timestamptz, lifetime integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT expires - least(interval '15 minutes', make_interval(secs => lifetime / 4.0))
$$;

CREATE OR REPLACE FUNCTION sessions_begin_lifetime() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.expires_at := NEW.ready_at + make_interval(secs => NEW.max_lifetime_seconds);
    NEW.warn_at := lifetime_warning(NEW.expires_at, NEW.max_lifetime_seconds);
    RETURN NEW;
END $$;

-- Whoever moves the end, a server of before too, has it told anew.
CREATE FUNCTION sessions_move_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.warn_at := lifetime_warning(NEW.expires_at, NEW.max_lifetime_seconds);
    RETURN NEW;
END $$;
CREATE TRIGGER sessions_move_end BEFORE UPDATE OF expires_at ON sessions
    FOR EACH ROW WHEN (NEW.expires_at IS DISTINCT FROM OLD.expires_at) EXECUTE FUNCTION sessions_move_end();
