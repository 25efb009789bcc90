//! Migrations run under servers that work. What would lock a table for long, or take away what an older server reads, is refused
//! here: squawk's rules on PostgreSQL's grammar, and four statements that it lets pass.

use std::collections::BTreeSet;

use alpine_tests::bins;
use squawk_linter::{Linter, LinterSettings, Rule};
use squawk_syntax::{
    SourceFile,
    ast::{self, AstNode},
};

const RULES: &[Rule] = &[
    Rule::AddingFieldWithDefault,
    Rule::AddingForeignKeyConstraint,
    Rule::AddingNotNullableField,
    Rule::AddingRequiredField,
    Rule::AddingSerialPrimaryKeyField,
    Rule::BanAlterDomainWithAddConstraint,
    Rule::BanDropColumn,
    Rule::BanDropConstraint,
    Rule::BanDropDatabase,
    Rule::BanDropDefault,
    Rule::BanDropDomain,
    Rule::BanDropExtension,
    Rule::BanDropFunction,
    Rule::BanDropNotNull,
    Rule::BanDropSchema,
    Rule::BanDropSequence,
    Rule::BanDropTable,
    Rule::BanDropType,
    Rule::BanDropView,
    Rule::BanSetSchema,
    Rule::BanTruncateCascade,
    Rule::BanUncommittedTransaction,
    Rule::ChangingColumnType,
    Rule::ConstraintMissingNotValid,
    Rule::DisallowedUniqueConstraint,
    Rule::IdentifierTooLong,
    Rule::RenamingColumn,
    Rule::RenamingObject,
    Rule::RenamingTable,
    Rule::RequireConcurrentIndexCreation,
    Rule::RequireConcurrentIndexDeletion,
    Rule::RequireConcurrentPartitionDetach,
    Rule::RequireConcurrentReindex,
    Rule::TransactionNesting,
];

/// Written before there was this test, and before there was a release: they have never locked a table of anybody's, and what is in
/// `migrations/` is not edited. None may be added.
const GRANDFATHERED: &[(&str, &str)] = &[
    ("20261124100000_add_reconcile_index.sql", "require-concurrent-index-creation"),
    ("20261124110000_add_history_swept_at.sql", "require-concurrent-index-creation"),
    ("20261124110500_add_tenant_quotas.sql", "constraint-missing-not-valid"),
    // A column that may be null from here on: older servers read the audit log of their own tenant only.
    ("20261125100100_chain_audit_log.sql", "ban-drop-not-null"),
    ("20261125100100_chain_audit_log.sql", "constraint-missing-not-valid"),
    ("20261125100100_chain_audit_log.sql", "require-concurrent-index-creation"),
    ("20261125100200_add_operation_quotas.sql", "constraint-missing-not-valid"),
    ("20261125100300_add_access_token_roles.sql", "constraint-missing-not-valid"),
    ("20261125100300_add_access_token_roles.sql", "require-concurrent-index-creation"),
    ("20261125100400_create_stored_credentials.sql", "require-concurrent-index-creation"),
    // Row-level security is turned on for all tables at once, or it would not be.
    ("20261125100700_enable_row_level_security.sql", "do-block-locks"),
    ("20261125100700_enable_row_level_security.sql", "lock-table"),
    // Made anew in the same transaction with one column more, which PostgreSQL does not let one replace.
    ("20261125110000_count_tenant_usage.sql", "ban-drop-function"),
    // Of tables that the file itself has made.
    ("20261126100100_create_session_logs.sql", "do-block-locks"),
];

/// The rules that a migration breaks. Each runs in a transaction unless its first line says otherwise.
fn broken(sql: &str) -> BTreeSet<String> {
    let parsed = SourceFile::parse(sql);
    let mut found: BTreeSet<String> = parsed.errors().iter().map(|error| format!("not-understood: {error:?}")).collect();
    let mut linter = Linter::from(RULES.iter().copied());
    linter.settings = LinterSettings { pg_version: "15.0".parse().unwrap(), assume_in_transaction: !sql.starts_with("-- no-transaction") };
    found.extend(linter.lint(&parsed, sql).iter().map(|violation| violation.code.to_string()));
    assert!(!sql.contains("squawk-ignore"), "exceptions stand in GRANDFATHERED and nowhere else");
    let concurrently = parsed.tree().stmts().any(|statement| has(&statement.syntax().text().to_string(), &["CONCURRENTLY"]));
    let alone = sql.starts_with("-- no-transaction");
    if concurrently && !alone {
        found.insert("concurrently-in-transaction".to_owned());
    }
    // Several in one message are a transaction again, and the first of them would stay done when the second fails.
    if alone && parsed.tree().stmts().count() != 1 {
        found.insert("no-transaction-is-one-statement".to_owned());
    }
    found.extend(parsed.tree().stmts().filter_map(|statement| {
        let name = match statement {
            ast::Stmt::Lock(_) => "lock-table",
            ast::Stmt::Truncate(_) => "truncate",
            ast::Stmt::Vacuum(_) => "vacuum",
            ast::Stmt::Cluster(_) => "cluster",
            // What is in it is not looked at; what it may lock is for a reader to see.
            ast::Stmt::Do(block) if has(&block.syntax().text().to_string(), &["LOCK TABLE", "ALTER TABLE", "CREATE INDEX", "TRUNCATE"]) => {
                "do-block-locks"
            }
            _ => return None,
        };
        Some(name.to_owned())
    }));
    found
}

fn has(text: &str, words: &[&str]) -> bool {
    let text = text.to_ascii_uppercase();
    words.iter().any(|word| text.contains(word))
}

#[test]
fn no_migration_locks_a_table_for_long_or_takes_away_what_an_older_server_reads() {
    let mut files: Vec<_> = std::fs::read_dir(bins::root().join("migrations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 35, "{}", files.len());
    let mut found = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        found.extend(broken(&std::fs::read_to_string(&file).unwrap()).into_iter().map(|rule| (name.clone(), rule)));
    }
    let known: Vec<(String, String)> = GRANDFATHERED.iter().map(|(file, rule)| ((*file).to_owned(), (*rule).to_owned())).collect();
    assert_eq!(found, known, "a migration breaks a rule, or is no longer the exception that it was");
}

/// What each rule is for, and the careful form.
const EXAMPLES: &[(&str, &str, &str)] = &[
    (
        "require-concurrent-index-creation",
        "CREATE INDEX i ON sessions (branch);",
        "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON sessions (branch);",
    ),
    (
        "require-concurrent-index-creation",
        "CREATE UNIQUE INDEX i ON sessions (branch);",
        "CREATE TABLE t (a int); CREATE INDEX i ON t (a);",
    ),
    ("concurrently-in-transaction", "CREATE INDEX CONCURRENTLY i ON sessions (branch);", "-- no-transaction\nDROP INDEX CONCURRENTLY i;"),
    (
        "no-transaction-is-one-statement",
        "-- no-transaction\nSET statement_timeout = 0; CREATE INDEX CONCURRENTLY i ON sessions (branch);",
        "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON sessions (branch);",
    ),
    ("require-concurrent-index-deletion", "DROP INDEX i;", "-- no-transaction\nDROP INDEX CONCURRENTLY i;"),
    ("require-concurrent-reindex", "REINDEX TABLE sessions;", "-- no-transaction\nREINDEX TABLE CONCURRENTLY sessions;"),
    (
        "adding-field-with-default",
        "ALTER TABLE sessions ADD COLUMN id uuid DEFAULT gen_random_uuid();",
        "ALTER TABLE sessions ADD COLUMN n integer NOT NULL DEFAULT 1;",
    ),
    ("adding-required-field", "ALTER TABLE sessions ADD COLUMN n integer NOT NULL;", "ALTER TABLE sessions ADD COLUMN n integer;"),
    (
        "adding-not-nullable-field",
        "ALTER TABLE sessions ALTER COLUMN branch SET NOT NULL;",
        "ALTER TABLE sessions ADD CONSTRAINT b CHECK (branch IS NOT NULL) NOT VALID;",
    ),
    (
        "constraint-missing-not-valid",
        "ALTER TABLE sessions ADD CONSTRAINT c CHECK (branch <> '');",
        "ALTER TABLE sessions ADD CONSTRAINT c CHECK (branch <> '') NOT VALID;",
    ),
    (
        "adding-foreign-key-constraint",
        "ALTER TABLE sessions ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t (a);",
        "ALTER TABLE sessions ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t (a) NOT VALID;",
    ),
    (
        "disallowed-unique-constraint",
        "ALTER TABLE sessions ADD CONSTRAINT u UNIQUE (branch);",
        "ALTER TABLE sessions ADD CONSTRAINT u UNIQUE USING INDEX u;",
    ),
    ("changing-column-type", "ALTER TABLE sessions ALTER COLUMN branch TYPE varchar(9);", "ALTER TABLE sessions ADD COLUMN b2 text;"),
    ("ban-drop-column", "ALTER TABLE sessions DROP COLUMN branch;", "COMMENT ON COLUMN sessions.branch IS 'no longer read';"),
    ("ban-drop-table", "DROP TABLE sessions;", "SELECT 1;"),
    ("ban-drop-not-null", "ALTER TABLE sessions ALTER COLUMN branch DROP NOT NULL;", "SELECT 1;"),
    ("renaming-column", "ALTER TABLE sessions RENAME COLUMN branch TO b;", "ALTER TABLE sessions ADD COLUMN b text;"),
    ("renaming-table", "ALTER TABLE sessions RENAME TO s;", "CREATE VIEW s AS SELECT * FROM sessions;"),
    ("ban-drop-function", "DROP FUNCTION f();", "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';"),
    ("lock-table", "LOCK TABLE sessions IN SHARE MODE;", "SELECT 1;"),
    ("truncate", "TRUNCATE sessions;", "SELECT 1;"),
    ("vacuum", "VACUUM FULL sessions;", "ANALYZE sessions;"),
    ("cluster", "CLUSTER sessions USING sessions_pkey;", "SELECT 1;"),
    ("do-block-locks", "DO $$ BEGIN EXECUTE 'LOCK TABLE sessions'; END $$;", "DO $$ BEGIN PERFORM 1; END $$;"),
];

#[test]
fn each_rule_finds_what_it_is_for_and_lets_the_careful_form_pass() {
    for (rule, wrong, right) in EXAMPLES {
        assert!(broken(wrong).contains(*rule), "{rule} does not find {wrong}: {:?}", broken(wrong));
        assert!(!broken(right).contains(*rule), "{rule} finds {right}");
    }
    assert!(broken("ALTER TABEL x;").iter().any(|rule| rule.starts_with("not-understood")));
}
