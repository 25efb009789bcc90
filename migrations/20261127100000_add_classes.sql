-- What a session was made in: the class that was chosen, and its size as it stood then. NULL: as the workers are set up.
ALTER TABLE sessions
    ADD COLUMN class text,
    ADD COLUMN memory_mb integer,
    ADD COLUMN cpu_millis integer,
    ADD COLUMN disk_mb integer,
    ADD COLUMN image text,
    -- The longest that it may be extended by.
    ADD COLUMN most_lifetime_seconds integer,
    ADD CONSTRAINT sessions_size CHECK (memory_mb > 0 AND cpu_millis > 0 AND disk_mb > 0) NOT VALID;

CREATE FUNCTION sessions_guard_size() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse('sessions_identity', 'what a session was made in does not change');
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_size_kept BEFORE UPDATE OF class, memory_mb, cpu_millis, disk_mb, image ON sessions
    FOR EACH ROW WHEN ((OLD.class, OLD.memory_mb, OLD.cpu_millis, OLD.disk_mb, OLD.image)
        IS DISTINCT FROM (NEW.class, NEW.memory_mb, NEW.cpu_millis, NEW.disk_mb, NEW.image))
    EXECUTE FUNCTION sessions_guard_size();

-- How much of it a tenant's active sessions may have together; NULL: no limit.
ALTER TABLE tenants
    ADD COLUMN max_memory_mb integer,
    ADD COLUMN max_cpu_millis integer,
    ADD CONSTRAINT tenants_size_quotas CHECK (max_memory_mb >= 0 AND max_cpu_millis >= 0) NOT VALID;

GRANT UPDATE (max_memory_mb, max_cpu_millis) ON tenants TO alpine_api;
