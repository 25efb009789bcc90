//! What a provider has on this machine, seen from outside.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::ground;

/// Where they are: of one provider.
pub fn root(data_dir: &Path) -> PathBuf {
    let containers = data_dir.join("containers");
    if containers.is_dir() { containers } else { data_dir.join("sandboxes") }
}

/// The session of each container of a data directory, in whichever state Docker has it.
pub fn containers(data_dir: &Path) -> Vec<String> {
    let Ok(root) = std::fs::read_to_string(data_dir.join("containers/.id")) else { return Vec::new() };
    let (of_root, session) = (format!("label=alpine.root={root}"), "{{.Label \"alpine.session\"}}");
    let said = docker(&["ps", "--all", "--filter", &of_root, "--format", session]);
    said.lines().map(str::to_owned).collect()
}

/// What the tests' Docker says.
pub fn docker(words: &[&str]) -> String {
    let socket =
        ground::docker_socket().unwrap_or_else(|| panic!("there are containers, and no tests' Docker: tests/docker/run.sh has one"));
    let out = std::process::Command::new("docker").arg("--host").arg(format!("unix://{}", socket.display())).args(words).output().unwrap();
    assert!(out.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

/// Its parent.
pub fn parent(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The ids of the sessions that have a directory.
pub fn directories(data_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root(data_dir)).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| name.starts_with("ses_")).collect()
}

/// The processes of one session: each has its id in the environment.
pub fn processes(session_id: &str) -> Vec<i32> {
    let mark = format!("ALPINE_SESSION_ID={session_id}");
    numbered("/proc").into_iter().filter(|pid| environment(*pid).contains(&mark)).collect()
}

/// Every process of a session: which session's, and whether it is of the served program.
pub fn marked() -> Vec<(String, i32, bool)> {
    let marked = numbered("/proc").into_iter().filter_map(|pid| {
        let environment = environment(pid);
        let session = environment.iter().find_map(|pair| pair.strip_prefix("ALPINE_SESSION_ID="))?;
        let served = environment.iter().any(|pair| pair == "ALPINE_SERVE=1");
        Some((session.to_owned(), pid, served))
    });
    marked.collect()
}

/// What a variable is in the environment of one of a session's processes.
pub fn variable(session_id: &str, name: &str) -> Option<String> {
    let pairs = processes(session_id).into_iter().flat_map(environment);
    pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)).next()
}

fn environment(pid: i32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|b| *b == 0).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect()
}

fn numbered(dir: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// End whatever runs in one session's sandbox.
pub fn kill(session_id: &str) {
    for pid in processes(session_id) {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}

/// End whatever a test left running.
pub fn kill_all(data_dir: &Path) {
    let marks: Vec<String> = directories(data_dir).iter().map(|id| format!("ALPINE_SESSION_ID={id}")).collect();
    if marks.is_empty() {
        return;
    }
    for pid in numbered("/proc") {
        if environment(pid).iter().any(|pair| marks.contains(pair)) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

/// Every path below a directory, relative to it. Links are not followed.
pub fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            found.push(entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    found
}

/// The control groups of the sandboxes of a data directory, whose processes have ended.
pub fn remove_groups(data_dir: &Path) {
    let sessions = std::fs::read_dir(root(data_dir)).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for session in sessions {
        let controllers = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for parent in controllers.chain(["/sys/fs/cgroup".into()]) {
            // One that is not there, or not empty yet, is left.
            let _ = std::fs::remove_dir(parent.join("alpine").join(&session));
        }
    }
}
