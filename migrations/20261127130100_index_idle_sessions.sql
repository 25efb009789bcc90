-- no-transaction
-- Whom to look at, whether anybody has used it, for those who sweep.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_idle_look ON sessions (idle_look_at) WHERE state = 'ready' AND idle_look_at IS NOT NULL;
