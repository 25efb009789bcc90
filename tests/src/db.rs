//! The database, looked at and meddled with behind the programs' backs.

use alpine_api::SessionId;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, postgres::PgPoolOptions};

/// One test's database.
#[derive(Debug, Clone)]
pub struct Db {
    pub url: String,
    pool: PgPool,
}

impl Db {
    pub fn new(url: String) -> Self {
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&url).unwrap();
        Self { url, pool }
    }

    /// Run statements; how many rows the last one touched.
    pub async fn execute(&self, sql: &str) -> u64 {
        self.try_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The same with the database's own guards off: what no program could bring about.
    pub async fn meddle(&self, sql: &str) -> u64 {
        self.execute(&format!("SET session_replication_role = replica; {sql}; RESET session_replication_role")).await
    }

    /// The same where a refusal is what is looked for; what the database says.
    pub async fn try_execute(&self, sql: &str) -> Result<u64, String> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await;
        done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
    }

    /// The same as another role, with this acting tenant, all of it for this one transaction.
    pub async fn try_as(&self, role: &str, tenant: Option<&str>, sql: &str) -> Result<u64, String> {
        let acting = tenant.map(|tenant| format!("SET LOCAL alpine.tenant = '{tenant}';")).unwrap_or_default();
        self.try_execute(&format!("SET LOCAL ROLE {role}; {acting} {sql}")).await
    }

    /// The one value that a query gives.
    #[expect(clippy::disallowed_methods, reason = "tests look at the schema of the day, from outside")]
    pub async fn one<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        let value = sqlx::query_scalar::<_, T>(AssertSqlSafe(sql)).fetch_one(&self.pool).await;
        value.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Keeps everybody away from a table until the transaction ends.
    pub async fn lock(&self, table: &str) -> Transaction<'static, Postgres> {
        let mut transaction = self.pool.begin().await.unwrap();
        let sql = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
        transaction
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.one(&format!("SELECT count(*) FROM {table}")).await
    }

    /// The states that a session has been in, oldest first.
    pub async fn path(&self, session_id: &str) -> Vec<String> {
        self.one(&format!("SELECT array_agg(to_state ORDER BY seq) FROM transitions WHERE session_id = '{}'", uuid(session_id))).await
    }

    pub async fn state(&self, session_id: &str) -> String {
        self.one(&format!("SELECT state FROM sessions WHERE session_id = '{}'", uuid(session_id))).await
    }

    /// Waits until a session is in one of these states; which.
    pub async fn wait_for_state(&self, session_id: &str, states: &[&str], limit: std::time::Duration) -> String {
        crate::until(&format!("{session_id} is {states:?}"), limit, || async {
            let now = self.state(session_id).await;
            states.contains(&now.as_str()).then_some(now)
        })
        .await
    }
}

/// `ses_…` as the database's uuid.
pub fn uuid(session_id: &str) -> String {
    session_id.parse::<SessionId>().unwrap_or_else(|e| panic!("{session_id}: {e}")).uuid().to_string()
}
