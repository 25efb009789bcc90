-- The fence. Every write of a worker asks this first, in its own statement or transaction: the lease row is
-- locked until that ends, so the answer stays true. The time is read after the lock is held, so that
-- waiting for it counts.
CREATE FUNCTION hold_lease(of_tenant text, of_session uuid, my_fence bigint, me text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held_until timestamptz;
BEGIN
    SELECT l.until INTO held_until FROM leases l
    WHERE l.tenant_id = of_tenant AND l.session_id = of_session AND l.fence = my_fence AND l.owner = me
    FOR UPDATE;
    RETURN coalesce(held_until > clock_timestamp(), false);
END $$;
