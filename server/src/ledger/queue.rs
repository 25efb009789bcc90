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
    /// The queue, as a claim would find it, by the index that claims use.
    pub async fn queue(&self) -> Result<Queue, Error> {
        let row = sqlx::query!(
            r#"SELECT count(*) AS "length!", coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 AS "age!"
            FROM (
                SELECT greatest(o.available_at, l.until) AS due_at
                FROM operations o JOIN leases l USING (tenant_id, session_id)
                WHERE o.status IN ('queued', 'running') AND o.available_at <= now()
                  AND (l.owner IS NULL OR l.until <= clock_timestamp())
                ORDER BY o.available_at LIMIT $1
            ) AS due"#,
            Queue::COUNTED
        )
        .fetch_one(self.statements())
        .await?;
        Ok(Queue { length: row.length, age: Duration::from_secs_f64(row.age.max(0.0)) })
    }
}
