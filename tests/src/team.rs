//! People who log in: a server, a real OpenID provider that it trusts, and an `alpine` without a token.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    Answer, World, base,
    cli::Alpine,
    ground::write_secret,
    oidc::{AUDIENCE, Oidc, SCOPE},
    pki::Pki,
    until,
};

/// A server that trusts a provider, and people who have an `alpine` and no token.
#[derive(Debug)]
pub struct Team {
    pub world: World,
    pub oidc: Oidc,
    pub config_dir: PathBuf,
}

impl Team {
    pub async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// With other settings of the provider.
    pub async fn with(settings: Value) -> Self {
        let dir = base::fresh("oidc");
        let pki = Pki::create(&dir);
        let oidc = Oidc::with(&pki, settings).await;
        let keys = dir.join("jwks.json");
        std::fs::write(&keys, oidc.jwks(&pki).await.to_string()).unwrap();
        let world = World::with(&[
            ("ALPINE_JWT_ISSUER", &oidc.issuer),
            ("ALPINE_JWT_AUDIENCE", AUDIENCE),
            ("ALPINE_JWT_ALGORITHM", "ES256"),
            ("ALPINE_JWT_KEY_FILE", keys.to_str().unwrap()),
            ("ALPINE_LOGIN_CLIENT_ID", &oidc.client_id),
            ("ALPINE_LOGIN_SCOPE", SCOPE),
            ("ALPINE_LOGIN_RESOURCE", &oidc.resource),
        ])
        .await;
        // One file with both authorities: the server's and the provider's.
        let both = [std::fs::read(&world.pki.ca).unwrap(), std::fs::read(&pki.ca).unwrap()].concat();
        std::fs::write(dir.join("both.pem"), both).unwrap();
        let team = Self { config_dir: dir.join("config"), world, oidc };
        std::fs::create_dir(&team.config_dir).unwrap();
        let profile = format!(
            "default_profile = \"team\"\n[profiles.team]\nserver = \"{}\"\nca_file = \"{}\"\n",
            team.world.server.base(),
            dir.join("both.pem").display()
        );
        write_secret(&team.config_dir.join("config.toml"), profile.as_bytes());
        team
    }

    /// An `alpine` of somebody who has no session bus, as in a container or over ssh; it says JSON.
    pub fn alpine(&self, args: &[&str]) -> Alpine {
        self.person(&self.config_dir).args(args).args(&["--json"])
    }

    /// Somebody else, whose profile is the same.
    pub fn another(&self, name: &str) -> Alpine {
        let dir = self.config_dir.with_file_name(name);
        if !dir.exists() {
            std::fs::create_dir(&dir).unwrap();
            write_secret(&dir.join("config.toml"), &std::fs::read(self.config_dir.join("config.toml")).unwrap());
        }
        self.person(&dir)
    }

    fn person(&self, config_dir: &Path) -> Alpine {
        Alpine::new(config_dir, &self.world.dir.join("home")).limit(Duration::from_secs(60))
    }

    /// `alpine login`, begun; the code that it shows.
    pub async fn begin(&self, more: &[&str]) -> (JoinHandle<Answer>, String) {
        let before = self.oidc.requests("/device/auth").await.len();
        let login = self.alpine(&[&["login"], more].concat()).spawn();
        let code = until("a code is asked for", Duration::from_secs(20), || async {
            let codes = self.oidc.codes().await;
            (codes.len() > before).then(|| codes.last().cloned().unwrap())
        });
        (login, code.await)
    }

    /// Ann of acme is logged in; what `login` said.
    pub async fn logged_in(&self) -> Value {
        let (login, code) = self.begin(&[]).await;
        self.oidc.approve(&code, "ann", "acme", &["alpine.admin"]).await;
        login.await.unwrap().ok()
    }

    pub fn file(&self) -> PathBuf {
        self.config_dir.join("credentials.toml")
    }

    pub fn stored(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap_or_default()
    }

    pub async fn list(&self) -> Answer {
        self.alpine(&["list"]).run().await
    }
}
