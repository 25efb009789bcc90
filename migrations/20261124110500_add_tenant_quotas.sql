-- How many sessions that are not final a tenant, and each of its principals, may have; NULL: no limit.
ALTER TABLE tenants
    ADD COLUMN max_active_sessions integer,
    ADD COLUMN max_active_sessions_per_principal integer,
    ADD CONSTRAINT tenants_quotas CHECK (max_active_sessions >= 0 AND max_active_sessions_per_principal >= 0);

-- Counted when a session is accepted, in that transaction: a number that is kept could drift. Only where there
-- is a limit does the tenant's row serialise its accepts.
CREATE FUNCTION sessions_check_quota() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    quota record;
    used bigint;
BEGIN
    SELECT max_active_sessions AS tenant, max_active_sessions_per_principal AS principal INTO quota FROM tenants
    WHERE tenant_id = NEW.tenant_id AND (max_active_sessions IS NOT NULL OR max_active_sessions_per_principal IS NOT NULL)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NEW;
    END IF;
    SELECT count(*) INTO used FROM sessions WHERE tenant_id = NEW.tenant_id AND state NOT IN ('stopped', 'failed');
    IF used >= quota.tenant THEN
        RAISE EXCEPTION 'the tenant has % of % active sessions', used, quota.tenant
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sessions_tenant_quota';
    END IF;
    SELECT count(*) INTO used FROM sessions
    WHERE tenant_id = NEW.tenant_id AND principal_id = NEW.principal_id AND state NOT IN ('stopped', 'failed');
    IF used >= quota.principal THEN
        RAISE EXCEPTION 'the principal has % of % active sessions', used, quota.principal
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sessions_principal_quota';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER sessions_quota BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION sessions_check_quota();
