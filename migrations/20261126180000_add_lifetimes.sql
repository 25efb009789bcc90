-- How many seconds a session may be ready, and until when it is. `NULL`: for as long as somebody wants it.
ALTER TABLE sessions ADD COLUMN max_lifetime_seconds integer, ADD COLUMN expires_at timestamptz;

-- Here and not in the server's statement: a worker of an earlier version makes sessions ready too, and knows nothing of this.
CREATE FUNCTION sessions_begin_lifetime() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.expires_at := NEW.ready_at + make_interval(secs => NEW.max_lifetime_seconds);
    RETURN NEW;
END $$;
CREATE TRIGGER sessions_begin_lifetime BEFORE UPDATE OF state ON sessions
    FOR EACH ROW WHEN (NEW.state = 'ready' AND OLD.state <> 'ready' AND NEW.max_lifetime_seconds IS NOT NULL)
    EXECUTE FUNCTION sessions_begin_lifetime();

GRANT UPDATE (expires_at) ON sessions TO alpine_api;
