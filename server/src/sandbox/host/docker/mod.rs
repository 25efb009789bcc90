//! A container a session, through the Docker Engine API of this very host: an ordinary user without any privilege on a read-only
//! root, with the sandbox's folders mounted into it and a network that leads outside only.
//!
//! The container is kept alive by a program that does nothing; commands and the served program are begun in it. They are processes of
//! this host like all others, so they are found, counted and ended as those of the other provider are, whether Docker answers or not.

mod api;
mod container;
mod exec;
mod firewall;
mod known;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use alpine_api::SessionId;
use bollard::models::{ContainerInspectResponse, SystemInfo, SystemInfoCgroupDriverEnum};
use tokio::runtime::Handle;

pub use self::firewall::Allowed;
use self::{
    api::{Api, Call},
    exec::Served,
    firewall::Firewall,
    known::Known,
};
use super::{
    cgroup::yielding,
    layout::{GUEST_HOME, GUEST_TMP, GUEST_WORKSPACE, Sandbox, replace},
    settings::{DockerSettings, check_visible},
    slots::Label,
    walls::{Asked, Begun, Kind, Marks, Place, Program, Walls},
};
use crate::sandbox::{Command, ProviderError};

const NAME: &str = "docker";
/// For a look that others wait for.
const GLANCE: Duration = Duration::from_secs(3);
/// All containers together are below this group, where Docker lets us name one.
const GROUP: &str = "alpine-containers";
const RESOLV_CONF: &str = ".resolv.conf";

fn permanent(what: String) -> ProviderError {
    ProviderError::Permanent { what, source: None }
}

#[derive(Debug)]
pub(super) struct Containers {
    api: Api,
    runtime: Handle,
    settings: DockerSettings,
    root_id: String,
    network: String,
    firewall: Firewall,
    known: known::Containers,
    /// Of this host.
    cpus: i64,
    /// Docker makes groups itself, and not systemd.
    own_groups: bool,
    resolv_conf: PathBuf,
    /// What sessions of some size have a limit of.
    limited: Vec<Kind>,
}

impl Containers {
    /// Blocks until Docker has answered, and makes the sessions' network.
    pub fn new(settings: DockerSettings, root: &Path, root_id: &str, runtime: Handle) -> Result<Self, ProviderError> {
        if !rustix::process::geteuid().is_root() {
            return Err(permanent("sandboxes in containers need a server that is root: each session has a user of its own".to_owned()));
        }
        let api = runtime.block_on(Api::connect(&settings.socket))?;
        let info = runtime.block_on(api.ask("asking what it is", api.info()))?;
        if let Some(warning) = restart_warning(&info) {
            tracing::warn!("{warning}");
        }
        check_visible(&settings.visible, root)?;
        let firewall = Firewall::new(&settings)?;
        // Docker's own would tell a session the names of all others, and ask servers that sessions may not reach.
        let resolv_conf = root.join(RESOLV_CONF);
        let lines: String = firewall.resolvers().iter().map(|resolver| format!("nameserver {resolver}\n")).collect();
        replace(&resolv_conf, lines.as_bytes(), 0o644).map_err(super::io("writing the sessions' resolv.conf"))?;
        let network = format!("alpine-{}", &root_id[..root_id.len().min(8)]);
        let all = settings.limits.of_all(&settings.sizes);
        let containers = Self {
            limited: Kind::ALL.into_iter().filter(|kind| all.iter().any(|limits| limits.bound(*kind))).collect(),
            api,
            runtime,
            settings,
            root_id: root_id.to_owned(),
            network,
            firewall,
            known: known::Containers::default(),
            cpus: info.ncpu.unwrap_or(1),
            own_groups: info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::CGROUPFS),
            resolv_conf,
        };
        if containers.own_groups
            && let Err(error) = yielding(Path::new(GROUP))
        {
            tracing::warn!(%error, "containers have as much of a busy machine as the server");
        }
        containers.check_images()?;
        containers.make_network()?;
        Ok(containers)
    }

    /// Waits for an answer. Never on a thread that runs other tasks.
    fn call<T>(&self, what: &str, call: impl Future<Output = Result<T, bollard::errors::Error>>) -> Result<T, Call> {
        self.runtime.block_on(self.api.ask(what, call))
    }

    /// The session's container, if it is ours and runs. By what is known of its first process, without Docker, as far as that goes.
    fn look(&self, session: SessionId) -> Option<Known> {
        self.known.get(session, || {
            let name = container::name(session);
            let asked = self.api.ask("looking at the session's container", self.api.inspect_container(&name, None));
            let asked = async { tokio::time::timeout(GLANCE, asked).await };
            match self.runtime.block_on(asked) {
                Ok(Ok(found)) => Some(self.ours(&found).and_then(|()| Known::of(&found, &self.network))),
                // Nothing is known unless Docker says that there is none: asked again the next time.
                Ok(Err(error)) => error.is_absent().then_some(None),
                Err(_) => None,
            }
        })
    }
}

impl Walls for Containers {
    fn name(&self) -> &'static str {
        NAME
    }

    fn isolates(&self) -> bool {
        true
    }

    fn shares_namespace(&self) -> bool {
        true
    }

    fn raise(&self, place: Place<'_>) -> Result<(), ProviderError> {
        self.ready(place).map(drop)
    }

    fn revoke(&self, sandbox: &Sandbox, what: Asked<'_>) {
        exec::revoke(sandbox, what);
    }

    fn begin(&self, place: Place<'_>, command: &Command, stdin: bool, run: &str) -> Result<Option<Begun>, ProviderError> {
        self.exec(place, command, stdin, run).map(Some)
    }

    fn serve(&self, place: Place<'_>, command: &Command, marks: Marks<'_>) -> Result<Box<dyn Program>, ProviderError> {
        let exec = self.detached(place, command, marks)?;
        Ok(Box::new(Served::new(self.api.clone(), self.runtime.clone(), exec)))
    }

    fn bind_address(&self) -> &'static str {
        "0.0.0.0"
    }

    fn address(&self, place: Place<'_>) -> Result<String, ProviderError> {
        self.ready(place).map(|known| known.address)
    }

    /// All of a pid namespace ends with its first process, and Docker takes note of that.
    fn kill(&self, session: SessionId) {
        if let Some(known) = self.look(session) {
            known.kill();
        }
    }

    fn raze(&self, session: SessionId) -> Result<(), ProviderError> {
        self.known.forget(session);
        self.remove(session)
    }

    fn is_there(&self, session: SessionId) -> Result<bool, ProviderError> {
        Ok(self.inspect(session)?.is_some_and(|found| self.ours(&found).is_some()))
    }

    fn standing(&self) -> Result<Vec<Label>, ProviderError> {
        self.list()
    }

    fn limits(&self, kind: Kind) -> bool {
        self.limited.contains(&kind)
    }

    fn processes(&self, session: SessionId) -> Option<Vec<i32>> {
        self.look(session)?.processes()
    }

    fn processes_used(&self, session: SessionId) -> Option<(u64, u64)> {
        self.look(session).filter(|_| self.limits(Kind::Pids))?.processes_used()
    }

    fn memory_kills(&self, session: SessionId) -> Option<u64> {
        self.look(session).filter(|_| self.limits(Kind::Memory))?.memory_kills()
    }
}

impl Containers {
    /// What of this host is within a container: where from, where, and whether only to read.
    fn mounts(&self, sandbox: &Sandbox) -> Vec<(PathBuf, String, bool)> {
        let own = [
            (sandbox.workspace(), GUEST_WORKSPACE, false),
            (sandbox.home(), GUEST_HOME, false),
            (sandbox.tmp(), GUEST_TMP, false),
            (sandbox.log(), GUEST_LOG, false),
            (sandbox.go(), exec::GUEST_GO, true),
            (sandbox.etc().join("passwd"), "/etc/passwd", true),
            (sandbox.etc().join("group"), "/etc/group", true),
            (self.resolv_conf.clone(), "/etc/resolv.conf", true),
        ];
        let visible =
            self.settings.visible.iter().filter(|path| path.exists()).map(|path| (path.clone(), path.display().to_string(), true));
        own.map(|(from, to, read_only)| (from, to.to_owned(), read_only)).into_iter().chain(visible).collect()
    }

    /// Made by a server of this place.
    fn ours(&self, found: &ContainerInspectResponse) -> Option<()> {
        (container::label(found, container::ROOT) == Some(&self.root_id)).then_some(())
    }
}

const GUEST_LOG: &str = "/run/alpine/served.log";
/// Between two looks at what Docker is about to have done.
const PAUSE: Duration = Duration::from_millis(5);

/// What a restart of Docker, as with each new version of it, does to what runs.
fn restart_warning(info: &SystemInfo) -> Option<&'static str> {
    (info.live_restore_enabled == Some(false)).then_some(
        r#"a restart of Docker ends all sessions: set "live-restore": true in /etc/docker/daemon.json, and systemctl reload docker"#,
    )
}

/// The bridge's name on the host: at most 15 bytes.
fn bridge(network: &str) -> String {
    network.replace("alpine-", "alp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_docker_that_does_not_keep_its_containers_is_warned_of() {
        let warned = |live_restore_enabled| restart_warning(&SystemInfo { live_restore_enabled, ..SystemInfo::default() }).is_some();
        assert!(warned(Some(false)) && !warned(Some(true)));
        assert!(!warned(None), "it does not say so");
    }
}
