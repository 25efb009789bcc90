-- What the API may ask of all tenants at once, and nothing more than these answers.

-- Of the operations that requests wait for, those that have ended.
CREATE FUNCTION ended_operations(tenants text[], operations uuid[]) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT o.operation_id FROM unnest(tenants, operations) AS w (tenant_id, operation_id)
    JOIN operations o USING (tenant_id, operation_id) WHERE o.finished_at IS NOT NULL
$$;

-- How many sessions there are in each state that is not final.
CREATE FUNCTION session_counts() RETURNS TABLE (state text, count bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT s.state, count(*) FROM sessions s WHERE s.state NOT IN ('stopped', 'failed') GROUP BY s.state
$$;

-- The tenants in order of their id, for operators. The caller's role is checked before it is asked.
CREATE FUNCTION list_tenants(after text, most bigint) RETURNS SETOF tenants
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT * FROM tenants t WHERE t.tenant_id > after ORDER BY t.tenant_id LIMIT most
$$;
