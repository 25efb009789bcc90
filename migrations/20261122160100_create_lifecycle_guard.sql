-- The transition table of server/src/domain/lifecycle.rs, for the database's own checks.
-- A test compares the two.
CREATE FUNCTION lifecycle_allowed(from_state text, to_state text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN from_state IS NULL THEN to_state = 'requested'
        ELSE (from_state || '>' || to_state) IN (
            'requested>provisioning', 'requested>failing',
            'provisioning>repo_syncing', 'provisioning>failing',
            'repo_syncing>installing', 'repo_syncing>failing',
            'installing>ready', 'installing>failing',
            'ready>stopping', 'ready>failing',
            'failing>failed', 'failing>cleanup_failed',
            'cleanup_failed>failing',
            'stopping>persisting', 'stopping>stopped_unpersisted', 'stopping>close_failed',
            'close_failed>stopping',
            'persisting>stopped', 'persisting>persist_failed', 'persisting>stopped_unpersisted',
            'persist_failed>persisting',
            'stopped_unpersisted>persisting'
        )
    END;
