//! Sessions driven to a phase, whichever it is.

use std::time::Duration;

use alpine_api::SessionId;
use alpine_server::domain::operation::Phase;
use serde_json::json;
use tokio::{runtime::Handle, task::JoinSet};
use uuid::Uuid;

use crate::{World, cli::text, git_server::url};

pub const LIMIT: Duration = Duration::from_secs(120);
/// Leaves a line for each time that it ran.
pub const INSTALL: &str = "install = \"echo ran >> installs\"";
/// A served program that costs less than any other.
pub const CHEAP_SERVE: &str = "exec python3 -ISc \"import os, socket
s = socket.create_server((os.environ['HOST'], int(os.environ['PORT'])))
while True:
    c = s.accept()[0]; c.recv(4096); c.sendall(b'HTTP/1.0 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok'); c.close()\"";

/// Whose work a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    Up,
    FailingUp,
    Down,
}

impl Drive {
    #[must_use]
    pub fn to(phase: Phase) -> Self {
        match phase {
            Phase::Resolve | Phase::Provision | Phase::Sync | Phase::Install | Phase::Start => Self::Up,
            Phase::Cleanup => Self::FailingUp,
            Phase::Stop | Phase::Persist | Phase::Destroy => Self::Down,
        }
    }

    /// The state that the session rests in at last.
    #[must_use]
    pub const fn rests(self) -> &'static str {
        match self {
            Self::Up => "ready",
            Self::FailingUp => "failed",
            Self::Down => "stopped",
        }
    }

    /// The states on the way there, each once.
    #[must_use]
    pub fn path(self) -> Vec<&'static str> {
        let more: &[&str] = match self {
            Self::Up => &["ready"],
            Self::FailingUp => &["failing", "failed"],
            Self::Down => &["ready", "stopping", "persisting", "stopped"],
        };
        [&["requested", "provisioning", "repo_syncing", "installing"], more].concat()
    }

    /// The first phase of the operation that is begun last.
    #[must_use]
    pub fn first(self) -> Phase {
        match self {
            Self::Up | Self::FailingUp => Phase::Resolve,
            Self::Down => Phase::Stop,
        }
    }

    /// Begin the operation, and wait for nothing: the server may be about to die. The session.
    pub async fn begin(self, world: &World) -> String {
        let install = if self == Self::FailingUp { "install = \"exit 3\"" } else { INSTALL };
        world.git.with_files("org/driven", &[(".alpine.toml", install)]);
        let api = world.api("ann");
        let asked = {
            let api = api.clone();
            tokio::spawn(async move { api.up("k", &url("org/driven"), "main").await })
        };
        let session = crate::until("the up is accepted", LIMIT, || async { sessions(world).await.pop() }).await;
        if self == Self::Down {
            assert_eq!(text(asked.await.unwrap().expect(202), "session_id"), session);
            world.db.wait_for_state(&session, &["ready"], LIMIT).await;
            let (api, session) = (api.clone(), session.clone());
            tokio::spawn(async move { api.down(&session, json!({})).await });
        }
        session
    }

    /// The session is where it should be at last, and so is its sandbox.
    pub async fn assert_rests(self, at: &str, world: &World, session: &str) {
        let resting = ["ready", "failed", "stopped", "cleanup_failed", "close_failed", "stopped_unpersisted", "persist_failed"];
        let on_the_way = if self == Self::Down { &resting[1..] } else { &resting[..] };
        let state = world.db.wait_for_state(session, on_the_way, LIMIT).await;
        assert_eq!(state, self.rests(), "{at}");
        assert_eq!(world.db.path(session).await, self.path(), "{at}: each state once");
        let live = world.db.count("operations WHERE status IN ('queued', 'running')").await;
        let records = world.db.count("session_records").await;
        assert_eq!((live, records), (0, i64::from(self == Self::Down)), "{at}: live operations and records");
        if self == Self::Up {
            assert_eq!(crate::sandboxes::directories(&world.data_dir), [session], "{at}: one sandbox");
            world.answers(&json!({ "opencode_url": world.db.one::<String>("SELECT opencode_url FROM sessions").await })).await;
        } else {
            world.assert_nothing_left(session);
            assert_eq!(crate::sandboxes::directories(&world.data_dir), Vec::<String>::new(), "{at}: sandboxes left");
        }
    }
}

/// Run a test for each of these, as many at once as there may be worlds; how many failed. Each on a thread
/// of its own: a failure does not keep the others from their end.
pub async fn each<T, F>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) -> F + Clone + Send + 'static) -> usize
where
    T: Send + 'static,
    F: Future<Output = ()>,
{
    let mut all = JoinSet::new();
    for case in cases {
        let test = test.clone();
        all.spawn_blocking(move || Handle::current().block_on(test(case)));
    }
    let mut failed = 0;
    while let Some(one) = all.join_next().await {
        failed += usize::from(one.is_err());
    }
    failed
}

/// The ids of all sessions.
pub async fn sessions(world: &World) -> Vec<String> {
    let ids: Vec<Uuid> = world.db.one("SELECT coalesce(array_agg(session_id), '{}') FROM sessions").await;
    ids.into_iter().map(|id| SessionId::from_uuid(id).to_string()).collect()
}
