//! The house itself: who imports whom, names, and the one transition table.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use alpine_api::SessionState;
use alpine_server::domain::lifecycle;
use alpine_tests::{bins, cluster, db::Db};

const ANYONE_MAY: &[&str] = &["metrics", "clock", "recent", "telemetry"];
const EVERYTHING: &[&str] = &["*"];

/// DESIGN, section 1.
fn may_import(module: &str) -> Option<&'static [&'static str]> {
    Some(match module {
        "domain" | "metrics" | "clock" | "recent" | "telemetry" | "shutdown" | "release" => &[],
        "auth" | "ledger" | "sandbox" | "dev" => &["domain"],
        "lifecycle" => &["domain", "ledger", "sandbox"],
        "worker" => &["lifecycle", "ledger", "sandbox", "domain", "faults"],
        "faults" => &["domain", "sandbox", "lifecycle"],
        "http" => &["auth", "ledger", "domain"],
        "gateway" => &["http", "sandbox", "ledger", "domain"],
        "app" | "main" | "program" | "bin" | "config" | "lib" => EVERYTHING,
        _ => return None,
    })
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Without comments, and without the tests at a file's end.
fn code(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = shipped.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The top-level modules that a file names: `crate::x`, `crate::{x::…, y}`, and `super::` up to the root.
/// `depth`: how many `super::` lead from the file's module to the root.
fn imports(text: &str, depth: usize) -> BTreeSet<String> {
    let code = code(text);
    let mut found = BTreeSet::new();
    for prefix in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&prefix).filter(|_| !prefix.is_empty()) {
            let before = &code[..at];
            let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            if before.ends_with(word) || before.ends_with("super::") {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(heads(group)),
                None => found.extend(head(rest)),
            }
        }
    }
    found
}

fn head(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty() && name != "super").then_some(name)
}

/// The first names of a `{…}` group, which may hold groups.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.extend(head(group[start..at].trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// `ledger/list.rs` -> the module `ledger`, two below the root.
fn place(relative: &Path) -> (String, usize) {
    let mut parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    (parts[0].clone(), parts.len())
}

fn is_test_code(relative: &Path) -> bool {
    relative.iter().any(|part| {
        let name = part.to_string_lossy();
        name == "tests" || name == "tests.rs" || name == "testing.rs" || name.ends_with("_tests.rs")
    })
}

fn violations(relative: &Path, text: &str) -> Vec<String> {
    let (module, depth) = place(relative);
    let Some(allowed) = may_import(&module) else { return vec![format!("{module} is not a module of DESIGN 1")] };
    let modules = |name: &String| may_import(name).is_some() && *name != module;
    let wrong = imports(text, depth)
        .into_iter()
        .filter(modules)
        .filter(|name| allowed != EVERYTHING && !allowed.contains(&name.as_str()) && !ANYONE_MAY.contains(&name.as_str()));
    wrong.map(|name| format!("{} imports {name}", relative.display())).collect()
}

#[test]
fn nobody_imports_whom_it_may_not() {
    let source = bins::root().join("server/src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        if !is_test_code(relative) {
            wrong.extend(violations(relative, &std::fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_import_rule_sees_every_way_to_import() {
    let seen = |file: &str, text: &str| violations(Path::new(file), text);
    assert_eq!(seen("http/up.rs", "use crate::sandbox::Provider;"), ["http/up.rs imports sandbox"]);
    assert_eq!(seen("http/up.rs", "use crate::{\n    domain::{Fault, repo::{A, B}},\n    worker,\n};"), ["http/up.rs imports worker"]);
    assert_eq!(seen("http/up.rs", "use super::super::lifecycle::Engine;"), ["http/up.rs imports lifecycle"]);
    assert_eq!(seen("http/mod.rs", "fn f() { super::lifecycle::f() }"), ["http/mod.rs imports lifecycle"]);
    assert_eq!(seen("domain/record.rs", "fn f() -> crate::ledger::Error {}"), ["domain/record.rs imports ledger"]);
    assert_eq!(seen("lifecycle/up.rs", "use crate::faults::Faults;"), ["lifecycle/up.rs imports faults"]);
    assert_eq!(seen("dev/mod.rs", "use crate::config::Config;"), ["dev/mod.rs imports config"]);
    assert_eq!(seen("extra/mod.rs", ""), ["extra is not a module of DESIGN 1"]);
    let fine = "use crate::{auth::X, domain, http::problem, metrics::M};\nuse super::problem;\n// crate::worker\n#[cfg(test)]\nmod tests { use crate::worker; }";
    assert_eq!(seen("http/up.rs", fine), Vec::<String>::new());
}

#[test]
fn what_people_run_injects_no_fault() {
    let manifest = std::fs::read_to_string(bins::root().join("server/Cargo.toml")).unwrap();
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(features.contains("\nfaults = []") && !features.contains("\ndefault"), "a build of its own:{features}");
    let program = std::fs::read(bins::path("alpine-server")).unwrap();
    let holds = |name: &[u8]| program.windows(name.len()).any(|window| window == name);
    assert!(holds(b"ALPINE_LEASE_SECONDS") && !holds(b"ALPINE_FAULTS") && !holds(b"injected fault"));
}

#[test]
fn the_domain_is_pure_and_sql_is_the_ledgers() {
    let source = bins::root().join("server/src");
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let text = code(&std::fs::read_to_string(&file).unwrap());
        let (module, _) = place(relative);
        let forbidden: &[&str] = match module.as_str() {
            "domain" => &["axum::", "sqlx::", "tokio::", "reqwest::", "std::env", "SystemTime", "Utc::now", "Instant::now"],
            "auth" | "http" | "gateway" | "worker" | "sandbox" | "lifecycle" => &["sqlx::query", "PgPool"],
            "ledger" => &["axum::", "reqwest::"],
            _ => &[],
        };
        for word in forbidden {
            assert!(!text.contains(word), "{} uses {word}", relative.display());
        }
    }
}

#[test]
fn the_lease_is_asked_for_before_every_call_that_changes_a_sandbox() {
    let mut calls = 0;
    for file in rust_files(&bins::root().join("server/src/lifecycle")) {
        // However it is broken into lines.
        let text: String = code(&std::fs::read_to_string(&file).unwrap()).split_whitespace().collect();
        for call in ["ensure", "exec", "serve", "stop", "destroy"] {
            assert!(!text.contains(&format!("self.provider.{call}(")), "{} calls {call} without the lease", file.display());
        }
        calls += text.matches(".acting(&job.lease).await?").count();
    }
    assert_eq!(calls, 6, "one place each, and one more for a program without a password");
}

#[test]
fn the_other_crates_keep_to_the_contract() {
    let root = bins::root();
    for (manifest, strangers) in
        [("openapi", &["alpine-server", "alpine-cli"][..]), ("cli", &["alpine-server"]), ("server", &["alpine-cli"])]
    {
        let text = std::fs::read_to_string(root.join(manifest).join("Cargo.toml")).unwrap();
        let dependencies = text.split("dependencies]").skip(1).collect::<String>();
        for stranger in strangers {
            assert!(!dependencies.contains(stranger), "{manifest} depends on {stranger}");
        }
    }
}

#[test]
fn every_top_level_name_is_there() {
    let names = [
        "Cargo.toml",
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docker-compose.yml",
        "migrations",
        "openapi",
        "server",
        "cli",
        "tests",
        "deploy",
        "docs/adr",
        "clippy.toml",
        "deny.toml",
        "rust-toolchain.toml",
        ".ci/run",
        "openapi/alpine.v1.json",
    ];
    let missing: Vec<_> = names.iter().filter(|name| !bins::root().join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// `YYYYMMDDHHMMSS_verb_noun.sql`
fn is_migration_name(name: &str) -> bool {
    let Some((time, words)) = name.strip_suffix(".sql").and_then(|stem| stem.split_once('_')) else { return false };
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    time.len() == 14 && time.bytes().all(|b| b.is_ascii_digit()) && words.split('_').count() >= 2 && words.split('_').all(word)
}

#[test]
fn migrations_are_named_by_time_and_what_they_do() {
    let mut names: Vec<String> = std::fs::read_dir(bins::root().join("migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    let wrong: Vec<_> = names.iter().filter(|name| !is_migration_name(name)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let times: BTreeSet<&str> = names.iter().map(|name| &name[..14]).collect();
    assert_eq!(times.len(), names.len(), "two migrations have one time");
    for bad in ["1_create_x.sql", "20261122160000_tenants.sql", "20261122160000_Create_x.sql", "20261122160000_create_x.txt"] {
        assert!(!is_migration_name(bad), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_transition_table_is_the_codes() {
    let db = Db::new(cluster::database().await);
    let states: Vec<Option<SessionState>> = std::iter::once(None).chain(SessionState::ALL.iter().copied().map(Some)).collect();
    let quoted = |state: Option<SessionState>| state.map_or("NULL".to_owned(), |state| format!("'{state}'"));
    let mut allowed = 0;
    for from in &states {
        for to in SessionState::ALL {
            let database: bool = db.one(&format!("SELECT lifecycle_allowed({}, '{to}')", quoted(*from))).await;
            assert_eq!(database, lifecycle::allowed(*from, *to), "{from:?} to {to}");
            allowed += usize::from(database);
        }
    }
    assert_eq!(allowed, 1 + lifecycle::TRANSITIONS.iter().map(|(_, next)| next.len()).sum::<usize>());
}
