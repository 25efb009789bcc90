-- no-transaction
-- A worker looks at the ready sessions of its own machine and of no other: what it reads does not grow with the number of machines.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_ready_by_root ON sessions ((coalesce(sandbox #>> '{detail,root}', '')), tenant_id, session_id)
    WHERE state = 'ready';
