-- A history that is there already, played through the guards one step after the other, in one round trip. In the name
-- of whoever calls it, so row-level security holds, and every trigger judges every step.
CREATE FUNCTION play_transitions(of_tenant text, of_session uuid, steps jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    step record;
BEGIN
    FOR step IN
        SELECT * FROM jsonb_to_recordset(steps)
            AS s (seq bigint, from_state text, to_state text, at timestamptz, actor text, reason text, operation_id uuid)
        ORDER BY s.seq
    LOOP
        IF step.seq > 1 THEN
            UPDATE sessions SET state = step.to_state, transition_seq = step.seq, event_seq = step.seq, updated_at = step.at
            WHERE tenant_id = of_tenant AND session_id = of_session;
        END IF;
        INSERT INTO transitions (tenant_id, session_id, seq, event_seq, from_state, to_state, at, actor, reason, operation_id, fence)
        VALUES (of_tenant, of_session, step.seq, step.seq, step.from_state, step.to_state, step.at, step.actor, step.reason, step.operation_id, 0);
    END LOOP;
END $$;

-- A record that is brought in is written unverified, as every record is; a worker reads it back and verifies it. To write
-- one that is verified, or to verify one, the API has no right.
GRANT INSERT (tenant_id, session_id, persist_attempt, durable_object_id, payload, sha256, operation_id, fence, persisted_at)
    ON session_records TO alpine_api;
-- `ready` needs a commit at the moment in which the history passes through it; where the other ledger named none it is
-- taken away again.
GRANT UPDATE (target_commit_sha) ON sessions TO alpine_api;
