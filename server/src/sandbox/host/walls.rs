//! What keeps a session's processes apart from all others, and how they begin. Everything else (files, fences, the processes
//! themselves, limits) is the same whatever the walls are made of.

use std::fmt;

use alpine_api::SessionId;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

use super::{
    layout::{Meta, Sandbox},
    process::Started,
    slots::Label,
    tables::Tables,
};
use crate::sandbox::{Command, Exit, Output, ProviderError};

/// A sandbox as far as its files go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub sandbox: &'a Sandbox,
    pub meta: &'a Meta,
}

impl Place<'_> {
    pub const fn session(&self) -> SessionId {
        self.meta.label.session
    }
}

/// Names and values that go last into an environment: a command cannot overwrite them.
pub(super) type Marks<'a> = &'a [(&'a str, &'a str)];

/// What is counted of a session, where the walls bound it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Memory,
    Pids,
    Cpu,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];
}

/// All of it blocks, except for what is begun.
pub(super) trait Walls: fmt::Debug + Send + Sync {
    /// The provider's name.
    fn name(&self) -> &'static str;

    /// A command's processes see no others, and how they ended comes as an exit code.
    fn isolates(&self) -> bool;

    /// All processes of a session share one pid namespace, which is none but theirs.
    fn shares_namespace(&self) -> bool;

    /// Ready for a process. What is there already and is this very sandbox's stays.
    fn raise(&self, place: Place<'_>) -> Result<(), ProviderError>;

    /// What was asked for and has not begun does not begin any more. Before what runs is looked for.
    fn revoke(&self, sandbox: &Sandbox, what: Asked<'_>);

    /// With a pipe to its input, or none. Its mark as a command is `run`. `None`: there is no such program.
    fn begin(&self, place: Place<'_>, command: &Command, stdin: bool, run: &str) -> Result<Option<Begun>, ProviderError>;

    /// Detached, and writing to the sandbox's log.
    fn serve(&self, place: Place<'_>, command: &Command, marks: Marks<'_>) -> Result<Box<dyn Program>, ProviderError>;

    /// On which a served program is to listen.
    fn bind_address(&self) -> &'static str;

    /// At which it is reached from here.
    fn address(&self, place: Place<'_>) -> Result<String, ProviderError>;

    /// Lets no process begin any more, and kills those there are, at once. What it cannot reach others have to.
    fn kill(&self, session: SessionId);

    /// After its last process; the files are somebody else's.
    fn raze(&self, session: SessionId) -> Result<(), ProviderError>;

    fn is_there(&self, session: SessionId) -> Result<bool, ProviderError>;

    /// Whoever has walls here, files or not.
    fn standing(&self) -> Result<Vec<Label>, ProviderError>;

    fn limits(&self, kind: Kind) -> bool;

    /// All of the session's processes, where they can be told without looking at all of the machine's.
    fn processes(&self, session: SessionId) -> Option<Vec<i32>>;

    /// Processes and threads there are, and how often one more was refused.
    fn processes_used(&self, session: SessionId) -> Option<(u64, u64)>;

    /// How often a process was killed for want of memory.
    fn memory_kills(&self, session: SessionId) -> Option<u64>;
}

/// A command that runs.
pub(super) struct Begun {
    /// Of a child of this server, which nobody else waits for.
    pub pid: Option<u32>,
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub outputs: Vec<BoxStream<'static, Output>>,
    /// Dropped before the end it ends the command's first process, where it can.
    pub waiting: Box<dyn Waiting>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("pid", &self.pid).finish_non_exhaustive()
    }
}

#[async_trait]
pub(super) trait Waiting: Send {
    /// The first process has ended; others may still hold its output.
    async fn ended(&mut self) -> Result<(), ProviderError>;

    /// How, once it has.
    async fn exit(&mut self) -> Result<Exit, ProviderError>;
}

/// What somebody was asked to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    All,
    /// Commands under this fence and lower ones.
    Commands(i64),
    /// One command's run.
    Run(&'a str),
}

/// A program that was started to serve.
pub(super) trait Program: Send {
    /// It, and the first process of its pid namespace if it has one of its own; `None` if it ended before it was found.
    fn find(&mut self, tables: &Tables) -> Result<Option<(Started, Option<Started>)>, ProviderError>;

    /// `None` of one that a signal has ended, that does not end, or that never began. `log`: what was written since it was started.
    fn exit_code(&mut self, log: &str) -> Option<i32>;

    fn kill(&mut self);

    /// It is recorded, and nobody waits for it here any more.
    fn leave(self: Box<Self>, session: SessionId);
}
