//! What servers under test stand on: directories, keys, a git server, and the settings that name them.

use std::{
    collections::BTreeMap,
    fs::Permissions,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{LIGHT_SERVE, api, base, git_server::GitServer, pki::Pki, tools};

#[derive(Debug)]
pub struct Ground {
    pub dir: PathBuf,
    pub data_dir: PathBuf,
    pub git: GitServer,
    pub pki: Pki,
    secret: Vec<u8>,
    /// The socket of the Docker in whose containers sessions run, if they do.
    docker: Option<PathBuf>,
}

/// Where tests/docker/engine.sh has one.
const DOCKER: &str = "ALPINE_TEST_DOCKER";
const IMAGE: &str = "alpine-test";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Ground {
    pub fn prepare() -> Self {
        Self::at(None)
    }

    /// For sessions of this provider: `local` or `docker`.
    pub fn of_provider(provider: &str) -> Self {
        let socket = || docker_socket().unwrap_or_else(|| panic!("{DOCKER} is not set: tests/docker/run.sh does it"));
        Self::at((provider == "docker").then(socket))
    }

    fn at(docker: Option<PathBuf>) -> Self {
        let dir = base::fresh("t");
        // A container's loopback is its own.
        let address = if docker.is_some() { own_address() } else { LOOPBACK };
        let pki = Pki::create_for(&dir, &["localhost", "127.0.0.1", &address.to_string(), "*.apps.localhost"]);
        let git = GitServer::start_at(&SocketAddr::from((address, 0)).to_string(), dir.join("git"), &pki);
        let data_dir = dir.join("data");
        std::fs::create_dir(&data_dir).unwrap();
        base::open_for_passage(&data_dir);
        let secret = uuid::Uuid::new_v4().simple().to_string().repeat(2).into_bytes();
        write_secret(&dir.join("jwt.key"), &secret);
        write_secret(&dir.join("credential.key"), &[*uuid::Uuid::new_v4().as_bytes(), *uuid::Uuid::new_v4().as_bytes()].concat());
        Self { dir, data_dir, git, pki, secret, docker }
    }

    /// Where the issuer's secret is.
    pub fn signing_key(&self) -> PathBuf {
        self.dir.join("jwt.key")
    }

    /// A bearer token.
    pub fn token(&self, tenant: &str, principal: &str, roles: &[&str]) -> String {
        api::token(&self.secret, tenant, principal, roles)
    }

    /// A server's settings.
    pub fn environment(&self, database_url: &str) -> BTreeMap<String, String> {
        let path = |path: &Path| path.display().to_string();
        let settings = [
            ("DATABASE_URL", database_url.to_owned()),
            ("ALPINE_DATA_DIR", path(&self.data_dir)),
            ("ALPINE_TLS_CERT", path(&self.pki.cert)),
            ("ALPINE_TLS_KEY", path(&self.pki.key)),
            ("ALPINE_JWT_ISSUER", "alpine-dev".to_owned()),
            ("ALPINE_JWT_AUDIENCE", "alpine".to_owned()),
            ("ALPINE_JWT_ALGORITHM", "HS256".to_owned()),
            ("ALPINE_JWT_KEY_FILE", path(&self.signing_key())),
            ("ALPINE_CREDENTIAL_KEY_FILE", path(&self.dir.join("credential.key"))),
            ("ALPINE_GIT_REWRITE", self.git.rewrites()),
            ("ALPINE_GIT_CA_FILE", path(&self.pki.ca)),
            ("ALPINE_GIT_ALLOW_HOSTS", format!("127.0.0.1,localhost,{}", self.git.address.ip())),
            ("ALPINE_SANDBOX_SERVE", LIGHT_SERVE.to_owned()),
            ("ALPINE_STOP_GRACE_SECONDS", "5".to_owned()),
            // No load balancer is to notice; tests of that have one.
            ("ALPINE_SHUTDOWN_DELAY_SECONDS", "0".to_owned()),
            // Tests hammer; those of the limits turn them on.
            ("ALPINE_RATE_PRINCIPAL", "0".to_owned()),
            ("ALPINE_RATE_PRINCIPAL_UP", "0".to_owned()),
            ("ALPINE_RATE_TENANT", "0".to_owned()),
            ("ALPINE_RATE_TENANT_UP", "0".to_owned()),
            ("ALPINE_MAX_REQUESTS_PER_PRINCIPAL", "0".to_owned()),
            ("ALPINE_QUEUE_MILLISECONDS", "20000".to_owned()),
            ("ALPINE_LOG", "info".to_owned()),
            ("ALPINE_LOG_FORMAT", "json".to_owned()),
        ];
        settings.into_iter().chain(self.provider()).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn provider(&self) -> Vec<(&'static str, String)> {
        let Some(socket) = &self.docker else { return vec![("ALPINE_PROVIDER", "local".to_owned())] };
        vec![
            ("ALPINE_PROVIDER", "docker".to_owned()),
            ("ALPINE_DOCKER_SOCKET", socket.display().to_string()),
            ("ALPINE_DOCKER_IMAGE", IMAGE.to_owned()),
            ("ALPINE_DOCKER_ALLOW", self.git.address.to_string()),
        ]
    }
}

/// Of the Docker that the tests have, if they have one.
pub fn docker_socket() -> Option<PathBuf> {
    tools::switch(DOCKER).map(PathBuf::from)
}

/// Of this host, at which its containers reach it. Nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("203.0.113.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

/// A key pair made for the test, in files: the private half, and the public half as a host key of github.com.
pub fn deploy_key(dir: &Path) -> (PathBuf, PathBuf) {
    let (key, hosts) = (dir.join("deploy-key"), dir.join("known_hosts"));
    let made = std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(&hosts, format!("github.com {public}")).unwrap();
    (key, hosts)
}

pub fn write_secret(path: &Path, secret: &[u8]) {
    std::fs::write(path, secret).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}
