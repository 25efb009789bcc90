//! What a provider has on this machine, scanned without its help, against the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use alpine_api::SessionId;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Violation;
use crate::sandboxes;

pub const CHECKS: &[&str] = &[READY, FINAL, UNKNOWN];
const READY: &str = "ready_has_one_living_sandbox";
const FINAL: &str = "final_has_no_sandbox";
const UNKNOWN: &str = "no_sandbox_is_unknown";

/// All that there is of one session.
#[derive(Debug, Default)]
struct Found {
    directory: bool,
    slots: usize,
    trash: usize,
    processes: Vec<i32>,
    /// The pid namespaces of the served program, one for each time that it was started (in bubblewrap).
    served: BTreeSet<PathBuf>,
    /// Docker's, running or not.
    containers: usize,
    /// Served processes that no served one has started: in a container, one for each time that the program was.
    begun: usize,
}

pub(super) async fn run(connection: &mut PgConnection, data_dir: &Path) -> sqlx::Result<Vec<Violation>> {
    let sessions = load(connection).await?;
    let root = sandboxes::root(data_dir);
    let mut scanned = scan(&root, |session| sessions.contains_key(session));
    let in_containers = root.ends_with("containers");
    for session in sandboxes::containers(data_dir) {
        scanned.entry(session).or_default().containers += 1;
    }
    let mut violations = Vec::new();
    for (session, (state, url)) in &sessions {
        let found = scanned.remove(session).unwrap_or_default();
        let wrong = match state.as_str() {
            "ready" if in_containers && (found.containers, found.begun) != (1, 1) => {
                Some((READY, "has not exactly one container with one served program".to_owned()))
            }
            "ready" => missing(&root.join(session), &found, url.as_deref()).map(|what| (READY, what)),
            "stopped" | "failed" if !found.is_nothing() => Some((FINAL, "is not all gone".to_owned())),
            _ => None,
        };
        violations.extend(wrong.map(|(check, what)| Violation { check, what: format!("{session} is {state} and {what}: {found:?}") }));
    }
    violations.extend(scanned.into_iter().map(|(session, found)| Violation { check: UNKNOWN, what: format!("{session}: {found:?}") }));
    Ok(violations)
}

#[expect(clippy::disallowed_methods, reason = "the checks look at the ledger from outside, whatever the schema of the day")]
async fn load(connection: &mut PgConnection) -> sqlx::Result<BTreeMap<String, (String, Option<String>)>> {
    let rows: Vec<(Uuid, String, Option<String>)> =
        sqlx::query_as("SELECT session_id, state, opencode_url FROM sessions").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(session, state, url)| (SessionId::from_uuid(session).to_string(), (state, url))).collect())
}

impl Found {
    fn is_nothing(&self) -> bool {
        !self.directory && self.slots == 0 && self.trash == 0 && self.processes.is_empty() && self.containers == 0
    }
}

/// Directories, reservations, what is being removed, and processes.
fn scan(root: &Path, is_known: impl Fn(&str) -> bool) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::<String, Found>::new();
    for name in names(root).into_iter().filter(|name| is_session(name)) {
        found.entry(name).or_default().directory = true;
    }
    for name in names(&root.join(".slots")) {
        if let Some((_, session)) = name.split_once('.').filter(|(_, session)| is_session(session)) {
            found.entry(session.to_owned()).or_default().slots += 1;
        }
    }
    for name in names(&root.join(".trash")) {
        let session = name.split('.').next().unwrap_or(&name);
        found.entry(session.to_owned()).or_default().trash += 1;
    }
    let ours = namespace("self");
    let marked = sandboxes::marked();
    let served: BTreeSet<i32> = marked.iter().filter(|(_, _, served)| *served).map(|(_, pid, _)| *pid).collect();
    for (session, pid, is_served) in marked {
        if is_known(&session) || lives_below(root, pid) {
            let found = found.entry(session).or_default();
            found.processes.push(pid);
            found.served.extend(namespace(&pid.to_string()).filter(|namespace| is_served && Some(namespace) != ours.as_ref()));
            let by_a_served_one = sandboxes::parent(pid).is_some_and(|parent| served.contains(&parent));
            found.begun += usize::from(is_served && !by_a_served_one);
        }
    }
    found
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn namespace(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn is_session(name: &str) -> bool {
    name.parse::<SessionId>().is_ok()
}

/// Whether a process works in a sandbox of this root: in plain mode its directory says so, in bubblewrap what is
/// mounted for it. Other servers' sandboxes may be on this machine too.
fn lives_below(root: &Path, pid: i32) -> bool {
    let here = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(root));
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    // The fourth field is the mounted directory, from the root of its file system, which may be mounted itself.
    let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(3)?.split_once("/ses_").map(|(above, _)| above.to_owned()));
    let root = root.to_string_lossy();
    here || mounted.map(|above| above.trim_end_matches("/.trash").to_owned()).any(|above| !above.is_empty() && root.ends_with(&above))
}

/// What a ready session lacks.
fn missing(dir: &Path, found: &Found, url: Option<&str>) -> Option<String> {
    if !found.directory || found.slots != 1 || found.trash != 0 {
        return Some("has not exactly one sandbox".to_owned());
    }
    let meta: Value = fs::read(dir.join("meta.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let pid = |of: &str| meta["served"][of]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let served = [pid("process"), pid("init")];
    if !served.iter().flatten().any(|pid| found.processes.contains(pid)) {
        return Some(format!("its served program {served:?} does not run"));
    }
    if found.served.len() > 1 {
        return Some("its program is served more than once".to_owned());
    }
    let address = url.and_then(|url| url::Url::parse(url).ok()).and_then(|url| url.socket_addrs(|| None).ok()?.into_iter().next());
    match address {
        Some(address) if listening(address) => None,
        _ => Some(format!("nothing listens at {url:?}")),
    }
}

fn listening(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}
