//! The second wall between tenants, tried with the first one away: no statement names a tenant in its predicates.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_tests::{cluster, db::Db};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Every table that has rows of tenants.
const TABLES: &str = "SELECT coalesce(array_agg(c.relname::text ORDER BY c.relname), '{}') FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')";

/// What is wrong with the walls around the tables of tenants.
async fn holes(db: &Db) -> Vec<String> {
    db.one(
        "SELECT coalesce(array_agg(c.relname || ': ' || what ORDER BY c.relname, what), '{}') FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
         CROSS JOIN LATERAL (VALUES
             ('row-level security is off', NOT c.relrowsecurity),
             ('its owner is not held by it', NOT c.relforcerowsecurity),
             ('no policy for alpine_api', NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polroles = ARRAY['alpine_api'::regrole::oid])),
             ('a policy of alpine_api is not by the acting tenant', EXISTS (
                SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND (p.polroles && ARRAY['alpine_api'::regrole::oid, 0::oid])
                AND (pg_get_expr(p.polqual, p.polrelid) NOT LIKE '(tenant_id = (%( SELECT (current_setting(''alpine.tenant''::text))::acting_tenant%'
                    OR pg_get_expr(p.polqual, p.polrelid) LIKE '% OR %' OR p.polwithcheck IS NOT NULL
                    OR p.polcmd <> '*' OR NOT p.polpermissive))),
             ('a role of the server owns it', pg_get_userbyid(c.relowner) LIKE 'alpine\\_%')) AS hole (what, there)
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND there",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_tenants_is_walled_and_the_servers_roles_cannot_climb() {
    let db = Db::new(cluster::database().await);
    assert_eq!(holes(&db).await, Vec::<String>::new());
    let tables: Vec<String> = db.one(TABLES).await;
    assert!(tables.len() >= 12, "{tables:?}");
    // The detector sees each way in which a table may be forgotten.
    db.execute("CREATE TABLE forgotten (tenant_id text)").await;
    db.execute("ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY; DROP POLICY of_acting_tenant ON leases").await;
    db.execute("CREATE POLICY all_of_them ON operations TO PUBLIC USING (true); ALTER TABLE transitions OWNER TO alpine_api").await;
    let expected = [
        "forgotten: its owner is not held by it",
        "forgotten: no policy for alpine_api",
        "forgotten: row-level security is off",
        "leases: no policy for alpine_api",
        "operations: a policy of alpine_api is not by the acting tenant",
        "sessions: its owner is not held by it",
        "transitions: a role of the server owns it",
    ];
    assert_eq!(holes(&db).await, expected);
    let strong: Vec<String> = db
        .one(
            "SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_roles WHERE rolname LIKE 'alpine\\_%'
             AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolcanlogin)",
        )
        .await;
    assert_eq!(strong, Vec::<String>::new());
    let members: i64 =
        db.one("SELECT count(*) FROM pg_auth_members WHERE member IN (SELECT oid FROM pg_roles WHERE rolname LIKE 'alpine\\_%')").await;
    assert_eq!(members, 0, "no role of the server is a member of another");
}

/// A database in which `a` and `b` have a row in every table, nothing checks rows, and `alpine_api` may do everything
/// that row-level security lets it.
async fn without_the_first_wall() -> (Db, Vec<String>) {
    let db = Db::new(cluster::database().await);
    let tables: Vec<String> = db.one(TABLES).await;
    let checks: Vec<String> = db
        .one(
            "SELECT array_agg(format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)) FROM pg_constraint
              WHERE contype = 'c' AND conrelid <> 0 AND connamespace = 'public'::regnamespace",
        )
        .await;
    db.execute(&checks.join(";")).await;
    for table in &tables {
        db.execute(&format!("GRANT ALL ON {table} TO alpine_api")).await;
        for tenant in ["a", "b"] {
            let (columns, values) = row(&db, table, tenant).await;
            assert_eq!(db.meddle(&format!("INSERT INTO {table} ({columns}) VALUES ({values})")).await, 1);
        }
    }
    (db, tables)
}

/// Some row of a tenant: the columns' names, and values by their types.
async fn row(db: &Db, table: &str, tenant: &str) -> (String, String) {
    let sql = |what: &str| {
        format!(
            "SELECT string_agg({what}, ', ' ORDER BY ordinal_position) FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = '{table}' AND is_identity = 'NO' AND is_generated = 'NEVER'"
        )
    };
    let value = format!(
        "CASE WHEN column_name = 'tenant_id' THEN '''{tenant}''' ELSE CASE data_type WHEN 'text' THEN 'gen_random_uuid()::text'
             WHEN 'uuid' THEN 'gen_random_uuid()' WHEN 'timestamp with time zone' THEN 'now()' WHEN 'bytea' THEN 'sha256(gen_random_uuid()::text::bytea)'
             WHEN 'boolean' THEN 'false' WHEN 'jsonb' THEN '''{{}}''' WHEN 'ARRAY' THEN '''{{}}''' ELSE '1' END END"
    );
    (db.one(&sql("quote_ident(column_name)")).await, db.one(&sql(&value)).await)
}

/// As the API's role, with triggers off: what is left is row-level security.
async fn behind_the_wall(db: &Db, tenant: Option<&str>, sql: &str) -> Result<u64, String> {
    let acting = tenant.map(|tenant| format!("SET LOCAL alpine.tenant = '{tenant}';")).unwrap_or_default();
    db.try_execute(&format!("SET LOCAL session_replication_role = replica; SET LOCAL ROLE alpine_api; {acting} {sql}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tenant_every_statement_errors_and_none_finds_nothing() {
    let (db, tables) = without_the_first_wall().await;
    let empty = Db::new(cluster::database().await);
    for table in &tables {
        empty.execute(&format!("GRANT ALL ON {table} TO alpine_api")).await;
        let sql = format!("SELECT tenant_id FROM {table} WHERE tenant_id = 'a'");
        let refusal = behind_the_wall(&empty, None, &sql).await.expect_err(&sql);
        assert!(refusal.contains("alpine.tenant"), "of an empty table: {sql}: {refusal}");
        let (columns, values) = row(&db, table, "a").await;
        for sql in [
            format!("SELECT * FROM {table}"),
            format!("SELECT count(*) FROM {table}"),
            // A point look-up of what is not there, too.
            format!("SELECT * FROM {table} WHERE tenant_id = 'absent'"),
            format!("UPDATE {table} SET tenant_id = tenant_id"),
            format!("DELETE FROM {table}"),
            format!("INSERT INTO {table} ({columns}) VALUES ({values})"),
        ] {
            let refusal = behind_the_wall(&db, None, &sql).await.expect_err(&sql);
            assert!(refusal.contains("alpine.tenant") || refusal.contains("tenant_is_set"), "{sql}: {refusal}");
            let refusal = behind_the_wall(&db, Some(""), &sql).await.expect_err(&sql);
            assert!(refusal.contains("tenant_is_set"), "{sql}: {refusal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_statements_tenant_stays_on_its_connection() {
    let (db, tables) = without_the_first_wall().await;
    let mut connection = PgConnection::connect(&format!("{}&options[role]=alpine_api", db.url)).await.unwrap();
    let mut run = async |sql: String| {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
    };
    for table in &tables {
        let named = format!(
            "SELECT q.* FROM set_config('alpine.tenant', 'a', true) AS tenant (id), LATERAL (SELECT * FROM {table} WHERE tenant_id = tenant.id OFFSET 0) q"
        );
        assert_eq!(run(named).await, Ok(1), "{table}");
        let refusal = run(format!("SELECT * FROM {table}")).await.expect_err(table);
        assert!(refusal.contains("tenant_is_set"), "{table}: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_rows_are_not_seen_changed_removed_or_written() {
    let (db, tables) = without_the_first_wall().await;
    for table in &tables {
        let as_a = async |sql: String| behind_the_wall(&db, Some("a"), &sql).await;
        assert_eq!(db.count(table).await, 2, "{table}");
        assert_eq!(as_a(format!("SELECT * FROM {table}")).await, Ok(1), "{table}");
        assert_eq!(as_a(format!("SELECT * FROM {table} WHERE tenant_id <> 'a'")).await, Ok(0), "{table}");
        assert_eq!(as_a(format!("SELECT * FROM {table} WHERE tenant_id = 'b' FOR UPDATE")).await, Ok(0), "{table}");
        assert_eq!(as_a(format!("UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id <> 'a'")).await, Ok(0), "{table}");
        assert_eq!(as_a(format!("DELETE FROM {table} WHERE tenant_id <> 'a'")).await, Ok(0), "{table}");
        let (columns, values) = row(&db, table, "b").await;
        for sql in [format!("INSERT INTO {table} ({columns}) VALUES ({values})"), format!("UPDATE {table} SET tenant_id = 'b'")] {
            let refusal = as_a(sql).await.expect_err(table);
            assert!(refusal.contains("violates row-level security policy"), "{table}: {refusal}");
        }
        assert_eq!(as_a(format!("DELETE FROM {table}")).await, Ok(1), "{table}: one's own");
        assert_eq!(db.count(&format!("{table} WHERE tenant_id = 'b'")).await, 1, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_for_all_who_watch_is_of_the_named_tenants_rows_alone() {
    let (db, _) = without_the_first_wall().await;
    db.meddle("UPDATE operations o SET session_id = s.session_id FROM sessions s WHERE s.tenant_id = o.tenant_id").await;
    for (table, id, function) in [
        ("operations", "operation_id", "watched_operations(ARRAY[$tenant], ARRAY[t.operation_id])"),
        ("sessions", "session_id", "watched_heads(ARRAY[$tenant], ARRAY[t.session_id])"),
        ("progress", "session_id", "watched_events(ARRAY[$tenant], ARRAY[t.session_id], ARRAY[-1::bigint], 9)"),
        ("transitions", "session_id", "watched_events(ARRAY[$tenant], ARRAY[t.session_id], ARRAY[-1::bigint], 9)"),
        ("session_logs", "session_id", "watched_log(ARRAY[$tenant], ARRAY[t.session_id], ARRAY[-1::bigint], 9)"),
    ] {
        let found = async |tenant: &str| {
            let from = function.replace("$tenant", &format!("'{tenant}'::text"));
            db.one::<i64>(&format!("SELECT count(w.{id}) FROM {table} t, {from} AS w WHERE t.tenant_id = 'b'")).await
        };
        assert_eq!((found("a").await, found("b").await), (0, 1), "{function}: rows of b for who named a, and for who named b");
    }
}

const DENIED: &[(&str, &str)] = &[
    ("alpine_api", "SELECT sealed FROM credentials"),
    ("alpine_api", "SELECT * FROM credentials"),
    ("alpine_api", "UPDATE credentials SET sealed = '' RETURNING sealed"),
    ("alpine_api", "SELECT sealed FROM stored_credentials"),
    ("alpine_api", "UPDATE stored_credentials SET updated_at = now() RETURNING sealed"),
    ("alpine_api", "DELETE FROM stored_credentials RETURNING sealed"),
    ("alpine_api", "SELECT token_sha256 FROM access_tokens"),
    ("alpine_api", "SELECT 1 FROM access_tokens WHERE token_sha256 = ''"),
    ("alpine_api", "UPDATE access_tokens SET token_sha256 = ''"),
    ("alpine_api", "UPDATE access_tokens SET scopes = '{admin}'"),
    ("alpine_api", "UPDATE access_tokens SET expires_at = 'infinity'"),
    ("alpine_api", "DELETE FROM access_tokens"),
    ("alpine_api", "SELECT 1 FROM session_passwords"),
    ("alpine_api", "DELETE FROM session_passwords"),
    ("alpine_api", "UPDATE session_codes SET expires_at = 'infinity'"),
    ("alpine_worker", "SELECT code_sha256 FROM session_codes"),
    ("alpine_api", "UPDATE session_shares SET expires_at = 'infinity'"),
    ("alpine_worker", "SELECT principal_ids FROM session_shares"),
    ("alpine_worker", "INSERT INTO session_shares DEFAULT VALUES"),
    ("alpine_worker", "UPDATE session_passwords SET session_id = gen_random_uuid()"),
    ("alpine_api", "DELETE FROM sessions"),
    ("alpine_api", "DELETE FROM operations"),
    ("alpine_api", "DELETE FROM transitions"),
    ("alpine_api", "DELETE FROM session_records"),
    ("alpine_api", "UPDATE session_records SET payload = ''"),
    ("alpine_api", "INSERT INTO session_records (tenant_id, verified_at) VALUES ('a', now())"),
    ("alpine_api", "UPDATE session_records SET verified_at = now()"),
    ("alpine_api", "UPDATE imported_sessions SET sha256 = ''"),
    ("alpine_api", "DELETE FROM imported_sessions"),
    ("alpine_worker", "INSERT INTO imported_sessions DEFAULT VALUES"),
    ("alpine_api", "UPDATE tenants SET tenant_id = 'x'"),
    ("alpine_api", "DELETE FROM tenants"),
    ("alpine_api", "DELETE FROM idempotency_keys"),
    ("alpine_worker", "SELECT 1 FROM access_tokens"),
    ("alpine_worker", "SELECT * FROM use_access_token('')"),
    ("alpine_worker", "SELECT * FROM list_tenants('', 1)"),
    ("alpine_worker", "SELECT * FROM watched_operations('{}', '{}')"),
    ("alpine_worker", "SELECT * FROM watched_heads('{}', '{}')"),
    ("alpine_worker", "SELECT * FROM watched_events('{}', '{}', '{}', 1)"),
    ("alpine_worker", "SELECT * FROM watched_log('{}', '{}', '{}', 1)"),
    ("alpine_api", "INSERT INTO progress DEFAULT VALUES"),
    ("alpine_api", "DELETE FROM progress"),
    ("alpine_api", "INSERT INTO session_logs DEFAULT VALUES"),
    ("alpine_api", "DELETE FROM session_logs"),
    ("alpine_api", "UPDATE session_log_heads SET served_offset = 0"),
    ("alpine_worker", "UPDATE tenants SET max_operations = NULL"),
    ("alpine_worker", "INSERT INTO sessions DEFAULT VALUES"),
    ("alpine_worker", "DELETE FROM session_records"),
    ("alpine_worker", "DELETE FROM stored_credentials"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_its_code_does_and_no_more() {
    let db = Db::new(cluster::database().await);
    for (role, sql) in DENIED {
        let refusal = db.try_as(role, Some("a"), sql).await.expect_err(sql);
        assert!(refusal.contains("permission denied"), "{role}: {sql}: {refusal}");
    }
    // The functions that look across tenants give their answers and nothing else.
    let public: Vec<String> = db
        .one(
            "SELECT coalesce(array_agg(proname::text), '{}') FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
             AND ((prorettype <> 'trigger'::regtype AND has_function_privilege('public', oid, 'EXECUTE')) OR NOT 'search_path=pg_catalog, public, pg_temp' = ANY (coalesce(proconfig, '{}'))
                 OR pg_get_userbyid(proowner) <> 'alpine_definer')",
        )
        .await;
    assert_eq!(public, Vec::<String>::new());
}
