//! Children of this server: a command, and the program that serves.

use std::{
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use async_trait::async_trait;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
};

use super::super::{
    cgroup, io,
    layout::Sandbox,
    process::{Process, Started},
    tables::{READING, Tables},
    walls::{Begun, Program, Waiting},
};
use crate::sandbox::{Exit, Output, ProviderError};

const CHUNK: usize = 16 * 1024;
/// For bubblewrap to make its namespaces.
const BEGINNING: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    status: Option<ExitStatus>,
    isolates: bool,
}

impl Running {
    /// `None`: there is no such program.
    pub fn begin(mut process: Command, stdin: bool, isolates: bool) -> Result<Option<Begun>, ProviderError> {
        process.stdin(if stdin { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match tokio::process::Command::from(process).kill_on_drop(true).spawn() {
            Ok(child) => child,
            // As a shell, or the wrappers that run a command otherwise, would say it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !isolates => return Ok(None),
            Err(error) => return Err(io("starting a command")(error)),
        };
        let stdout = child.stdout.take().map(|from| read(from, Output::Stdout));
        let stderr = child.stderr.take().map(|from| read(from, Output::Stderr));
        Ok(Some(Begun {
            pid: child.id(),
            stdin: child.stdin.take().map(|stdin| Box::new(stdin) as _),
            outputs: stdout.into_iter().chain(stderr).collect(),
            waiting: Box::new(Self { child, status: None, isolates }),
        }))
    }
}

fn read<R: AsyncRead + Send + Unpin + 'static>(from: R, wrap: fn(Vec<u8>) -> Output) -> BoxStream<'static, Output> {
    let piece = move |(mut from, mut buffer): (R, Vec<u8>)| async move {
        let length = from.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
        Some((wrap(buffer[..length].to_vec()), (from, buffer)))
    };
    stream::unfold((from, vec![0; CHUNK]), piece).boxed()
}

#[async_trait]
impl Waiting for Running {
    async fn ended(&mut self) -> Result<(), ProviderError> {
        self.status = Some(self.child.wait().await.map_err(io("waiting for a command"))?);
        Ok(())
    }

    async fn exit(&mut self) -> Result<Exit, ProviderError> {
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait().await.map_err(io("waiting for a command"))?,
        };
        use std::os::unix::process::ExitStatusExt as _;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) if self.isolates => Exit::of_wrapped(code),
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        })
    }
}

#[derive(Debug)]
pub(super) struct Spawned {
    child: Child,
    isolates: bool,
}

impl Spawned {
    pub fn start(mut process: Command, sandbox: &Sandbox, isolates: bool) -> Result<Self, ProviderError> {
        let log = sandbox.open_log().map_err(io("opening served.log"))?;
        let copy = log.try_clone().map_err(io("opening served.log"))?;
        process.stdin(Stdio::null()).stdout(log).stderr(copy);
        let child = tokio::process::Command::from(process).spawn().map_err(io("starting the served program"))?;
        Ok(Self { child, isolates })
    }

    /// The first process of the new pid namespace; `None` if bubblewrap ended without making one.
    fn init(&mut self, process: Started, tables: &Tables) -> Result<Option<Started>, ProviderError> {
        let deadline = Instant::now() + BEGINNING;
        while Instant::now() < deadline {
            let children = match Process::children(process.pid).map_err(io(READING))? {
                Some(children) => children,
                None => tables.table().map_err(io(READING))?.children(process.pid).copied().collect(),
            };
            if let Some(init) = children.iter().find(|child| child.init) {
                return Ok(Some(init.id));
            }
            if self.child.try_wait().map_err(io("waiting for the served program"))?.is_some() {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Err(ProviderError::Transient { what: "bubblewrap did not start the served program in time".to_owned(), source: None })
    }
}

impl Program for Spawned {
    fn find(&mut self, tables: &Tables) -> Result<Option<(Started, Option<Started>)>, ProviderError> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let found = pid.map(Started::find).transpose().map_err(io("looking at the served program"))?;
        match found.flatten() {
            Some(process) if self.isolates => Ok(self.init(process, tables)?.map(|init| (process, Some(init)))),
            found => Ok(found.map(|process| (process, None))),
        }
    }

    fn exit_code(&mut self, log: &str) -> Option<i32> {
        if self.isolates && log.lines().any(|line| line.starts_with("bwrap: ")) {
            return None;
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                ended => return ended.ok().flatten()?.code().filter(|code| *code != cgroup::NOT_ENTERED),
            }
        }
    }

    fn kill(&mut self) {
        let _ = self.child.start_kill();
    }

    /// While this server lives it is the parent, so it has to take note of the end.
    fn leave(mut self: Box<Self>, session: SessionId) {
        tokio::spawn(async move {
            match self.child.wait().await {
                Ok(status) => tracing::info!(%session, %status, "a served program ended"),
                Err(error) => tracing::warn!(%session, %error, "waiting for a served program"),
            }
        });
    }
}
