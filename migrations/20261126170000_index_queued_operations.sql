-- no-transaction
-- What waits for its first worker, and nothing that runs: a claim does not read past everything that is being worked on.
CREATE INDEX CONCURRENTLY IF NOT EXISTS operations_queued ON operations (available_at) WHERE status = 'queued';
