-- no-transaction
-- Whose time is up, for those who sweep.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_expiring ON sessions (expires_at) WHERE state = 'ready' AND expires_at IS NOT NULL;
