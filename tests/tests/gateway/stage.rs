//! A server whose sessions have hosts, and one session.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alpine_tests::{
    REPO, World,
    api::{Api, Reply, send, try_send},
    cli::text,
    until,
};
use reqwest::{Client, Method, RequestBuilder, redirect::Policy};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Chromium gives up its connections whenever an interface of the machine comes or goes, as Docker's do.
pub static NETWORK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub const COOKIE: &str = "__Host-alpine-session";

pub struct Stage {
    pub world: World,
    pub session: String,
}

impl Stage {
    /// Of `ann`, serving `app.py`.
    pub async fn set() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::of_provider("local", settings).await
    }

    pub async fn of_provider(provider: &str, settings: &[(&str, &str)]) -> Self {
        let settings = [settings, &[("ALPINE_SANDBOX_SERVE", "exec python3 -IS app.py")]].concat();
        let world = Self::world_of(provider, &settings).await;
        world.git.with_files("org/repo", &[("app.py", include_str!("app.py"))]);
        let up = world.ready("ann").await;
        let session = text(&up, "session_id");
        assert_eq!(text(&up, "opencode_url"), url(&world, &session));
        Self { world, session }
    }

    /// The domain has the server's port, which is known once there is one.
    pub async fn world(settings: &[(&str, &str)]) -> World {
        Self::world_of("local", settings).await
    }

    async fn world_of(provider: &str, settings: &[(&str, &str)]) -> World {
        // Some settings are refused without one.
        let first = [settings, &[("ALPINE_APPS_DOMAIN", "apps.localhost")]].concat();
        let mut world = World::of_provider(provider, &first).await;
        world.server.kill();
        let domain = format!("apps.localhost:{}", world.server.port);
        world.server.configure("ALPINE_APPS_DOMAIN", Some(domain));
        world.server.start_again().await;
        world
    }

    pub fn host(&self) -> String {
        host(&self.session)
    }

    /// Of the session's pages.
    pub fn origin(&self) -> String {
        format!("https://{}:{}", self.host(), self.world.server.port)
    }

    /// A client that finds that host.
    pub fn client_for(&self, host: &str) -> Client {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&self.world.pki.ca).unwrap()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], self.world.server.port));
        Client::builder().tls_certs_only([ca]).redirect(Policy::none()).resolve(host, address).build().unwrap()
    }

    /// A request for that host of this server.
    pub fn ask_host(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        self.client_for(host).request(method, format!("https://{host}:{}{path}", self.world.server.port))
    }

    /// A request for the session's host.
    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask_host(method, &self.host(), path)
    }

    /// Bytes, as they are, and all that is answered.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = self.tls().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection that speaks HTTP/1.1 for want of anything else.
    pub async fn tls(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.world.pki.ca).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", self.world.server.port)).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(self.host()).unwrap(), stream).await.unwrap()
    }

    pub fn token(&self, tenant: &str, principal: &str, roles: &[&str]) -> String {
        self.world.token(tenant, principal, roles)
    }

    /// The same in `ann`'s name.
    pub fn as_ann(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask(method, path).bearer_auth(self.token("dev", "ann", &[]))
    }

    pub async fn open(&self, api: &Api) -> Reply {
        self.open_port(api, None).await
    }

    pub async fn open_port(&self, api: &Api, port: Option<u16>) -> Reply {
        let body = port.map_or(Value::Null, |port| json!({ "port": port }));
        api.send(Method::POST, &format!("/v1/sessions/{}/open", self.session), &body).await
    }

    /// Where a program of the session listens from now on, and the host of that.
    pub async fn serve_on_a_port(&self) -> (u16, String) {
        let port = free_port();
        send(self.as_ann(Method::GET, &format!("/serve?port={port}"))).await.expect(200);
        (port, self.host_of(port))
    }

    pub fn host_of(&self, port: u16) -> String {
        self.host().replacen('.', &format!("--{port}."), 1)
    }

    /// Path and query of a way in.
    pub async fn way_in(&self, api: &Api) -> String {
        let url = text(self.open(api).await.expect(200), "url");
        url.strip_prefix(&self.origin()).unwrap_or_else(|| panic!("{url}")).to_owned()
    }

    /// A browser's cookie, as `name=value`.
    pub async fn cookie(&self, api: &Api) -> String {
        let reply = send(self.ask(Method::GET, &self.way_in(api).await)).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    /// A request of a browser's page of the session.
    pub fn as_page(&self, method: Method, path: &str, cookie: &str) -> RequestBuilder {
        self.ask(method, path).header("cookie", cookie).header("sec-fetch-site", "same-origin").header("origin", self.origin())
    }

    pub async fn another(&self, principal: &str) -> String {
        text(&self.world.up(principal, REPO, "main", &[]).run().await.ok(), "session_id")
    }

    pub async fn down(&self) {
        self.world.api("ann").down(&self.session, json!({})).await.expect(202);
    }

    /// The first answer that says so. One that the program is giving when it ends is cut.
    pub async fn is_over(&self) -> Reply {
        until("it is over", Duration::from_secs(60), || async {
            try_send(self.as_ann(Method::GET, "/")).await.ok().filter(|reply| reply.status == 409)
        })
        .await
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub fn host(session: &str) -> String {
    format!("{}.apps.localhost", session.replace('_', "-"))
}

fn url(world: &World, session: &str) -> String {
    format!("https://{}:{}/", host(session), world.server.port)
}
