-- What a tenant uses at this moment, counted as the quotas' trigger counts it. Called in the caller's own name: the API
-- counts for its acting tenant only.
CREATE FUNCTION tenant_usage(tenant text) RETURNS TABLE (active_sessions bigint, operations bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT count(*), count(*) FILTER (
        WHERE s.state IN ('requested', 'provisioning', 'repo_syncing', 'installing', 'failing', 'stopping', 'persisting'))
    FROM sessions s WHERE s.tenant_id = tenant AND s.state NOT IN ('stopped', 'failed')
$$;

-- The tenants in order of their id, with what they use, for operators. The caller's role is checked before it is asked.
DROP FUNCTION list_tenants(text, bigint);
CREATE FUNCTION list_tenants(after text, most bigint) RETURNS TABLE (
        tenant_id text, created_at timestamptz,
        max_active_sessions integer, max_active_sessions_per_principal integer, max_operations integer, max_operations_per_principal integer,
        active_sessions bigint, operations bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT t.tenant_id, t.created_at, t.max_active_sessions, t.max_active_sessions_per_principal, t.max_operations,
        t.max_operations_per_principal, u.active_sessions, u.operations
    FROM (SELECT * FROM tenants WHERE tenants.tenant_id > after ORDER BY tenants.tenant_id LIMIT most) AS t, tenant_usage(t.tenant_id) AS u
    ORDER BY t.tenant_id
$$;

GRANT CREATE ON SCHEMA public TO alpine_definer;
ALTER FUNCTION list_tenants(text, bigint) OWNER TO alpine_definer;
REVOKE CREATE ON SCHEMA public FROM alpine_definer;
REVOKE EXECUTE ON FUNCTION list_tenants(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_tenants(text, bigint) TO alpine_api;
