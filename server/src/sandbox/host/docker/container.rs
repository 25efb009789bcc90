//! Making, finding and removing containers.

use std::{
    collections::{BTreeSet, HashMap},
    os::unix::fs::lchown,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
        NetworkCreateRequest, ResourcesUlimits,
    },
    query_parameters::{CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};
use rustix::process::Resource;

use super::{
    super::{
        io,
        layout::{GUEST_WORKSPACE, Meta, Sandbox},
        marks::SESSION_MARK,
        process::KEEPER,
        settings::Limits,
        slots::Label,
        walls::{Kind, Place, Walls as _},
    },
    Containers, GROUP, Known, PAUSE,
    api::Call,
    bridge, permanent,
};
use crate::sandbox::ProviderError;

/// Whether containers of a network reach each other.
const CLOSED: &str = "com.docker.network.bridge.enable_icc";
pub(super) const ROOT: &str = "alpine.root";
pub(super) const GENERATION: &str = "alpine.generation";
const TENANT: &str = "alpine.tenant";
const SESSION: &str = "alpine.session";
const FENCE: &str = "alpine.fence";
/// Of 1024: a container weighs next to nothing; alone it has all there is.
const SHARES: i64 = 2;
/// Sooner than the server and the database, when the machine has no memory left.
const OOM_SCORE: i64 = 500;
/// For Docker to take note of an end, and for what others were making or removing meanwhile.
const READY: Duration = Duration::from_secs(15);
/// For Docker to let go of a name.
const REMOVAL: Duration = Duration::from_secs(30);

pub(super) fn name(session: SessionId) -> String {
    format!("alpine-{session}")
}

pub(super) fn label<'a>(found: &'a ContainerInspectResponse, name: &str) -> Option<&'a String> {
    found.config.as_ref()?.labels.as_ref()?.get(name)
}

pub(super) fn user(meta: &Meta) -> String {
    let id = meta.uid.unwrap_or_default();
    format!("{id}:{id}")
}

fn id(found: &ContainerInspectResponse) -> String {
    found.id.clone().unwrap_or_default()
}

fn is_running(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().is_some_and(|state| state.running == Some(true))
}

/// By whoever made it, for whom, and of which files.
fn is_of(found: &ContainerInspectResponse, meta: &Meta) -> bool {
    let is = |name, value: &str| label(found, name).is_some_and(|label| label == value);
    is(TENANT, &meta.label.tenant) && is(SESSION, &meta.label.session.to_string()) && is(GENERATION, &meta.generation)
}

/// The one file in which a served program writes that is not in its folders: it has to be there, and the session's, to be mounted.
fn prepare_log(Place { sandbox, meta }: Place<'_>) -> Result<(), ProviderError> {
    drop(sandbox.open_log().map_err(io("making served.log"))?);
    lchown(sandbox.log(), meta.uid, None).map_err(io("making served.log"))
}

impl Containers {
    /// The sandbox's container, which runs and whose network is closed.
    pub(super) fn ready(&self, place: Place<'_>) -> Result<Known, ProviderError> {
        let session = place.session();
        if let Some(known) = self.look(session)
            && known.closed
            && known.generation == place.meta.generation
        {
            return Ok(known);
        }
        let deadline = Instant::now() + READY;
        loop {
            // Before the look: a start that took long is not lost.
            let late = Instant::now() > deadline;
            match self.inspect(session)? {
                Some(found) if self.ours(&found).is_none() => {
                    return Err(permanent(format!("a container named {} is there that is none of this server's", name(session))));
                }
                Some(found)
                    if is_of(&found, place.meta)
                        && let Some(known) = Known::of(&found, &self.network) =>
                {
                    return self.close(session, known);
                }
                _ if late => {
                    let what = "the session's container does not stay, or the server does not see its processes: it has to be on Docker's own host, in the host's pid namespace";
                    return Err(ProviderError::Transient { what: what.to_owned(), source: None });
                }
                None => {
                    prepare_log(place)?;
                    match self.create(place) {
                        // Another worker's, or an earlier one's: looked at before it is taken for ours, once Docker shows it.
                        Err(error) if error.is_conflict() => thread::sleep(PAUSE * 4),
                        made => made?,
                    }
                }
                Some(found) if !is_of(&found, place.meta) => self.remove(session)?,
                Some(found) if !is_running(&found) => {
                    self.call("starting the session's container", self.api.start_container(&id(&found), None))?
                }
                // Docker has not taken note of its end yet; or it is not of this host.
                Some(_) => thread::sleep(PAUSE * 4),
            }
        }
    }

    /// Nothing has begun in it before this.
    fn close(&self, session: SessionId, mut known: Known) -> Result<Known, ProviderError> {
        let limits = self.limits(Kind::Memory) || self.limits(Kind::Pids);
        if limits && !known.has_groups() {
            return Err(permanent("the server does not see the containers' control groups, by which they are limited".to_owned()));
        }
        self.firewall.close(&known)?;
        known.closed = true;
        self.known.put(session, known.clone());
        Ok(known)
    }

    pub fn inspect(&self, session: SessionId) -> Result<Option<ContainerInspectResponse>, ProviderError> {
        match self.call("looking at the session's container", self.api.inspect_container(&name(session), None)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn create(&self, place: Place<'_>) -> Result<(), Call> {
        let options = CreateContainerOptionsBuilder::new().name(&name(place.session())).build();
        self.call("making the session's container", self.api.create_container(Some(options), self.body(place))).map(drop)
    }

    fn body(&self, Place { sandbox, meta }: Place<'_>) -> ContainerCreateBody {
        let Label { tenant, session, fence } = &meta.label;
        let labels = [
            (ROOT, self.root_id.clone()),
            (TENANT, tenant.clone()),
            (SESSION, session.to_string()),
            (GENERATION, meta.generation.clone()),
            (FENCE, fence.to_string()),
        ];
        ContainerCreateBody {
            image: Some(meta.size.image.as_ref().unwrap_or(&self.settings.image).clone()),
            hostname: Some("sandbox".to_owned()),
            // Not as the session, which could end it, or write to what it has open.
            user: Some(format!("{KEEPER}:{KEEPER}")),
            working_dir: Some(GUEST_WORKSPACE.to_owned()),
            entrypoint: Some(vec!["sleep".to_owned()]),
            cmd: Some(vec!["infinity".to_owned()]),
            env: Some(vec![format!("{SESSION_MARK}={session}"), format!("PATH={}", self.settings.path)]),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
            host_config: Some(self.host_config(sandbox, &self.settings.limits.of(&meta.size))),
            ..ContainerCreateBody::default()
        }
    }

    fn host_config(&self, sandbox: &Sandbox, limits: &Limits) -> HostConfig {
        let bounded = |limit: u64| (limit > 0).then(|| i64::try_from(limit).unwrap_or(i64::MAX));
        // Docker can be given no more than this process has, as a rule.
        let within = |resource, wanted: u64| rustix::process::getrlimit(resource).maximum.map_or(wanted, |most| wanted.min(most));
        let ulimit = |name: &str, limit: u64| {
            bounded(limit).map(|limit| ResourcesUlimits { name: Some(name.to_owned()), soft: Some(limit), hard: Some(limit) })
        };
        let core = ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) };
        let memory = bounded(limits.memory);
        let shared = bounded(limits.memory / 2);
        let size = shared.map(|size| format!(",size={size}")).unwrap_or_default();
        let mount = |(source, target, read_only): (PathBuf, String, bool)| Mount {
            typ: Some(MountType::BIND),
            source: Some(source.display().to_string()),
            target: Some(target),
            read_only: Some(read_only),
            ..Mount::default()
        };
        let no_ipv6 = ("net.ipv6.conf.all.disable_ipv6".to_owned(), "1".to_owned());
        HostConfig {
            init: Some(true),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            network_mode: Some(self.network.clone()),
            sysctls: Path::new("/proc/sys/net/ipv6").exists().then(|| HashMap::from([no_ipv6])),
            ipc_mode: Some("private".to_owned()),
            cgroup_parent: self.own_groups.then(|| GROUP.to_owned()),
            // What it says is nothing, and a log that anybody could write to would be outside of all limits.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            // The sessions' users are this host's own numbers.
            userns_mode: Some("host".to_owned()),
            mounts: Some(self.mounts(sandbox).into_iter().map(mount).collect()),
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), format!("rw,nosuid,nodev,exec,mode=1777{size}"))])),
            shm_size: shared,
            memory,
            memory_swap: memory,
            pids_limit: bounded(limits.processes),
            nano_cpus: limits.cpu_millis.map(|millis| (i64::from(millis) * 1_000_000).min(self.cpus * 1_000_000_000)),
            cpu_shares: Some(SHARES),
            oom_score_adj: Some(OOM_SCORE),
            ulimits: Some(
                [
                    ulimit("nofile", within(Resource::Nofile, limits.open_files)),
                    ulimit("fsize", within(Resource::Fsize, limits.disk)),
                    Some(core),
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
            ..HostConfig::default()
        }
    }

    pub fn remove(&self, session: SessionId) -> Result<(), ProviderError> {
        let deadline = Instant::now() + REMOVAL;
        while let Some(found) = self.inspect(session)? {
            if self.ours(&found).is_none() {
                return Ok(());
            }
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match self.call("removing the session's container", self.api.remove_container(&id(&found), Some(options))) {
                // Someone else is at it.
                Err(error) if error.is_of_none() && Instant::now() < deadline => thread::sleep(PAUSE * 10),
                removed => removed?,
            }
        }
        Ok(())
    }

    pub fn list(&self) -> Result<Vec<Label>, ProviderError> {
        let filters = HashMap::from([("label", vec![format!("{ROOT}={}", self.root_id)])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.call("listing containers", self.api.list_containers(Some(options)))?;
        let label = |labels: HashMap<String, String>| {
            let fence = labels.get(FENCE).and_then(|fence| fence.parse().ok()).unwrap_or_default();
            Some(Label { tenant: labels.get(TENANT)?.clone(), session: labels.get(SESSION)?.parse().ok()?, fence })
        };
        Ok(found.into_iter().filter_map(|one| label(one.labels?)).collect())
    }

    pub fn check_images(&self) -> Result<(), ProviderError> {
        let images = std::iter::once(&self.settings.image).chain(self.settings.sizes.iter().filter_map(|size| size.image.as_ref()));
        images.collect::<BTreeSet<_>>().into_iter().try_for_each(|image| self.check_image(image))
    }

    fn check_image(&self, image: &str) -> Result<(), ProviderError> {
        let found = match self.call("looking at the image", self.api.inspect_image(image)) {
            Err(error) if error.is_absent() => {
                return Err(permanent(format!("there is no image {image}: docker pull it, or build deploy/sandbox")));
            }
            looked => looked?,
        };
        // They would be written to, and are measured by nobody.
        if found.config.and_then(|config| config.volumes).is_some_and(|volumes| !volumes.is_empty()) {
            return Err(permanent(format!("the image {image} has volumes of its own: what a session writes there has no limit")));
        }
        Ok(())
    }

    /// One for all sessions of this place, in which none reaches another.
    pub fn make_network(&self) -> Result<(), ProviderError> {
        let deadline = Instant::now() + READY;
        while !self.has_network()? {
            match self.call("making the sessions' network", self.api.create_network(self.network_body())) {
                // Another server of this place is making it, or takes back what collided with a third one's.
                Err(error) if (error.is_forbidden() || error.is_conflict()) && Instant::now() < deadline => thread::sleep(PAUSE * 10),
                made => drop(made?),
            }
        }
        Ok(())
    }

    fn network_body(&self) -> NetworkCreateRequest {
        let options = [(CLOSED, "false".to_owned()), ("com.docker.network.bridge.name", bridge(&self.network))];
        NetworkCreateRequest {
            name: self.network.clone(),
            driver: Some("bridge".to_owned()),
            enable_ipv6: Some(false),
            options: Some(options.map(|(name, value)| (name.to_owned(), value)).into()),
            labels: Some(HashMap::from([(ROOT.to_owned(), self.root_id.clone())])),
            ..NetworkCreateRequest::default()
        }
    }

    fn has_network(&self) -> Result<bool, ProviderError> {
        let found = match self.call("looking at the sessions' network", self.api.inspect_network(&self.network, None)) {
            Err(error) if error.is_absent() => return Ok(false),
            looked => looked?,
        };
        let is_ours = found.labels.is_some_and(|labels| labels.get(ROOT) == Some(&self.root_id));
        let is_closed = found.options.is_some_and(|options| options.get(CLOSED).is_some_and(|open| open == "false"));
        if is_ours && is_closed {
            Ok(true)
        } else {
            Err(permanent(format!("the network {} was not made by this server: docker network rm it", self.network)))
        }
    }
}
