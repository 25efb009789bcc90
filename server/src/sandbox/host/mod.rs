//! Sandboxes on the server's own host: a workspace and a private HOME a session, a user of its own where the server is root, and
//! walls: bubblewrap (`local`) or a container (`docker`).
//!
//! Nothing is kept in memory. Files (`layout`, `slots`) and /proc (`processes`) say all there is to know, so a
//! server that was killed and started again, or another one on the same host, goes on where it left off.
//! What a session starts is told from the rest by its user, its pid namespace and a mark in its environment.

mod cgroup;
mod diag;
mod docker;
mod environment;
mod exec;
mod fences;
mod flock;
mod layout;
mod limits;
mod local;
mod marks;
mod process;
mod processes;
mod provider;
mod remove;
mod serve;
mod served_log;
mod settings;
mod slots;
mod sockets;
mod stop;
mod tables;
#[cfg(test)]
mod tests;
mod usage;
mod walls;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use serde_json::json;

pub use self::settings::{Allowed, DockerSettings, HIDDEN, Limits, STANDARD_PATH, Settings};
use self::{
    fences::{Act, Fence},
    layout::{Meta, Sandbox},
    process::Process,
    processes::{Owner, Table, User, Which},
    slots::{Label, Slots},
    tables::Tables,
    walls::{Place, Walls},
};
use crate::{
    domain::{apps::App, principal::TenantId},
    sandbox::{Handle, Listed, Listener, ProviderError, Size, Status},
};

/// Longer than any worker could be late.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Clone)]
pub struct HostProvider {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    root_id: String,
    slots: Slots,
    walls: Arc<dyn Walls>,
    tables: Tables,
    /// Where a session's size says nothing else.
    limits: Limits,
    /// Why sessions were ended: a full disk may not take the file that says it.
    verdicts: Mutex<HashMap<SessionId, String>>,
    cleared: exec::Cleared,
    /// When old fences were last looked for.
    forgot: Mutex<Option<Instant>>,
    /// The server can give each session a user of its own.
    users: bool,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ProviderError {
    let what = what.into();
    move |source| {
        let what = format!("{what}: {source}");
        let source = Some(source);
        match source.as_ref().map(std::io::Error::kind) {
            Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
                ProviderError::Permanent { what, source }
            }
            _ => ProviderError::Transient { what, source },
        }
    }
}

/// Files and /proc are read where waiting for them holds up nobody; once begun it goes on to its end.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static) -> Result<T, ProviderError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ProviderError::Transient { what: format!("interrupted: {error}"), source: None }))
}

/// Where sandboxes are, before any is made.
struct Ground {
    root: PathBuf,
    root_id: String,
    slots: Slots,
}

impl Ground {
    fn prepare(asked: &Path) -> Result<Self, ProviderError> {
        let prepare = || {
            if let Some(parent) = asked.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
            }
            // It may be a link. Sessions' users may pass through it, in plain mode, but not look around.
            let root = asked.canonicalize().unwrap_or_else(|_| asked.to_owned());
            layout::make_dir(&root, 0o711)?;
            let root = root.canonicalize()?;
            layout::make_dir(&root.join(".trash"), 0o700)?;
            fences::prepare(&root)?;
            Ok(Self { slots: Slots::new(&root)?, root_id: layout::root_id(&root)?, root })
        };
        // What this process was itself started with, by a shell or a supervisor, is nothing for a sandbox. All that
        // it opens by itself is closed in its children anyway.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        prepare().map_err(io(format!("preparing {}", asked.display())))
    }
}

impl HostProvider {
    /// Processes in bubblewrap, or plain. Tries bubblewrap once, so it takes some tens of milliseconds.
    pub fn local(settings: Settings) -> Result<Self, ProviderError> {
        let ground = Ground::prepare(&settings.root)?;
        let limits = settings.limits;
        let walls = local::Local::new(settings, &ground.root, ground.slots.uid(0))?;
        Self::within(Arc::new(walls), ground, limits)
    }

    /// A container a session. Blocks until Docker has answered, so it is not to be called where a runtime's other tasks wait.
    pub fn docker(settings: DockerSettings, runtime: tokio::runtime::Handle) -> Result<Self, ProviderError> {
        let ground = Ground::prepare(&settings.root)?;
        let limits = settings.limits;
        let walls = docker::Containers::new(settings, &ground.root, &ground.root_id, runtime)?;
        Self::within(Arc::new(walls), ground, limits)
    }

    fn within(walls: Arc<dyn Walls>, ground: Ground, limits: Limits) -> Result<Self, ProviderError> {
        let Ground { root, root_id, slots } = ground;
        let provider = Self {
            inner: Arc::new(Inner {
                root,
                root_id,
                slots,
                walls,
                tables: Tables::default(),
                limits,
                verdicts: Mutex::default(),
                cleared: exec::Cleared::default(),
                forgot: Mutex::default(),
                users: rustix::process::geteuid().is_root(),
            }),
        };
        limits::watch(Arc::downgrade(&provider.inner)).map_err(io("starting to watch the sessions' limits"))?;
        Ok(provider)
    }

    /// Are sessions kept apart by more than their users?
    #[must_use]
    pub fn isolates(&self) -> bool {
        self.inner.walls.isolates()
    }

    async fn with<T, F>(&self, work: F) -> Result<T, ProviderError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, ProviderError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }
}

impl Inner {
    fn table(&self) -> Result<Arc<Table>, ProviderError> {
        self.tables.table().map_err(io(tables::READING))
    }

    /// With all of the session's processes at least, once they are behind its walls.
    fn table_of(&self, session: SessionId) -> Result<Arc<Table>, ProviderError> {
        self.tables.within(&*self.walls, session).map_err(io(tables::READING))
    }

    fn processes(&self, owner: Owner, which: &Which) -> Result<Vec<Process>, ProviderError> {
        self.table()?.of(owner, which).map_err(io(tables::READING))
    }

    fn trash(&self) -> PathBuf {
        self.root.join(".trash")
    }

    fn locate(&self, handle: &Handle) -> Result<Sandbox, ProviderError> {
        locate(handle, self.walls.name())
    }

    fn present(&self, handle: &Handle) -> Result<Sandbox, ProviderError> {
        let sandbox = self.locate(handle)?;
        if sandbox.dir.is_dir() { Ok(sandbox) } else { Err(ProviderError::Gone) }
    }

    fn handle(&self, session: SessionId) -> Handle {
        let directory = Sandbox::of(&self.root, session).dir;
        Handle { provider: self.walls.name().to_owned(), session, detail: json!({ "directory": directory, "root": self.root_id }) }
    }

    fn ensure(&self, label: &Label, size: &Size) -> Result<Handle, ProviderError> {
        let sandbox = Sandbox::of(&self.root, label.session);
        // Held to the end: a `destroy` comes before, and this is refused, or after, and removes what was made.
        let _held = Fence::of(&sandbox, label.fence).hold(Act::Make)?;
        let table = self.table()?;
        // Another root of this host may, rarely, have the same users.
        let usable = |slot| !self.users || table.with_user(User::Own(self.slots.uid(slot))).is_empty();
        let slot = self.slots.reserve(label, usable).map_err(io("reserving a slot"))?;
        let slot =
            slot.ok_or_else(|| ProviderError::Transient { what: "this host has no room for another session".to_owned(), source: None })?;
        let uid = self.users.then(|| self.slots.uid(slot));
        sandbox.complete(label, slot, uid, size).map_err(io(format!("making {}", sandbox.dir.display())))?;
        let meta = sandbox.meta().map_err(io("reading the sandbox's meta.json"))?;
        self.walls.raise(Place { sandbox: &sandbox, meta: &meta })?;
        Ok(self.handle(label.session))
    }

    /// `None`: it is not there, or is no meta. What cannot be read now is not gone for that.
    fn meta(&self, session: SessionId) -> Result<Option<Meta>, ProviderError> {
        match Sandbox::of(&self.root, session).meta() {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => Ok(None),
            Err(error) => Err(io("reading the sandbox's meta.json")(error)),
        }
    }

    /// Of a session that is not there, or whose size cannot be read now: as this provider is set up.
    fn limits_of(&self, session: SessionId) -> Limits {
        self.own_limits(session).unwrap_or(self.limits)
    }

    fn own_limits(&self, session: SessionId) -> Option<Limits> {
        Some(self.limits.of(&self.meta(session).ok()??.size))
    }

    /// Refuses a session that was ended for good.
    fn enter(&self, session: SessionId, sandbox: &Sandbox) -> Result<(), ProviderError> {
        self.ended(session, sandbox).map_or(Ok(()), |why| Err(limits::ended(why)))
    }

    /// Why this session was ended, if it was.
    fn ended(&self, session: SessionId, sandbox: &Sandbox) -> Option<String> {
        let known = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned();
        known.or_else(|| sandbox.verdict())
    }

    fn verdict(&self, session: SessionId, sandbox: &Sandbox, why: &str) {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).insert(session, why.to_owned());
        if let Err(error) = sandbox.write_verdict(why) {
            tracing::debug!(%session, %error, "why a session was ended is known to this server only");
        }
    }

    /// From what is there of it: the making or the removal may have been interrupted.
    fn owner(&self, session: SessionId) -> Result<Owner, ProviderError> {
        if let Some(meta) = self.meta(session)? {
            return Ok(self.owner_of(&meta));
        }
        let slot = self.slots.find(session).map_err(io("reading the slots"))?;
        let user = match slot {
            _ if !self.users => User::Servers,
            Some(slot) => User::Own(self.slots.uid(slot)),
            None => self.slots.users(),
        };
        Ok(Owner { session, user, one_namespace: self.walls.shares_namespace() })
    }

    fn owner_of(&self, meta: &Meta) -> Owner {
        Owner { session: meta.label.session, user: meta.user(), one_namespace: self.walls.shares_namespace() }
    }

    fn status(&self, session: SessionId) -> Result<Status, ProviderError> {
        let sandbox = Sandbox::of(&self.root, session);
        let owner = self.owner(session)?;
        if let Some(meta) = self.meta(session)?
            && let Some(served) = &meta.served
            && served.alive().map_err(io("looking at the served program"))?
        {
            // Whoever looks often also keeps the log from growing for ever.
            sandbox.trim_log().map_err(io("cutting served.log"))?;
            let listening = serve::listener(self, &meta, served)?.is_some();
            return Ok(Status::Serving { endpoint: served.endpoint(), listening });
        }
        let slot = self.slots.find(session).map_err(io("reading the slots"))?;
        let there = slot.is_some()
            || fs::symlink_metadata(&sandbox.dir).is_ok()
            || !remove::trashed(self, session).map_err(io("reading what is to be removed"))?.is_empty()
            || self.walls.is_there(session)?
            || !self.processes(owner, &Which::All)?.is_empty();
        Ok(if there { Status::Idle } else { Status::Absent })
    }

    fn listener(&self, app: App) -> Result<Option<Listener>, ProviderError> {
        let Some(meta) = self.meta(app.session)? else { return Ok(None) };
        match (&meta.served, app.port) {
            (Some(served), Some(port)) => serve::listener_on(self, &meta, served, port.get()),
            (Some(served), None) if served.alive().map_err(io("looking at the served program"))? => serve::listener(self, &meta, served),
            _ => Ok(None),
        }
    }

    fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let mut sessions: BTreeSet<SessionId> = self.slots.sessions().map_err(io("reading the slots"))?.into_iter().collect();
        for entry in fs::read_dir(&self.root).map_err(io("reading the sandboxes"))? {
            let name = entry.map_err(io("reading the sandboxes"))?.file_name();
            sessions.extend(name.to_str().and_then(|name| name.parse::<SessionId>().ok()));
        }
        let standing: HashMap<SessionId, Label> = self.walls.standing()?.into_iter().map(|label| (label.session, label)).collect();
        sessions.extend(standing.keys());
        self.forget(&sessions);
        Ok(sessions.into_iter().filter_map(|session| self.listed(session, standing.get(&session))).collect())
    }

    /// Now and then, the fences of sandboxes that are long gone.
    fn forget(&self, there: &BTreeSet<SessionId>) {
        let mut forgot = self.forgot.lock().unwrap_or_else(PoisonError::into_inner);
        if forgot.is_none_or(|at| at.elapsed() > FORGET_EVERY) {
            *forgot = Some(Instant::now());
            if let Err(error) = fences::forget(&self.root, there, REMEMBERED) {
                tracing::warn!(%error, "old fences could not be removed");
            }
        }
    }

    fn listed(&self, session: SessionId, standing: Option<&Label>) -> Option<Listed> {
        let label = self.meta(session).ok().flatten().map(|meta| meta.label);
        let label = label.or_else(|| self.slots.label(session)).or_else(|| standing.cloned());
        // Unlabelled it is nobody's, and must be seen to be removed.
        let label = label.unwrap_or_else(|| {
            tracing::warn!(%session, "a sandbox without a label");
            Label { tenant: "unknown".to_owned(), session, fence: 0 }
        });
        match TenantId::parse(&label.tenant) {
            Ok(tenant) => {
                let fence = label.fence.max(fences::highest(&Sandbox::of(&self.root, session)));
                Some(Listed { tenant, session, fence, handle: self.handle(session) })
            }
            Err(error) => {
                tracing::warn!(%session, %error, "a sandbox whose label cannot be read");
                None
            }
        }
    }
}

/// The sandbox that a handle names, which may be another root's.
fn locate(handle: &Handle, name: &str) -> Result<Sandbox, ProviderError> {
    let directory = handle.detail.get("directory").and_then(serde_json::Value::as_str).map(Path::new);
    match directory {
        Some(dir) if handle.provider == name && dir.is_absolute() && dir.ends_with(handle.session.to_string()) => {
            Ok(Sandbox { dir: dir.to_owned() })
        }
        _ => Err(ProviderError::Permanent { what: format!("the handle is not of a {name} sandbox"), source: None }),
    }
}
