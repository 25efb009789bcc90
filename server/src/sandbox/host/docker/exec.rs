//! Commands and the served program, begun in a container.

use std::{
    fs,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use async_trait::async_trait;
use bollard::{
    container::LogOutput,
    exec::{StartExecOptions, StartExecResults},
    models::{ExecConfig, ExecInspectResponse},
};
use futures_util::{StreamExt as _, future::ready};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};
use tokio::{io::unix::AsyncFd, runtime::Handle};
use uuid::Uuid;

use super::{
    super::{
        environment::{self, Folders},
        io,
        layout::{GUEST_WORKSPACE, Sandbox},
        marks::{EXEC_MARK, SESSION_MARK},
        process::Started,
        processes::fence_of,
        tables::Tables,
        walls::{Asked, Begun, Marks, Place, Program, Waiting},
    },
    Containers, GUEST_LOG, PAUSE,
    api::Api,
    container::user,
};
use crate::sandbox::{Command, Exit, Output, ProviderError};

const CHUNK: usize = 16 * 1024;
/// For Docker to begin what it was asked for.
const BEGINNING: Duration = Duration::from_secs(10);
/// For Docker to take note of an end.
const NOTED: Duration = Duration::from_secs(10);
/// Where the names are of what may begin. Docker begins what it was asked for whether anybody still waits for it or not, and a command
/// that nobody asks for any more, or under an older fence, must not.
pub(super) const GUEST_GO: &str = "/run/alpine/go";
/// Also says, as a shell does, that there is no such program.
const RUN: &str = "exec \"$@\"";
/// What may not begin ends with this.
const REVOKED: i32 = 125;
/// How the name of a served program's permission begins; a command's begins with its fence.
const SERVE: &str = "serve.";

/// One may begin.
fn permit(sandbox: &Sandbox, run: &str) -> Result<(), ProviderError> {
    fs::write(sandbox.go().join(run), "").map_err(io("permitting a command"))
}

/// None of these begins any more.
pub(super) fn revoke(sandbox: &Sandbox, what: Asked<'_>) {
    let of = |name: &str| match what {
        Asked::All => true,
        Asked::Commands(fence) => !name.starts_with(SERVE) && fence_of(name) <= fence,
        Asked::Run(run) => run == name,
    };
    for entry in fs::read_dir(sandbox.go()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(of) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Containers {
    pub fn exec(&self, place: Place<'_>, command: &Command, stdin: bool, run: &str) -> Result<Begun, ProviderError> {
        let config = ExecConfig {
            attach_stdin: Some(stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..self.config(place, command, (run, RUN), &[(EXEC_MARK, run)])?
        };
        permit(place.sandbox, run)?;
        let exec = self.create_exec(place, config)?;
        let options = StartExecOptions { output_capacity: Some(CHUNK), ..StartExecOptions::default() };
        let started = self.call("starting a command", self.api.start_exec(&exec, Some(options)))?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(ProviderError::Transient { what: "Docker did not attach to the command".to_owned(), source: None });
        };
        let process = self.runtime.block_on(begun(&self.api, &exec))?;
        // What is written to a terminal or was typed there: there is none.
        let piece = |piece: Result<LogOutput, _>| match piece {
            Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => Some(Output::Stdout(message.to_vec())),
            Ok(LogOutput::StdErr { message }) => Some(Output::Stderr(message.to_vec())),
            Ok(LogOutput::StdIn { .. }) | Err(_) => None,
        };
        Ok(Begun {
            // Docker's child: its number may be another's at any time.
            pid: None,
            stdin: stdin.then(|| Box::new(input) as _),
            outputs: vec![output.filter_map(move |one| ready(piece(one))).boxed()],
            waiting: Box::new(Running { api: self.api.clone(), exec, process }),
        })
    }

    /// The exec of the program that serves.
    pub fn detached(&self, place: Place<'_>, command: &Command, marks: Marks<'_>) -> Result<String, ProviderError> {
        let script = format!("exec \"$@\" >>{GUEST_LOG} 2>&1 </dev/null");
        // A name of its own: what an earlier one is still being asked for must not begin with this one's permission.
        let run = format!("{SERVE}{}", Uuid::now_v7().simple());
        let config = self.config(place, command, (&run, &script), marks)?;
        permit(place.sandbox, &run)?;
        let exec = self.create_exec(place, config)?;
        let options = StartExecOptions { detach: true, ..StartExecOptions::default() };
        self.call("starting the served program", self.api.start_exec(&exec, Some(options)))?;
        Ok(exec)
    }

    fn config(
        &self,
        place: Place<'_>,
        command: &Command,
        (run, script): (&str, &str),
        marks: Marks<'_>,
    ) -> Result<ExecConfig, ProviderError> {
        let cwd = Path::new(GUEST_WORKSPACE).join(environment::working_directory(command)?);
        let mut environment = environment::of(&self.settings.path, &self.settings.pass_env, &Folders::guest(), command);
        environment.extend(marks.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        environment.insert(SESSION_MARK.to_owned(), place.session().to_string());
        let script = format!("[ -e {GUEST_GO}/{run} ] || exit {REVOKED}; {script}");
        let shell = ["/bin/sh", "-c", &script, "sh"].map(str::to_owned);
        Ok(ExecConfig {
            user: Some(user(place.meta)),
            working_dir: Some(cwd.display().to_string()),
            env: Some(environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: Some(shell.into_iter().chain(command.argv.iter().cloned()).collect()),
            ..ExecConfig::default()
        })
    }

    /// Where the container has ended since it was looked at, in the next one.
    fn create_exec(&self, place: Place<'_>, config: ExecConfig) -> Result<String, ProviderError> {
        let what = "beginning a command";
        let known = self.ready(place)?;
        match self.call(what, self.api.create_exec(&known.id, config.clone())) {
            Err(error) if error.is_of_none() => {
                self.known.forget(place.session());
                let known = self.ready(place)?;
                Ok(self.call(what, self.api.create_exec(&known.id, config))?.id)
            }
            created => Ok(created?.id),
        }
    }
}

async fn inspect(api: &Api, exec: &str) -> Result<ExecInspectResponse, ProviderError> {
    Ok(api.ask("looking at a command", api.inspect_exec(exec)).await?)
}

/// The process, once it has begun: on this host. It may have ended by then.
async fn begun(api: &Api, exec: &str) -> Result<Process, ProviderError> {
    let transient = |what: String| ProviderError::Transient { what, source: None };
    let deadline = Instant::now() + BEGINNING;
    loop {
        let found = inspect(api, exec).await?;
        if let Some(pid) = found.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0) {
            return Process::of(pid);
        }
        if let (Some(false), Some(code)) = (found.running, found.exit_code) {
            return Err(transient(format!("Docker could not begin the command ({code})")));
        }
        if Instant::now() > deadline {
            return Err(transient("Docker did not begin the command in time".to_owned()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nobody here waits for it, so its number may be another's: with the descriptor it is known for sure.
#[derive(Debug)]
struct Process {
    started: Option<Started>,
    descriptor: Option<OwnedFd>,
}

impl Process {
    fn of(pid: i32) -> Result<Self, ProviderError> {
        let failed = || io("looking at a command");
        let descriptor = match Pid::from_raw(pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty())).transpose() {
            Err(Errno::SRCH) => None,
            opened => opened.map_err(|error| failed()(error.into()))?,
        };
        let started = if descriptor.is_some() { Started::find(pid).map_err(failed())? } else { None };
        Ok(Self { started, descriptor })
    }
}

#[derive(Debug)]
struct Running {
    api: Api,
    exec: String,
    process: Process,
}

#[async_trait]
impl Waiting for Running {
    /// Asked of the kernel: Docker takes note only when nobody holds the command's output any more.
    async fn ended(&mut self) -> Result<(), ProviderError> {
        let Some(descriptor) = self.process.descriptor.take() else { return Ok(()) };
        #[expect(deprecated, reason = "what came instead is unsafe, for types that lie about their descriptor; this one owns it")]
        let descriptor = AsyncFd::new(descriptor).map_err(io("waiting for a command"))?;
        descriptor.readable().await.map(drop).map_err(io("waiting for a command"))
    }

    async fn exit(&mut self) -> Result<Exit, ProviderError> {
        let deadline = Instant::now() + NOTED;
        loop {
            let found = inspect(&self.api, &self.exec).await?;
            if let (Some(false), Some(code)) = (found.running, found.exit_code) {
                return Ok(Exit::of_wrapped(i32::try_from(code).unwrap_or(i32::MAX)));
            }
            if Instant::now() > deadline {
                return Err(ProviderError::Transient { what: "Docker does not say how the command ended".to_owned(), source: None });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[derive(Debug)]
pub(super) struct Served {
    api: Api,
    runtime: Handle,
    exec: String,
    process: Option<Started>,
}

impl Served {
    pub fn new(api: Api, runtime: Handle, exec: String) -> Self {
        Self { api, runtime, exec, process: None }
    }
}

impl Program for Served {
    fn find(&mut self, _: &Tables) -> Result<Option<(Started, Option<Started>)>, ProviderError> {
        self.process = self.runtime.block_on(begun(&self.api, &self.exec))?.started;
        Ok(self.process.map(|process| (process, None)))
    }

    fn exit_code(&mut self, _: &str) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let found = self.runtime.block_on(inspect(&self.api, &self.exec)).ok()?;
            if let (Some(false), Some(code)) = (found.running, found.exit_code) {
                let Exit::Code(code) = Exit::of_wrapped(i32::try_from(code).ok()?) else { return None };
                return (code != REVOKED).then_some(code);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(PAUSE);
        }
    }

    fn kill(&mut self) {
        if let Some(process) = self.process {
            process.signal(Signal::KILL);
        }
    }

    /// It is Docker's child.
    fn leave(self: Box<Self>, _: SessionId) {}
}
