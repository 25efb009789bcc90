//! A real OpenID provider (npm `oidc-provider`, certified) beside the test, and its people.
//!
//! tests/run.sh fetches the package into `target/tools/oidc`; a test run without it fetches it itself.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{bins, pki::Pki, tools};

/// What its access tokens for Alpine carry as `aud`.
pub const AUDIENCE: &str = "alpine";
/// The scopes that a device asks for.
pub const SCOPE: &str = "openid offline_access alpine";

/// The provider's process. It ends with this value, and when the test's process is gone.
#[derive(Debug)]
pub struct Oidc {
    pub issuer: String,
    /// The public client that devices are.
    pub client_id: String,
    /// The resource indicator (RFC 8707) whose tokens are JWTs for Alpine.
    pub resource: String,
    control: String,
    child: Child,
}

impl Oidc {
    /// Over HTTPS, with a certificate of this authority. ES256, tokens of five minutes, questions every second.
    pub async fn start(pki: &Pki) -> Self {
        Self::with(pki, json!({})).await
    }

    /// The same with other `settings` of tests/oidc/provider.mjs.
    pub async fn with(pki: &Pki, mut settings: Value) -> Self {
        settings["cert"] = json!(pki.cert);
        settings["key"] = json!(pki.key);
        Self::run(&settings)
    }

    fn run(settings: &Value) -> Self {
        let mut child = Command::new("node")
            .arg(bins::root().join("tests/oidc/provider.mjs"))
            .arg(package())
            .arg(settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the provider listens");
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Self { issuer: text("issuer"), client_id: text("client_id"), resource: text("resource"), control: text("control"), child }
    }

    /// Does something that provider.mjs lists under `control`; what it says.
    pub async fn control(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.control);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let answer = client.post(url).json(&body).send().await.unwrap();
        let ok = answer.status().is_success();
        let said: Value = answer.json().await.unwrap();
        assert!(ok, "{path} {body}: {said}");
        said
    }

    /// A person signs in as this account, enters the code and agrees.
    pub async fn approve(&self, user_code: &str, account: &str, tenant: &str, roles: &[&str]) {
        self.control("approve", json!({ "user_code": user_code, "account": account, "tenant": tenant, "roles": roles })).await;
    }

    /// The person says no.
    pub async fn deny(&self, user_code: &str) {
        self.control("deny", json!({ "user_code": user_code })).await;
    }

    /// Refresh tokens of the account, or of all, are worth nothing from now on; of how many grants.
    pub async fn revoke(&self, account: Option<&str>) -> u64 {
        self.control("revoke", json!({ "account": account })).await["revoked"].as_u64().unwrap()
    }

    /// An access token of this account, without a device. `more`: `audience`, `ttl` (seconds, may be negative), `kid`,
    /// `claims`, `header`; the last two win over what would be there, and `null` in them removes.
    pub async fn mint(&self, account: &str, tenant: &str, roles: &[&str], more: Value) -> String {
        let mut body = json!({ "account": account, "tenant": tenant, "roles": roles });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.control("mint", body).await["token"].as_str().unwrap().to_owned()
    }

    /// A new key that signs from now on; its id. `keep`: the old ones stay in the key set.
    pub async fn rotate(&self, keep: bool) -> String {
        self.rotate_with(json!({ "keep": keep })).await
    }

    /// A new key; its id. `how`: `algorithm`, `publish`, `sign`, `keep`.
    pub async fn rotate_with(&self, how: Value) -> String {
        self.control("rotate", how).await["kid"].as_str().unwrap().to_owned()
    }

    /// Other settings of provider.mjs, from now on.
    pub async fn set(&self, settings: Value) {
        self.control("settings", settings).await;
    }

    /// When this path was asked for, in milliseconds since 1970.
    pub async fn requests(&self, path: &str) -> Vec<u64> {
        let all: BTreeMap<String, Vec<u64>> = serde_json::from_value(self.control("requests", json!({})).await).unwrap();
        all.get(path).cloned().unwrap_or_default()
    }

    /// The user codes that devices were given, the first first.
    pub async fn codes(&self) -> Vec<String> {
        serde_json::from_value(self.control("codes", json!({})).await).unwrap()
    }

    pub fn jwks_uri(&self) -> String {
        format!("{}/jwks", self.issuer)
    }

    /// The public keys as they are now.
    pub async fn jwks(&self, pki: &Pki) -> Value {
        pki.client().get(self.jwks_uri()).send().await.unwrap().json().await.unwrap()
    }

    /// The provider is gone; its address refuses connections.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder whose `node_modules` has the package.
fn package() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| tools::fetched("oidc"))
}
