-- How much disk a tenant's active sessions may have together, by their classes; NULL: no limit.
ALTER TABLE tenants
    ADD COLUMN max_disk_mb integer,
    ADD CONSTRAINT tenants_disk_quota CHECK (max_disk_mb >= 0) NOT VALID;

GRANT UPDATE (max_disk_mb) ON tenants TO alpine_api;

-- As before, and disk too.
CREATE OR REPLACE FUNCTION sessions_check_quota() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    quota record;
    used record;
BEGIN
    SELECT max_active_sessions AS sessions, max_active_sessions_per_principal AS own_sessions,
        max_operations AS operations, max_operations_per_principal AS own_operations,
        max_memory_mb AS memory, max_cpu_millis AS cpu, max_disk_mb AS disk
    INTO quota FROM tenants
    WHERE tenant_id = NEW.tenant_id
        AND num_nonnulls(max_active_sessions, max_active_sessions_per_principal, max_operations, max_operations_per_principal,
            max_memory_mb, max_cpu_millis, max_disk_mb) > 0
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NEW;
    END IF;
    -- A statement of its own: it sees what was committed while the tenant's row was waited for.
    SELECT count(*) AS sessions, count(*) FILTER (WHERE own) AS own_sessions,
        count(*) FILTER (WHERE live) AS operations, count(*) FILTER (WHERE live AND own) AS own_operations,
        coalesce(sum(memory_mb), 0)::bigint AS memory, coalesce(sum(cpu_millis), 0)::bigint AS cpu, coalesce(sum(disk_mb), 0)::bigint AS disk
    INTO used FROM (
        SELECT principal_id = NEW.principal_id AS own, memory_mb, cpu_millis, disk_mb,
            state IN ('requested', 'provisioning', 'repo_syncing', 'installing', 'failing', 'stopping', 'persisting') AS live
        FROM sessions WHERE tenant_id = NEW.tenant_id AND state NOT IN ('stopped', 'failed')) AS active;
    PERFORM refuse_quota('sessions_tenant_quota', 'the tenant', used.sessions, quota.sessions, 'active sessions');
    PERFORM refuse_quota('sessions_principal_quota', 'the principal', used.own_sessions, quota.own_sessions, 'active sessions');
    PERFORM refuse_quota('operations_tenant_quota', 'the tenant', used.operations, quota.operations, 'operations in flight');
    PERFORM refuse_quota('operations_principal_quota', 'the principal', used.own_operations, quota.own_operations, 'operations in flight');
    PERFORM refuse_size('memory_tenant_quota', used.memory, NEW.memory_mb, quota.memory, 'MB of memory');
    PERFORM refuse_size('cpu_tenant_quota', used.cpu, NEW.cpu_millis, quota.cpu, 'thousandths of a CPU');
    PERFORM refuse_size('disk_tenant_quota', used.disk, NEW.disk_mb, quota.disk, 'MB of disk');
    RETURN NEW;
END $$;

-- Beside tenant_sizes and list_tenants_and_bounds, which servers of before ask.
CREATE FUNCTION tenant_sizes_in_use(tenant text) RETURNS TABLE (memory_mb bigint, cpu_millis bigint, disk_mb bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(sum(s.memory_mb), 0)::bigint, coalesce(sum(s.cpu_millis), 0)::bigint, coalesce(sum(s.disk_mb), 0)::bigint
    FROM sessions s WHERE s.tenant_id = tenant AND s.state NOT IN ('stopped', 'failed')
$$;

-- The caller's role is checked before it is asked.
CREATE FUNCTION list_tenants_and_use(after text, most bigint) RETURNS TABLE (
        tenant_id text, created_at timestamptz,
        max_active_sessions integer, max_active_sessions_per_principal integer, max_operations integer, max_operations_per_principal integer,
        max_memory_mb integer, max_cpu_millis integer, max_disk_mb integer, max_lifetime_seconds integer, max_idle_seconds integer,
        active_sessions bigint, operations bigint, memory_mb bigint, cpu_millis bigint, disk_mb bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT t.tenant_id, t.created_at, t.max_active_sessions, t.max_active_sessions_per_principal, t.max_operations,
        t.max_operations_per_principal, t.max_memory_mb, t.max_cpu_millis, t.max_disk_mb, t.max_lifetime_seconds, t.max_idle_seconds,
        u.active_sessions, u.operations, z.memory_mb, z.cpu_millis, z.disk_mb
    FROM (SELECT * FROM tenants WHERE tenants.tenant_id > after ORDER BY tenants.tenant_id LIMIT most) AS t,
        tenant_usage(t.tenant_id) AS u, tenant_sizes_in_use(t.tenant_id) AS z
    ORDER BY t.tenant_id
$$;

GRANT CREATE ON SCHEMA public TO alpine_definer;
ALTER FUNCTION list_tenants_and_use(text, bigint) OWNER TO alpine_definer;
REVOKE CREATE ON SCHEMA public FROM alpine_definer;
REVOKE EXECUTE ON FUNCTION list_tenants_and_use(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_tenants_and_use(text, bigint) TO alpine_api;
