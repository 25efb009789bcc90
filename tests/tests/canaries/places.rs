//! Where is looked, and which file or process may hold which secret because that is what it is for.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use alpine_tests::{postgres, sandboxes};

use crate::{
    needles::Search,
    processes::{Seen, variables},
    stage::Stage,
};

/// Files of the test's own, below its directory, that are there to hold a secret.
const KEEPERS: &[&str] = &["jwt.key", "credential.key", "credential.new.key", "key.pem", "deploy-key"];
/// What runs git for a session, and git: each hands the one variable down to the next.
const GITS: &[&str] =
    &["git", "git-remote-http", "git-remote-https", "bwrap", "dash", "sh", "bash", "setpriv", "prlimit", "nice", "setsid", "env"];
const TOKEN_VARIABLE: &[u8] = b"ALPINE_GIT_TOKEN";
pub const PASSWORD_VARIABLE: &[u8] = b"OPENCODE_SERVER_PASSWORD";

/// What is wrong, and which places have shown a mark.
#[derive(Debug, Default)]
pub struct Findings {
    pub leaks: Vec<String>,
    marked: Vec<(String, Vec<String>)>,
}

impl Findings {
    fn look(&mut self, search: &Search<'_>, place: &str, what: &[u8]) {
        let (hits, marks) = search.within(what);
        for hit in hits {
            self.leaks.push(format!("{place}: {} ({}): {}", hit.kind, hit.form, hit.around));
        }
        self.marked.push((place.to_owned(), marks));
    }

    /// The marks of the places whose name has this in it.
    pub fn marks(&self, place: &str) -> Vec<&str> {
        let places = self.marked.iter().filter(|(name, _)| name.contains(place));
        places.flat_map(|(_, marks)| marks.iter().map(String::as_str)).collect()
    }

    pub fn places(&self) -> usize {
        self.marked.len()
    }
}

/// Everything that lies about when all is done, and what was said and seen on the way.
pub fn look_everywhere(stage: &Stage, search: &Search<'_>, seen: impl IntoIterator<Item = Seen>) -> Findings {
    let mut findings = Findings::default();
    for place in ["an answer of the server", "what alpine says", "what alpine-server says", "/metrics"] {
        findings.look(search, place, &stage.kept(place));
    }
    findings.look(search, "traces by HTTP", &stage.receiver.bytes());
    findings.look(search, "traces by gRPC", &stage.grpc_receiver.bytes());
    findings.look(search, "a dump of the database", &dump(stage, &[]));
    for table in ["session_logs", "progress"] {
        findings.look(search, &format!("the table {table}"), &dump(stage, &["--data-only", "--table", table]));
    }
    for (name, path) in files(&stage.world.dir) {
        if !KEEPERS.contains(&name.as_str()) {
            findings.look(search, &format!("file {name}"), &std::fs::read(path).unwrap_or_default());
        }
    }
    for (name, path) in files(&stage.cluster) {
        findings.look(search, &format!("database file {name}"), &std::fs::read(path).unwrap_or_default());
    }
    for path in cores() {
        findings.look(search, &format!("core {}", path.display()), &std::fs::read(&path).unwrap_or_default());
    }
    processes(&mut findings, search, seen);
    findings
}

fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    sandboxes::files(dir).into_iter().map(|name| (name.clone(), dir.join(name))).filter(|(_, path)| is_file(path)).collect()
}

fn is_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

/// Core files where this machine puts them: beside the programs, which run where the test does.
pub fn cores() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(".").unwrap().flatten();
    let core = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"core"));
    entries.map(|entry| entry.path()).filter(|path| core(path) && is_file(path)).collect()
}

fn dump(stage: &Stage, of: &[&str]) -> Vec<u8> {
    let mut command = Command::new(postgres::binary("pg_dump"));
    command.args(["--username=postgres", "--no-password", "alpine_0"]).args(of).arg("--host").arg(&stage.cluster).process_group(0);
    let output = command.output().expect("pg_dump runs");
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// No argument of any process; no variable but those that bring a secret where it is used.
fn processes(findings: &mut Findings, search: &Search<'_>, seen: impl IntoIterator<Item = Seen>) {
    for Seen { program, arguments, environment } in seen {
        findings.look(search, &format!("arguments of {program}"), &arguments);
        for (name, value) in variables(&environment) {
            if !may_hold(&program, name) {
                findings.look(search, &format!("environment of {program}: {}", String::from_utf8_lossy(name)), value);
            }
        }
    }
}

/// The servers have their settings, `alpine` has its caller's, git and what starts it has the one token. Sandboxes get
/// the proxy with its password, as whoever configures one means them to.
fn may_hold(program: &str, variable: &[u8]) -> bool {
    const OF_THE_SERVER: &[&[u8]] = &[b"DATABASE_URL", b"AWS_SECRET_ACCESS_KEY", b"OTEL_EXPORTER_OTLP_HEADERS", b"HTTPS_PROXY"];
    const OF_ALPINE: &[&[u8]] = &[b"GITHUB_TOKEN", b"GH_TOKEN", b"ALPINE_TOKEN"];
    // What a session's own server is told, it and what it starts.
    if variable == b"HTTPS_PROXY" || variable == PASSWORD_VARIABLE {
        return true;
    }
    match program {
        "alpine-server" | "alpine-server-faulty" => OF_THE_SERVER.contains(&variable) || variable == TOKEN_VARIABLE,
        "alpine" => OF_ALPINE.contains(&variable),
        program => GITS.contains(&program) && variable == TOKEN_VARIABLE,
    }
}
