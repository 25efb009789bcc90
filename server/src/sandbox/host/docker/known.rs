//! Containers that run, as this host sees them: their first process, their control groups, their address.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use bollard::models::ContainerInspectResponse;
use rustix::process::Signal;

use super::{
    super::{
        cgroup::{Version, counter, find},
        process::Started,
        walls::Kind,
    },
    container,
};

/// Who has no container is asked about again after this time; who has one is looked at by its first process.
const ABSENT: Duration = Duration::from_secs(2);

const GROUPS: [Kind; 2] = [Kind::Pids, Kind::Memory];

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub id: String,
    pub generation: String,
    pub pid: i32,
    pub address: String,
    pub gateway: String,
    /// Of this host and of all containers of this place.
    pub subnet: String,
    /// Its network is closed.
    pub closed: bool,
    pub init: Started,
    groups: Vec<(Kind, Version, PathBuf)>,
}

impl Known {
    /// `None` for one that does not run, or not on this host.
    pub fn of(found: &ContainerInspectResponse, network: &str) -> Option<Self> {
        let pid = found.state.as_ref().filter(|state| state.running == Some(true))?.pid.and_then(|pid| i32::try_from(pid).ok())?;
        let network = found.network_settings.as_ref()?.networks.as_ref()?.get(network)?;
        Some(Self {
            id: found.id.clone()?,
            generation: container::label(found, container::GENERATION)?.clone(),
            pid,
            address: network.ip_address.clone()?,
            subnet: format!("{}/{}", network.gateway.as_deref()?, network.ip_prefix_len?),
            gateway: network.gateway.clone()?,
            closed: false,
            init: Started::find_keeper(pid).ok()??,
            groups: groups(pid),
        })
    }

    pub fn is_alive(&self) -> bool {
        // What cannot be seen now is asked about again, of Docker.
        self.init.alive().unwrap_or_default()
    }

    fn group(&self, kind: Kind) -> Option<(Version, &Path)> {
        self.groups.iter().find(|group| group.0 == kind).map(|(_, version, path)| (*version, path.as_path()))
    }

    pub fn has_groups(&self) -> bool {
        self.groups.len() == GROUPS.len()
    }

    pub fn kill(&self) {
        self.init.signal(Signal::KILL);
    }

    /// All of them, what keeps it alive included.
    pub fn processes(&self) -> Option<Vec<i32>> {
        let (_, _, group) = self.groups.first()?;
        let list = fs::read_to_string(group.join("cgroup.procs")).ok()?;
        let pids: BTreeSet<i32> = list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect();
        Some(pids.into_iter().collect())
    }

    pub fn processes_used(&self) -> Option<(u64, u64)> {
        let (_, group) = self.group(Kind::Pids)?;
        let current = fs::read_to_string(group.join("pids.current")).ok()?.trim().parse().ok()?;
        Some((current, counter(group, "pids.events", "max").unwrap_or_default()))
    }

    pub fn memory_kills(&self) -> Option<u64> {
        let (version, group) = self.group(Kind::Memory)?;
        counter(group, if version == Version::One { "memory.oom_control" } else { "memory.events" }, "oom_kill")
    }
}

/// Of a process: where Docker puts them depends on its driver.
fn groups(pid: i32) -> Vec<(Kind, Version, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let group = |kind: Kind| {
        let (version, top) = find(&mounts, kind, |at| fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default())?;
        let path = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let this = match version {
                Version::One => controllers.split(',').any(|name| name == kind.name()),
                Version::Two => controllers.is_empty(),
            };
            this.then_some(path)
        })?;
        let group = top.join(path.trim_start_matches('/'));
        group.join("cgroup.procs").is_file().then_some((kind, version, group))
    };
    GROUPS.into_iter().filter_map(group).collect()
}

#[derive(Debug, Default)]
pub(super) struct Containers(Mutex<HashMap<SessionId, (Instant, Option<Known>)>>);

impl Containers {
    /// `look`: `None` if nothing could be learnt.
    pub fn get(&self, session: SessionId, look: impl FnOnce() -> Option<Option<Known>>) -> Option<Known> {
        if let Some((at, known)) = self.map(|map| map.get(&session).cloned()) {
            match known {
                Some(known) if known.is_alive() => return Some(known),
                None if at.elapsed() < ABSENT => return None,
                _ => {}
            }
        }
        let found = look()?;
        self.map(|map| map.insert(session, (Instant::now(), found.clone())));
        found
    }

    pub fn put(&self, session: SessionId, known: Known) {
        self.map(|map| map.insert(session, (Instant::now(), Some(known))));
    }

    pub fn forget(&self, session: SessionId) {
        self.map(|map| map.remove(&session));
    }

    fn map<T>(&self, work: impl FnOnce(&mut HashMap<SessionId, (Instant, Option<Known>)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
