//! Processes on the server's own host: control groups, a user of its own where the server is root, bubblewrap where it works.
//! Only without all three walls, run by an ordinary user and without bubblewrap, can a program that drops its environment and its
//! parents escape.

mod launch;
mod seccomp;
mod start;
mod view;

use std::path::{Path, PathBuf};

use alpine_api::SessionId;

use self::{
    launch::Launcher,
    start::{Running, Spawned},
};
use super::{
    cgroup::Cgroups,
    io,
    layout::Sandbox,
    marks::EXEC_MARK,
    settings::Settings,
    slots::Label,
    walls::{Asked, Begun, Kind, Marks, Place, Program, Walls},
};
use crate::sandbox::{Command, ProviderError};

const NAME: &str = "local";
const LOOPBACK: &str = "127.0.0.1";

#[derive(Debug)]
pub(super) struct Local {
    launcher: Launcher,
    cgroups: Cgroups,
}

impl Local {
    /// Tries bubblewrap once, so it takes some tens of milliseconds. `probe_uid`: a user id of ours, for that.
    pub fn new(settings: Settings, root: &Path, probe_uid: u32) -> Result<Self, ProviderError> {
        let cgroups = Cgroups::discover(&settings.limits.of_all(&settings.sizes), &settings.cgroup_parent);
        let launcher = Launcher::new(settings, root, probe_uid)?;
        launcher.check_reachable(root)?;
        Ok(Self { launcher, cgroups })
    }

    fn groups(&self, place: Place<'_>) -> Result<Vec<PathBuf>, ProviderError> {
        self.cgroups.make(place.session(), &self.launcher.limits(place.meta)).map_err(io("making the session's control groups"))
    }

    fn process(&self, place: Place<'_>, command: &Command, marks: Marks<'_>) -> Result<std::process::Command, ProviderError> {
        self.launcher.process(place.sandbox, place.meta, command, &self.groups(place)?, marks)
    }
}

impl Walls for Local {
    fn name(&self) -> &'static str {
        NAME
    }

    fn isolates(&self) -> bool {
        self.launcher.isolates()
    }

    fn shares_namespace(&self) -> bool {
        false
    }

    /// The groups; each process has a bubblewrap of its own.
    fn raise(&self, place: Place<'_>) -> Result<(), ProviderError> {
        self.groups(place).map(drop)
    }

    /// What was asked for has begun.
    fn revoke(&self, _: &Sandbox, _: Asked<'_>) {}

    fn begin(&self, place: Place<'_>, command: &Command, stdin: bool, run: &str) -> Result<Option<Begun>, ProviderError> {
        let process = self.process(place, command, &[(EXEC_MARK, run)])?;
        Running::begin(process, stdin, self.isolates())
    }

    fn serve(&self, place: Place<'_>, command: &Command, marks: Marks<'_>) -> Result<Box<dyn Program>, ProviderError> {
        let process = self.process(place, command, marks)?;
        Ok(Box::new(Spawned::start(process, place.sandbox, self.isolates())?))
    }

    fn bind_address(&self) -> &'static str {
        LOOPBACK
    }

    fn address(&self, _: Place<'_>) -> Result<String, ProviderError> {
        Ok(LOOPBACK.to_owned())
    }

    fn kill(&self, session: SessionId) {
        self.cgroups.kill(session);
    }

    fn raze(&self, session: SessionId) -> Result<(), ProviderError> {
        self.cgroups.remove(session).map_err(io("removing the session's control groups"))
    }

    fn is_there(&self, session: SessionId) -> Result<bool, ProviderError> {
        Ok(self.cgroups.is_there(session))
    }

    /// Its files and its slot say so.
    fn standing(&self) -> Result<Vec<Label>, ProviderError> {
        Ok(Vec::new())
    }

    fn limits(&self, kind: Kind) -> bool {
        self.cgroups.limits(kind)
    }

    fn processes(&self, session: SessionId) -> Option<Vec<i32>> {
        self.cgroups.processes(session)
    }

    fn processes_used(&self, session: SessionId) -> Option<(u64, u64)> {
        self.cgroups.processes_used(session)
    }

    fn memory_kills(&self, session: SessionId) -> Option<u64> {
        self.cgroups.memory_kills(session)
    }
}
