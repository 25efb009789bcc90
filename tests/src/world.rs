//! One test's world: a database, a git server, an `alpine-server`, and people with an `alpine`.

use std::{
    collections::BTreeMap,
    ops::Deref,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    api::Api,
    base,
    cli::{Alpine, Answer, text},
    cluster,
    db::Db,
    ground::{Ground, write_secret},
    sandboxes,
    server::{FAULTS, Server},
};

/// However many tests the runner starts at once, this many have a server.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

#[derive(Debug)]
pub struct World {
    pub db: Db,
    pub server: Server,
    ground: Ground,
    env: BTreeMap<String, String>,
    config_dir: PathBuf,
    _permit: SemaphorePermit<'static>,
}

/// A world has what its servers stand on.
impl Deref for World {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl World {
    /// With the light served program, and the repository `org/repo` with one file on `main`.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with these settings of the server changed; an empty value removes one.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let world = Self::without_repositories(settings).await;
        world.git.with_files("org/repo", &[("README.md", "hello\n")]);
        world
    }

    pub async fn without_repositories(settings: &[(&str, &str)]) -> Self {
        Self::of_provider("local", settings).await
    }

    /// The same with sessions of this provider: `local` or `docker`.
    pub async fn of_provider(provider: &str, settings: &[(&str, &str)]) -> Self {
        Box::pin(Self::make(Ground::of_provider(provider), settings)).await
    }

    /// With a server that goes wrong by these rules; servers that come later do not.
    pub async fn with_faults(rules: &str, settings: &[(&str, &str)]) -> Self {
        let mut world = Self::with(&[settings, &[(FAULTS, rules)]].concat()).await;
        world.env.remove(FAULTS);
        world
    }

    async fn make(ground: Ground, settings: &[(&str, &str)]) -> Self {
        let permit = AT_ONCE.acquire().await.unwrap();
        let dir = ground.dir.clone();
        let db = Db::new(cluster::database().await);
        let config_dir = dir.join("config");
        for path in [&config_dir, &dir.join("home")] {
            std::fs::create_dir(path).unwrap();
            base::open_for_passage(path);
        }
        let mut env = ground.environment(&db.url);
        for (name, value) in settings {
            match *value {
                "" => env.remove(*name),
                value => env.insert((*name).to_owned(), value.to_owned()),
            };
        }
        let server = Server::start(env.clone(), base::free_port(), dir.join("server.log"), &ground.pki).await;
        write_profile(&config_dir, &server.base(), &ground);
        Self { db, server, ground, env, config_dir, _permit: permit }
    }

    /// One more server on the same database and data directory.
    pub async fn another_server(&self, settings: &[(&str, &str)]) -> Server {
        let mut env = self.env.clone();
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let port = base::free_port();
        Server::start(env, port, self.dir.join(format!("server-{port}.log")), &self.pki).await
    }

    /// An `alpine` of this person.
    pub fn alpine(&self, principal: &str) -> Alpine {
        Alpine::new(&self.config_dir, &self.dir.join("home")).env("ALPINE_PRINCIPAL_ID", principal)
    }

    /// An `alpine` of an admin.
    pub fn admin(&self, principal: &str) -> Alpine {
        self.alpine(principal).env("ALPINE_ADMIN", "1")
    }

    /// `alpine up … --json --no-browser` with more arguments.
    pub fn up(&self, principal: &str, repo_url: &str, branch: &str, more: &[&str]) -> Alpine {
        self.alpine(principal).args(&["up", repo_url, "--branch", branch, "--json", "--no-browser"]).args(more)
    }

    /// A ready session on `org/repo`; what `up` said.
    pub async fn ready(&self, principal: &str) -> Value {
        let up = self.up(principal, crate::REPO, "main", &[]).run().await.ok();
        assert_eq!(up["state"], "ready", "{up}");
        up
    }

    pub async fn down(&self, principal: &str, session_id: &str, more: &[&str]) -> Answer {
        self.alpine(principal).args(&["down", session_id, "--json"]).args(more).run().await
    }

    pub async fn status(&self, principal: &str, session_id: &str) -> Answer {
        self.alpine(principal).args(&["status", session_id, "--json"]).run().await
    }

    /// The list, which must be one.
    pub async fn list(&self, principal: &str) -> Vec<Value> {
        let list = self.alpine(principal).args(&["list", "--json"]).run().await.ok();
        list.as_array().unwrap_or_else(|| panic!("not a list: {list}")).clone()
    }

    /// A caller of the API.
    pub fn api(&self, principal: &str) -> Api {
        self.api_of("dev", principal, &[])
    }

    pub fn api_of(&self, tenant: &str, principal: &str, roles: &[&str]) -> Api {
        Api::new(self.pki.client(), self.server.base(), self.ground.token(tenant, principal, roles))
    }

    /// The same caller at another server, on connections of its own.
    pub fn api_at(&self, base: &str, principal: &str) -> Api {
        Api::new(self.pki.client(), base.to_owned(), self.token("dev", principal, &[]))
    }

    /// Where the provider keeps one session.
    pub fn sandbox(&self, session_id: &str) -> PathBuf {
        self.data_dir.join("sandboxes").join(session_id)
    }

    pub fn workspace(&self, session_id: &str) -> PathBuf {
        self.sandbox(session_id).join("workspace")
    }

    /// Neither a file nor a process of the session is left.
    pub fn assert_nothing_left(&self, session_id: &str) {
        assert!(!self.sandbox(session_id).exists(), "{} is still there", self.sandbox(session_id).display());
        assert_eq!(sandboxes::processes(session_id), Vec::<i32>::new(), "processes of {session_id} still run");
    }

    /// The session's URL answers; what.
    pub async fn answers(&self, up: &Value) -> String {
        let url = text(up, "opencode_url");
        let answer = self.pki.client().get(&url).timeout(std::time::Duration::from_secs(10)).send().await;
        let answer = answer.unwrap_or_else(|e| panic!("{url} does not answer: {e:?}"));
        assert!(answer.status().is_success() || answer.status().is_redirection(), "{url}: {}", answer.status());
        answer.text().await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}\n---", self.server.log.display(), self.server.log_tail());
        }
        self.server.kill();
        sandboxes::kill_all(&self.data_dir);
        sandboxes::remove_groups(&self.data_dir);
        base::remove(&self.dir);
    }
}

/// The profile of an `alpine` that signs its own tokens.
pub fn write_profile(config_dir: &Path, server: &str, ground: &Ground) {
    let text = format!(
        "default_profile = \"dev\"\n\n[profiles.dev]\nserver = \"{server}\"\nca_file = \"{}\"\ndev_signing_key_file = \"{}\"\n",
        ground.pki.ca.display(),
        ground.signing_key().display()
    );
    write_secret(&config_dir.join("config.toml"), text.as_bytes());
}
