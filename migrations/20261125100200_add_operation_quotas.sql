-- How many operations a tenant, and each of its principals, may have in flight; NULL: no limit.
ALTER TABLE tenants
    ADD COLUMN max_operations integer,
    ADD COLUMN max_operations_per_principal integer,
    ADD CONSTRAINT tenants_operation_quotas CHECK (max_operations >= 0 AND max_operations_per_principal >= 0);

-- Exactly these states have a live operation (sessions_consistent). A `down` is counted and never refused.
CREATE OR REPLACE FUNCTION sessions_check_quota() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    quota record;
    used record;
BEGIN
    SELECT max_active_sessions AS sessions, max_active_sessions_per_principal AS own_sessions,
        max_operations AS operations, max_operations_per_principal AS own_operations
    INTO quota FROM tenants
    WHERE tenant_id = NEW.tenant_id
        AND num_nonnulls(max_active_sessions, max_active_sessions_per_principal, max_operations, max_operations_per_principal) > 0
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NEW;
    END IF;
    -- A statement of its own: it sees what was committed while the tenant's row was waited for.
    SELECT count(*) AS sessions, count(*) FILTER (WHERE own) AS own_sessions,
        count(*) FILTER (WHERE live) AS operations, count(*) FILTER (WHERE live AND own) AS own_operations
    INTO used FROM (
        SELECT principal_id = NEW.principal_id AS own,
            state IN ('requested', 'provisioning', 'repo_syncing', 'installing', 'failing', 'stopping', 'persisting') AS live
        FROM sessions WHERE tenant_id = NEW.tenant_id AND state NOT IN ('stopped', 'failed')) AS active;
    PERFORM refuse_quota('sessions_tenant_quota', 'the tenant', used.sessions, quota.sessions, 'active sessions');
    PERFORM refuse_quota('sessions_principal_quota', 'the principal', used.own_sessions, quota.own_sessions, 'active sessions');
    PERFORM refuse_quota('operations_tenant_quota', 'the tenant', used.operations, quota.operations, 'operations in flight');
    PERFORM refuse_quota('operations_principal_quota', 'the principal', used.own_operations, quota.own_operations, 'operations in flight');
    RETURN NEW;
END $$;

CREATE FUNCTION refuse_quota(rule text, whose text, used bigint, most integer, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF used >= most THEN
        PERFORM refuse(rule, format('%s has %s of %s %s', whose, used, most, what));
    END IF;
END $$;
