//! How much waits to be worked on.

use std::time::Duration;

use super::{Error, Ledger};

/// Operations that are due and that nobody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// How many; at most [`Queue::COUNTED`].
    pub length: i64,
    /// How long the one that has waited longest has been due.
    pub age: Duration,
}

impl Queue {
    /// Beyond this it is not counted on: a queue that long says it all, and counting must cost little just then.
    pub const COUNTED: i64 = 10_000;
}

impl Ledger {
    /// The queue, as a claim would find it, by the index that claims use. One lease at a time is looked up, in the order of
    /// the queue: left to itself the planner reads all leases there are as soon as the queue is long.
    pub async fn queue(&self) -> Result<Queue, Error> {
        let row = sqlx::query!(
            r#"SELECT count(*) AS "length!", coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 AS "age!"
            FROM (
                SELECT greatest(o.available_at, l.until) AS due_at
                FROM operations o CROSS JOIN LATERAL (
                    SELECT until FROM leases
                    WHERE tenant_id = o.tenant_id AND session_id = o.session_id AND (owner IS NULL OR until <= clock_timestamp())
                    OFFSET 0
                ) AS l
                WHERE o.status IN ('queued', 'running') AND o.available_at <= now()
                ORDER BY o.available_at LIMIT $1
            ) AS due"#,
            Queue::COUNTED
        )
        .fetch_one(self.statements())
        .await?;
        Ok(Queue { length: row.length, age: Duration::from_secs_f64(row.age.max(0.0)) })
    }
}
