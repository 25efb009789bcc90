-- Each role may do what its code does. Deletes are the worker's; secrets are read by nobody who only serves requests.
GRANT USAGE ON SCHEMA public TO alpine_api, alpine_worker, alpine_definer;

GRANT SELECT, INSERT ON tenants, sessions, operations, leases, idempotency_keys, transitions, audit_log TO alpine_api;
-- What a `down` changes when it is accepted.
GRANT UPDATE (operation_id, persist_attempt, updated_at, sweep_at, state, transition_seq, opencode_url, last_error) ON sessions TO alpine_api;
GRANT UPDATE (status, error, finished_at) ON operations TO alpine_api;
GRANT UPDATE (fence, owner, until) ON leases TO alpine_api;
GRANT UPDATE (max_active_sessions, max_active_sessions_per_principal, max_operations, max_operations_per_principal) ON tenants TO alpine_api;
GRANT SELECT ON session_records TO alpine_api;
GRANT SELECT (tenant_id, credential_id, operation_id), INSERT, DELETE ON credentials TO alpine_api;
GRANT SELECT (tenant_id, token_id, principal_id, name, scopes, created_at, expires_at, last_used_at, revoked_at), INSERT, UPDATE (revoked_at)
    ON access_tokens TO alpine_api;
GRANT SELECT (tenant_id, credential_id, principal_id, host, kind, key_id, known_hosts, created_at, created_by, updated_at), INSERT,
    UPDATE (key_id, sealed, known_hosts, updated_at), DELETE ON stored_credentials TO alpine_api;

GRANT SELECT ON stored_credentials TO alpine_worker;
GRANT SELECT, UPDATE, DELETE ON sessions, leases TO alpine_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON operations TO alpine_worker;
GRANT SELECT, INSERT, DELETE ON transitions TO alpine_worker;
-- The right to update is what locking a row asks for; a trigger refuses every update.
GRANT SELECT, UPDATE (created_at), DELETE ON idempotency_keys TO alpine_worker;
GRANT SELECT, INSERT, UPDATE (verified_at) ON session_records TO alpine_worker;
GRANT SELECT, UPDATE (key_id, sealed), DELETE ON credentials TO alpine_worker;
GRANT UPDATE (key_id, sealed) ON stored_credentials TO alpine_worker;
GRANT INSERT ON audit_log TO alpine_worker;

GRANT SELECT ON tenants, sessions, operations TO alpine_definer;
GRANT SELECT, UPDATE (last_used_at) ON access_tokens TO alpine_definer;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO alpine_definer;

-- Given away, so that they see what alpine_definer sees and not what their maker does.
GRANT CREATE ON SCHEMA public TO alpine_definer;
ALTER FUNCTION use_access_token(bytea) OWNER TO alpine_definer;
ALTER FUNCTION ended_operations(text[], uuid[]) OWNER TO alpine_definer;
ALTER FUNCTION session_counts() OWNER TO alpine_definer;
ALTER FUNCTION list_tenants(text, bigint) OWNER TO alpine_definer;
ALTER FUNCTION audit_log_chain() OWNER TO alpine_definer;
REVOKE CREATE ON SCHEMA public FROM alpine_definer;
REVOKE EXECUTE ON FUNCTION use_access_token(bytea), ended_operations(text[], uuid[]), session_counts(), list_tenants(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION use_access_token(bytea), ended_operations(text[], uuid[]), list_tenants(text, bigint) TO alpine_api;
GRANT EXECUTE ON FUNCTION session_counts() TO alpine_api, alpine_worker;

-- Readiness compares it with the program. It is not there where migrations are applied by other means.
DO $$
BEGIN
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        GRANT SELECT ON _sqlx_migrations TO alpine_api, alpine_worker;
    END IF;
END $$;
