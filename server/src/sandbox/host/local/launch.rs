//! From a command to the process that runs it: bubblewrap or not, which user, which limits, which environment.

use std::{
    ffi::OsString,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

use rustix::process::Resource;

use super::{
    super::{
        cgroup::ENTER,
        environment::{self, Folders},
        layout::{GUEST_WORKSPACE, Meta, Sandbox},
        marks::SESSION_MARK,
        settings::{Limits, Settings, check_visible},
    },
    view,
};
use crate::sandbox::{Command, ProviderError};

/// Against the server and PostgreSQL a sandbox weighs next to nothing; alone it has all there is.
const NICENESS: &str = "19";
/// Where the kernel groups processes by their session, niceness counts within a group only, and the group
/// has one of its own. To be told from inside, after the last `setsid`.
const YIELD: &str = "{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec \"$@\"";

/// Descriptors through which bubblewrap gets the filters; shells know no numbers of two digits.
const FILTERS: [&str; 2] = ["8", "9"];

#[derive(Debug)]
pub(super) struct Launcher {
    settings: Settings,
    /// `None`: plain processes.
    bubblewrap: Option<PathBuf>,
    setpriv: Option<PathBuf>,
    prlimit: Option<PathBuf>,
    nice: Option<PathBuf>,
    setsid: Option<PathBuf>,
    root: bool,
    /// Files with the filters of system calls; empty where they do not work.
    filters: Vec<PathBuf>,
}

fn permanent(what: String) -> ProviderError {
    ProviderError::Permanent { what, source: None }
}

impl Launcher {
    /// `probe_uid`: a user id of ours, for trying whether bubblewrap works.
    pub fn new(settings: Settings, root: &Path, probe_uid: u32) -> Result<Self, ProviderError> {
        let find = |name: &str| environment::program(&settings.path, name);
        let is_root = rustix::process::geteuid().is_root();
        let mut launcher = Self {
            bubblewrap: None,
            setpriv: find("setpriv"),
            prlimit: find("prlimit"),
            nice: find("nice"),
            setsid: find("setsid"),
            root: is_root,
            filters: Vec::new(),
            settings,
        };
        if launcher.settings.plain {
            return Ok(launcher);
        }
        let asked = launcher.settings.bubblewrap.clone();
        launcher.bubblewrap = asked.clone().or_else(|| environment::program(&launcher.settings.path, "bwrap"));
        launcher.filters = super::seccomp::prepare(root).map_err(super::super::io("writing the filters of system calls"))?.to_vec();
        let mut works = launcher.probe(probe_uid);
        if let Err(why) = &works {
            launcher.filters.clear();
            works = launcher.probe(probe_uid).inspect(|()| tracing::warn!(why, "sandboxes run without a filter of system calls"));
        }
        match works {
            Ok(()) => check_visible(&launcher.settings.visible, root)?,
            Err(why) if asked.is_some() => return Err(permanent(format!("bubblewrap does not work here: {why}"))),
            Err(why) => {
                tracing::warn!(why, "sandboxes run without bubblewrap: a session can read what its user can read");
                launcher.bubblewrap = None;
            }
        }
        Ok(launcher)
    }

    pub const fn isolates(&self) -> bool {
        self.bubblewrap.is_some()
    }

    fn probe(&self, uid: u32) -> Result<(), String> {
        let Some(bubblewrap) = &self.bubblewrap else { return Err("not installed".to_owned()) };
        if self.root && self.setpriv.is_none() {
            return Err("as root it also needs setpriv".to_owned());
        }
        let uid = self.root.then_some(uid);
        let mut line = self.first_steps(&[]);
        line.push(bubblewrap.into());
        let mut probe = Process::new(line.remove(0));
        probe
            .args(line)
            .args(self.namespaces())
            .args(view::arguments(&[], None, None))
            .arg("--")
            .args(self.confinement(uid, &self.settings.limits))
            .arg("true");
        let output = probe.env_clear().env("PATH", &self.settings.path).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
    }

    fn namespaces(&self) -> Vec<&'static str> {
        let mut args = vec!["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--new-session"];
        if !self.root {
            args.push("--unshare-user");
        }
        for (_, at) in self.filters.iter().zip(FILTERS) {
            args.extend(["--add-seccomp-fd", at]);
        }
        args
    }

    /// Of the server's own user: what has to be done before bubblewrap and is not done by a program of its own.
    fn first_steps(&self, groups: &[PathBuf]) -> Vec<OsString> {
        let open = self.filters.iter().zip(FILTERS).map(|(_, at)| format!("exec {at}<\"$1\"; shift; "));
        let script = open.chain([ENTER.to_owned()]).collect::<String>();
        let mut args: Vec<OsString> = ["/bin/sh", "-c", &script, "sh"].map(OsString::from).to_vec();
        args.extend(self.filters.iter().chain(groups).map(OsString::from));
        args.push("--".into());
        args
    }

    /// Limits first: only root can raise one.
    fn confinement(&self, uid: Option<u32>, limits: &Limits) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["/bin/sh", "-c", YIELD, "sh"].map(OsString::from).to_vec();
        if let Some(prlimit) = &self.prlimit {
            args.push(prlimit.into());
            let within = |resource, wanted: u64| rustix::process::getrlimit(resource).maximum.map_or(wanted, |most| wanted.min(most));
            args.extend([format!("--nofile={}", within(Resource::Nofile, limits.open_files)).into(), "--core=0".into()]);
            if limits.disk > 0 {
                args.push(format!("--fsize={}", within(Resource::Fsize, limits.disk)).into());
            }
            if limits.processes > 0 && (uid.is_some() || self.isolates()) {
                args.push(format!("--nproc={}", within(Resource::Nproc, limits.processes)).into());
            }
            args.push("--".into());
        }
        if let (Some(setpriv), Some(uid)) = (&self.setpriv, uid) {
            args.push(setpriv.into());
            args.extend([format!("--reuid={uid}").into(), format!("--regid={uid}").into()]);
            let rest = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"];
            args.extend(rest.map(OsString::from));
        }
        args
    }

    /// The process, not yet started. `groups`: the control groups that it enters first. `marks` go last into the environment: a command cannot overwrite them.
    pub fn process(
        &self,
        sandbox: &Sandbox,
        meta: &Meta,
        command: &Command,
        groups: &[PathBuf],
        marks: &[(&str, &str)],
    ) -> Result<Process, ProviderError> {
        let cwd = environment::working_directory(command)?;
        let limits = self.limits(meta);
        let mut line = self.first_steps(groups);
        // The control plane goes first: fifty sessions that start at once must not keep it from answering.
        if let Some(nice) = &self.nice {
            line.extend([nice.into(), "-n".into(), NICENESS.into()]);
        }
        // Its own process session: no terminal of the server's, and one group to signal.
        line.extend(self.setsid.as_ref().map(OsString::from));
        let directory = if let Some(bubblewrap) = &self.bubblewrap {
            line.push(bubblewrap.into());
            line.extend(self.namespaces().into_iter().map(OsString::from));
            line.extend(view::arguments(&self.settings.visible, Some(sandbox), tmpfs_size(&limits)));
            line.extend(["--chdir".into(), Path::new(GUEST_WORKSPACE).join(cwd).into_os_string(), "--".into()]);
            PathBuf::from("/")
        } else {
            plain_directory(&sandbox.workspace(), cwd)?
        };
        line.extend(self.confinement(meta.uid, &limits));
        line.extend(command.argv.iter().map(OsString::from));

        let mut process = Process::new(line.remove(0));
        process.args(line).current_dir(directory);
        let folders = if self.isolates() { Folders::guest() } else { Folders::of(sandbox) };
        process.env_clear().envs(environment::of(&self.settings.path, &self.settings.pass_env, &folders, command));
        process.env(SESSION_MARK, meta.label.session.to_string()).envs(marks.iter().copied());
        if self.setsid.is_none() {
            std::os::unix::process::CommandExt::process_group(&mut process, 0);
        }
        if let (Some(uid), None) = (meta.uid, &self.setpriv) {
            std::os::unix::process::CommandExt::uid(&mut process, uid);
            std::os::unix::process::CommandExt::gid(&mut process, uid);
        }
        Ok(process)
    }

    pub fn limits(&self, meta: &Meta) -> Limits {
        self.settings.limits.of(&meta.size)
    }

    /// Without bubblewrap a session's user reaches its folders by their real path.
    pub fn check_reachable(&self, root: &Path) -> Result<(), ProviderError> {
        if self.isolates() || !self.root {
            return Ok(());
        }
        for folder in root.ancestors() {
            let mode = folder.metadata().map_err(super::super::io(format!("reading {}", folder.display())))?.mode();
            if mode & 0o001 == 0 {
                return Err(permanent(format!(
                    "sandboxes in {} cannot be reached by their users: {} is closed to others (install bubblewrap, or choose another data directory)",
                    root.display(),
                    folder.display()
                )));
            }
        }
        Ok(())
    }
}

/// What is in memory is not to use up all of it: a write is refused before a process is killed.
fn tmpfs_size(limits: &Limits) -> Option<u64> {
    (limits.memory > 0).then_some(limits.memory / 2)
}

fn plain_directory(workspace: &Path, cwd: &Path) -> Result<PathBuf, ProviderError> {
    let wanted = workspace.join(cwd);
    let real = wanted.canonicalize().map_err(super::super::io(format!("the working directory {}", cwd.display())))?;
    if real.starts_with(workspace) {
        Ok(real)
    } else {
        Err(permanent(format!("the working directory {} is not within the workspace", cwd.display())))
    }
}
