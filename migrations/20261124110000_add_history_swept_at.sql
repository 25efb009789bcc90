-- When a stopped session's history was swept: of its transitions and operations the latest stay, and its record.
ALTER TABLE sessions ADD COLUMN history_swept_at timestamptz;

-- What the sweeper looks for, oldest first.
CREATE INDEX sessions_to_sweep ON sessions (updated_at) WHERE state IN ('stopped', 'failed') AND history_swept_at IS NULL;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
-- A swept operation is looked for among the keys.
CREATE INDEX idempotency_keys_by_operation ON idempotency_keys (tenant_id, operation_id);
