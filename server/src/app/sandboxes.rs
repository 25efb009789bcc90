//! The settings of whichever provider is configured, and the provider.

use std::path::{Path, PathBuf};

use super::{AppError, assemble};
use crate::{
    config::{CommonArgs, ProviderArg, SandboxArgs, Surroundings},
    domain::class::Classes,
    sandbox::{
        ProviderError, Size,
        host::{DockerSettings, HostProvider, Limits, STANDARD_PATH, Settings},
    },
};

/// Where sessions run.
#[derive(Debug)]
pub(super) enum Sandboxes {
    Local(Settings),
    Docker(DockerSettings),
}

/// Of whom the sandboxes are made, and what they are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub common: &'a CommonArgs,
    pub data_dir: &'a Path,
    pub surroundings: &'a Surroundings,
    pub classes: &'a Classes,
    /// Repositories may be folders of this host.
    pub allow_file: bool,
}

/// What `Sandboxes::new` refuses of the settings, without a look at this machine.
pub(super) fn check(common: &CommonArgs) -> Result<(), AppError> {
    if common.sandbox.provider == ProviderArg::Docker { image(common).map(drop) } else { Ok(()) }
}

/// Whether this host's opencode serves workspaces: in containers it is the image's.
pub(super) fn needs_opencode(sandbox: &SandboxArgs) -> bool {
    sandbox.sandbox_serve.is_none() && sandbox.provider == ProviderArg::Local
}

/// The shell command that serves a workspace; `own` finds this host's opencode, where that is needed.
pub(super) fn serve_command(sandbox: &SandboxArgs, own: impl FnOnce() -> Option<PathBuf>) -> Result<String, AppError> {
    match &sandbox.sandbox_serve {
        Some(command) => Ok(command.clone()),
        None if needs_opencode(sandbox) => Ok(assemble::opencode_command(&own().ok_or(AppError::NoOpencode)?)),
        None => Ok(assemble::opencode_command(Path::new("opencode"))),
    }
}

impl Sandboxes {
    pub fn new(ground: Ground<'_>, serve_command: &str) -> Result<Self, AppError> {
        match ground.common.sandbox.provider {
            ProviderArg::Local if ground.classes.sizes().any(|size| size.image.is_some()) => Err(AppError::Setting {
                what: "a class in ALPINE_CLASSES_FILE has an image, and ALPINE_PROVIDER is local".to_owned(),
                next_step: "take it out, or set ALPINE_PROVIDER to docker".to_owned(),
            }),
            ProviderArg::Local => Ok(Self::Local(local(ground, serve_command)?)),
            ProviderArg::Docker => Ok(Self::Docker(docker(ground)?)),
        }
    }

    pub async fn provider(self) -> Result<HostProvider, AppError> {
        let runtime = tokio::runtime::Handle::current();
        let made = move || match self {
            Self::Local(settings) => HostProvider::local(settings),
            Self::Docker(settings) => HostProvider::docker(settings, runtime),
        };
        let interrupted = |error| ProviderError::Transient { what: format!("interrupted: {error}"), source: None };
        Ok(tokio::task::spawn_blocking(made).await.map_err(interrupted)??)
    }
}

fn local(ground: Ground<'_>, serve_command: &str) -> Result<Settings, AppError> {
    let Ground { common, data_dir, surroundings, classes, .. } = ground;
    let home = surroundings.home.as_deref();
    // The toolchains alone: beside them lie a person's credentials.
    let toolchains = [".cargo/bin", ".rustup"].iter().filter_map(|dir| Some(home?.join(dir))).filter(|dir| dir.is_dir());
    let mut visible = visible(ground)?;
    visible.extend(toolchains.clone());
    let program = serve_command.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(program, _)| PathBuf::from(program));
    visible.extend(program.as_deref().and_then(Path::parent).filter(|dir| !dir.starts_with("/usr")).map(Path::to_owned));
    let mut pass_env = surroundings.passed(&common.sandbox.sandbox_pass_env);
    if let Some(rustup) = home.map(|home| home.join(".rustup")).filter(|dir| dir.is_dir()) {
        pass_env.push(("RUSTUP_HOME".to_owned(), rustup.display().to_string()));
    }
    let mut path: Vec<String> = toolchains.filter(|dir| dir.ends_with("bin")).map(|dir| dir.display().to_string()).collect();
    path.push(STANDARD_PATH.to_owned());
    Ok(Settings {
        root: data_dir.join("sandboxes"),
        pass_env,
        path: path.join(":"),
        visible,
        limits: limits(&common.sandbox),
        sizes: sizes(classes),
        cgroup_parent: common.sandbox.sandbox_cgroup_parent.clone(),
        ..Settings::default()
    })
}

fn docker(ground: Ground<'_>) -> Result<DockerSettings, AppError> {
    let Ground { common, data_dir, surroundings, classes, .. } = ground;
    let docker = &common.docker;
    Ok(DockerSettings {
        // Of its own: what containers have mounted is no other provider's.
        root: data_dir.join("containers"),
        socket: docker.docker_socket.clone(),
        image: image(common)?,
        pass_env: surroundings.passed(&common.sandbox.sandbox_pass_env),
        path: STANDARD_PATH.to_owned(),
        visible: visible(ground)?,
        limits: limits(&common.sandbox),
        sizes: sizes(classes),
        allowed: docker.docker_allow.clone(),
        resolvers: docker.docker_resolvers.clone(),
    })
}

fn image(common: &CommonArgs) -> Result<String, AppError> {
    common.docker.docker_image.clone().ok_or_else(|| AppError::Setting {
        what: "ALPINE_PROVIDER is docker, and ALPINE_DOCKER_IMAGE is not set".to_owned(),
        next_step: "name the image that sessions run in; deploy/sandbox/Dockerfile makes one".to_owned(),
    })
}

/// What every sandbox sees of this host, read-only.
fn visible(Ground { common, data_dir, surroundings, allow_file, .. }: Ground<'_>) -> Result<Vec<PathBuf>, AppError> {
    let mut visible = common.sandbox.sandbox_visible.clone();
    visible.extend(assemble::ca_bundle(&common.git, data_dir, surroundings)?);
    if allow_file {
        let rewrites = assemble::rewrites(&common.git)?;
        let folders = rewrites.iter().filter_map(|rewrite| rewrite.to.strip_prefix("file://")).map(PathBuf::from);
        visible.extend(folders.filter(|folder| folder.is_dir()));
    }
    Ok(visible)
}

fn sizes(classes: &Classes) -> Vec<Size> {
    classes.sizes().map(Size::from).collect()
}

fn limits(args: &SandboxArgs) -> Limits {
    const MB: u64 = 1024 * 1024;
    Limits {
        open_files: args.sandbox_open_files,
        processes: args.sandbox_processes,
        memory: args.sandbox_memory_mb * MB,
        // Between 10 and 4,096,000.
        cpu_millis: args.sandbox_cpus.map(|cpus| (cpus * 1000.0).round() as u32),
        disk: args.sandbox_disk_mb * MB,
        files: args.sandbox_files,
        disk_reserve: args.sandbox_disk_reserve_mb * MB,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn sandbox(args: &[&str]) -> SandboxArgs {
        let command = SandboxArgs::augment_args(Command::new("test")).mut_args(|arg| arg.env(None));
        SandboxArgs::from_arg_matches(&command.get_matches_from([&["test"], args].concat())).unwrap()
    }

    #[test]
    fn a_container_is_served_by_its_images_opencode_and_a_process_by_this_hosts() {
        let own = || Some(PathBuf::from("/data/tools/opencode"));
        let (local, docker) = (sandbox(&[]), sandbox(&["--provider", "docker"]));
        assert!(needs_opencode(&local) && !needs_opencode(&docker));
        assert!(serve_command(&local, own).unwrap().starts_with("'/data/tools/opencode' "));
        assert!(serve_command(&docker, own).unwrap().starts_with("'opencode' "));
        assert!(matches!(serve_command(&local, || None), Err(AppError::NoOpencode)));
        for provider in ["local", "docker"] {
            let said = sandbox(&["--provider", provider, "--sandbox-serve", "serve-it"]);
            assert!(!needs_opencode(&said));
            assert_eq!(serve_command(&said, || None).unwrap(), "serve-it");
        }
    }
}
