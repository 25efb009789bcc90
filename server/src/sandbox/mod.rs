//! Where sessions live. A provider makes, runs, stops and removes sandboxes; it knows nothing of git,
//! npm or the ledger. Every call is idempotent by session id.

use std::{fmt, path::PathBuf, time::Duration};

use alpine_api::SessionId;
use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::domain::{apps::App, class::ClassSize, principal::TenantId};

pub mod host;
mod listener;
mod observed;

pub use listener::{HeldSocket, Listener, basic, connect};
pub use observed::Observed;

/// What is to be made, and for whom.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    pub tenant: TenantId,
    pub session: SessionId,
    /// The fence of the lease under which it is made; also a label.
    pub fence: i64,
    pub size: Size,
}

/// How much of the machine a sandbox has, and what of, where that is not as the provider is set up. It stays as it was when the
/// sandbox was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes.
    pub memory: Option<u64>,
    pub cpu_millis: Option<u32>,
    /// Bytes.
    pub disk: Option<u64>,
    /// What its processes find themselves in, where a provider has images.
    pub image: Option<String>,
}

impl From<&ClassSize> for Size {
    fn from(class: &ClassSize) -> Self {
        let bytes = |mb: Option<i32>| mb.map(|mb| u64::from(mb.unsigned_abs()) << 20);
        Self {
            memory: bytes(class.memory_mb),
            cpu_millis: class.cpu_millis.map(i32::unsigned_abs),
            disk: bytes(class.disk_mb),
            image: class.image.clone(),
        }
    }
}

/// How the provider finds a sandbox again, from any process: stored in the ledger as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// The provider's name.
    pub provider: String,
    pub session: SessionId,
    /// What only the provider reads.
    pub detail: serde_json::Value,
}

/// A command inside a sandbox. The working directory is the workspace unless `cwd` says otherwise
/// (relative to the workspace).
#[derive(Clone, Default)]
pub struct Command {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Set in the environment too, but never shown in a `Debug` or a log.
    pub secret_env: Vec<(String, SecretString)>,
    /// Not shown either: keys come this way.
    pub stdin: Option<Vec<u8>>,
    pub cwd: Option<PathBuf>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argv, env, secret_env, stdin, cwd } = self;
        let stdin = stdin.as_ref().map(Vec::len);
        let shown = &mut f.debug_struct("Command");
        shown.field("argv", argv).field("env", env).field("secret_env", secret_env).field("stdin_bytes", &stdin).field("cwd", cwd).finish()
    }
}

/// A piece of a command's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// Of 128 + n these are taken for a signal; the others (128 and 129 are git's own) for exit codes.
const SIGNALS: [i32; 12] = [2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15];

impl Exit {
    /// As whoever ran the command reports it, who says a signal as 128 + its number.
    #[must_use]
    pub fn of_wrapped(code: i32) -> Self {
        if SIGNALS.contains(&(code - 128)) { Self::Signal(code - 128) } else { Self::Code(code) }
    }

    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

/// Where a served program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// A part of what the program that serves a workspace has written. Its bytes are numbered from 0 on, over all programs
/// that ever served this sandbox and for as long as there is the sandbox, whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedOutput {
    /// The number of the first byte; higher than what was asked for where that is not kept any more.
    pub from: u64,
    pub bytes: Vec<u8>,
    /// How many bytes were ever written.
    pub length: u64,
}

/// What a provider knows of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// There is nothing of it: no process, no file, no reservation.
    Absent,
    /// It exists; nothing is served.
    Idle,
    /// Its served program runs. `listening`: a process of this very sandbox, not a stranger, holds the port.
    Serving { endpoint: Endpoint, listening: bool },
}

/// A sandbox in a provider's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub tenant: TenantId,
    pub session: SessionId,
    /// The highest fence that has acted on it.
    pub fence: i64,
    pub handle: Handle,
}

#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// May go away by itself: worth another try.
    #[error("{what}")]
    Transient {
        what: String,
        #[source]
        source: Option<std::io::Error>,
    },
    /// Trying again changes nothing.
    #[error("{what}")]
    Permanent {
        what: String,
        #[source]
        source: Option<std::io::Error>,
    },
    /// The sandbox that the handle names is gone.
    #[error("the sandbox is gone")]
    Gone,
    /// A newer worker has acted on the session, or it was destroyed: nothing was done.
    #[error("a newer worker has this sandbox")]
    Fenced,
}

/// Whoever changes a sandbox says under which fence. A provider remembers, for each session, the highest
/// fence that ever acted on it, and refuses a change under a lower one as `Fenced`: the ledger's own fences
/// stop what a worker writes, not what it was about to do when it was paused. The memory of a destroyed
/// sandbox outlives it, so that an `ensure` which comes late makes nothing.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    fn name(&self) -> &'static str;

    /// Whether that sandbox is one of this provider's own: `destroy` and `inspect` know no other.
    fn reaches(&self, handle: &Handle) -> bool;

    /// What stands as `root` in the detail of the handles that this provider makes, and of no handle of another place.
    fn root(&self) -> Option<&str>;

    /// Make the sandbox, or find the one that is there. Also `Fenced` under the fence that destroyed it.
    async fn ensure(&self, spec: &SandboxSpec) -> Result<Handle, ProviderError>;

    /// Run a command to its end. Output goes to `output` as it comes (a closed receiver is no error).
    /// Begins by ending whatever an earlier, interrupted `exec` of this sandbox left running. Dropping the
    /// future ends the command and all its children. The fence is that of the beginning: who comes later
    /// under a higher one ends the command.
    async fn exec(&self, handle: &Handle, fence: i64, command: Command, output: mpsc::Sender<Output>) -> Result<Exit, ProviderError>;

    /// Start the program that serves the workspace, detached from this server, with `$HOST` and `$PORT`
    /// in its environment and in its arguments. One that runs already is left alone.
    async fn serve(&self, handle: &Handle, fence: i64, command: Command) -> Result<Endpoint, ProviderError>;

    /// The last bytes that the served program wrote, for an error's cause.
    async fn served_output(&self, handle: &Handle, limit: usize) -> Result<String, ProviderError>;

    /// How many bytes the served program has ever written. Asked each second of each sandbox, so it costs next to nothing;
    /// it may be wrong for a moment. 0 where nothing was ever served.
    async fn served_length(&self, handle: &Handle) -> Result<u64, ProviderError>;

    /// What the served program wrote, from byte `from` on, at most `limit` bytes: what a provider has of it, as long as it
    /// runs and until it is destroyed. Beyond the end it is nothing, from the end on.
    async fn served_from(&self, handle: &Handle, from: u64, limit: usize) -> Result<ServedOutput, ProviderError>;

    /// Stop everything that runs in it: politely, and after `grace` by force. Files stay.
    async fn stop(&self, handle: &Handle, fence: i64, grace: Duration) -> Result<(), ProviderError>;

    /// Remove it, by session id: a sandbox whose handle was never recorded must be found too.
    async fn destroy(&self, session: SessionId, fence: i64) -> Result<(), ProviderError>;

    /// Why the provider ended everything of a sandbox by itself, if it did: which limit it reached. Where what was served has ended
    /// and the kernel has killed for want of memory since it began, that.
    async fn ended(&self, session: SessionId) -> Option<String>;

    async fn inspect(&self, session: SessionId) -> Result<Status, ProviderError>;

    /// The sockets at which the session's own program, or whatever else of the session is on that port, accepts connections. `None` as long
    /// as it does not, or somebody else does there too.
    async fn listener(&self, app: App) -> Result<Option<Listener>, ProviderError>;

    /// Whether these listen still, and no others. Costs far less than to find them.
    async fn is_still(&self, listener: &Listener) -> bool;

    async fn list(&self) -> Result<Vec<Listed>, ProviderError>;
}
