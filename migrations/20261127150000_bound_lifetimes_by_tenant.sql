-- The longest that a tenant's sessions may be ready, and that without a use, beside what their class and the server say; NULL: no bound of its own.
ALTER TABLE tenants
    ADD COLUMN max_lifetime_seconds integer,
    ADD COLUMN max_idle_seconds integer,
    ADD CONSTRAINT tenants_bounds CHECK (max_lifetime_seconds >= 60 AND max_idle_seconds >= 60) NOT VALID;

GRANT UPDATE (max_lifetime_seconds, max_idle_seconds) ON tenants TO alpine_api;

-- Beside list_tenants_and_sizes, which servers of before ask. The caller's role is checked before it is asked.
CREATE FUNCTION list_tenants_and_bounds(after text, most bigint) RETURNS TABLE (
        tenant_id text, created_at timestamptz,
        max_active_sessions integer, max_active_sessions_per_principal integer, max_operations integer, max_operations_per_principal integer,
        max_memory_mb integer, max_cpu_millis integer, max_lifetime_seconds integer, max_idle_seconds integer,
        active_sessions bigint, operations bigint, memory_mb bigint, cpu_millis bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT t.tenant_id, t.created_at, t.max_active_sessions, t.max_active_sessions_per_principal, t.max_operations,
        t.max_operations_per_principal, t.max_memory_mb, t.max_cpu_millis, t.max_lifetime_seconds, t.max_idle_seconds,
        u.active_sessions, u.operations, z.memory_mb, z.cpu_millis
    FROM (SELECT * FROM tenants WHERE tenants.tenant_id > after ORDER BY tenants.tenant_id LIMIT most) AS t,
        tenant_usage(t.tenant_id) AS u, tenant_sizes(t.tenant_id) AS z
    ORDER BY t.tenant_id
$$;

GRANT CREATE ON SCHEMA public TO alpine_definer;
ALTER FUNCTION list_tenants_and_bounds(text, bigint) OWNER TO alpine_definer;
REVOKE CREATE ON SCHEMA public FROM alpine_definer;
REVOKE EXECUTE ON FUNCTION list_tenants_and_bounds(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_tenants_and_bounds(text, bigint) TO alpine_api;
