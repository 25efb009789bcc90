-- The second wall between tenants. The API says for whom it asks in the very statement that asks
-- (`FROM set_config('alpine.tenant', …, true)`, server/src/ledger/scope.rs); where nobody is named the domain's check
-- fails and so does the statement: it does not quietly find nothing.
CREATE DOMAIN acting_tenant AS text CONSTRAINT tenant_is_set CHECK (VALUE <> '');

-- In the order in which servers lock (key, tenant, lease, session, operation, appends), before anything is changed.
LOCK TABLE idempotency_keys, tenants, leases, sessions, operations, transitions, session_records, audit_log, audit_heads, credentials,
    access_tokens, stored_credentials IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'sessions', 'operations', 'leases', 'idempotency_keys', 'transitions', 'session_records',
            'audit_log', 'audit_heads', 'credentials', 'access_tokens', 'stored_credentials'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        -- Its owner too, as far as it does not inherit the rights of a role below (it is a member of them).
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY of_acting_tenant ON %I TO alpine_api USING (tenant_id = (SELECT current_setting(''alpine.tenant'')::acting_tenant))', name);
    END LOOP;
    -- A worker carries on operations of every tenant; what it may touch at all is in its grants.
    FOREACH name IN ARRAY ARRAY['tenants', 'sessions', 'operations', 'leases', 'idempotency_keys', 'transitions', 'session_records',
            'audit_log', 'credentials', 'stored_credentials'] LOOP
        EXECUTE format('CREATE POLICY of_every_tenant ON %I TO alpine_worker USING (true)', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['tenants', 'sessions', 'operations', 'access_tokens', 'audit_heads'] LOOP
        EXECUTE format('CREATE POLICY of_definer ON %I TO alpine_definer USING (true)', name);
    END LOOP;
END $$;
