-- no-transaction
-- Whom to tell that the end is near, for those who sweep.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_to_warn ON sessions (warn_at) WHERE state = 'ready' AND warn_at IS NOT NULL;
