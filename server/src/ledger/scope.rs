//! One statement in the name of one tenant, in one round trip.
//!
//! Row-level security lets the API see the rows of `alpine.tenant` and of nobody else. That is set by the statement
//! itself, for the statement alone: nothing of it stays on the connection. What asks for rows stands behind it in a
//! LATERAL that cannot be pulled up (`OFFSET 0`), so it runs after the setting, whatever the planner thinks.

/// `sqlx::query!`, `query_as!` (with a row's type) or `query_scalar!` for a SELECT whose `$1` is the tenant. The SELECT
/// itself compares `tenant_id` with `tenant.id`: the first wall, and what the indexes begin with.
macro_rules! in_tenant {
    ($query:ident ($($row:ident,)? $select:literal $(+ $more:literal)*), $($argument:expr),+ $(,)?) => {
        sqlx::$query!(
            $($row,)?
            "SELECT q.* FROM set_config('alpine.tenant', $1, true) AS tenant (id), LATERAL ("
                + $select $(+ $more)*
                + " OFFSET 0) AS q",
            $($argument),+
        )
    };
}
pub(super) use in_tenant;
