//! What a session serves, through its own host and through nginx to the very same program, with the same certificate.
//!
//! A browser may ask for 200 pages a second. That bound stays: the load is of as many browsers as it takes not to meet it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use axum::body::Bytes;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::Full;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Options,
    load::{self, Connection, Measured},
    nginx::Nginx,
    report::{Row, Section, Target},
    samples::median,
    stage::{PRINCIPAL, Stage, TENANT, up_body},
};
use crate::{
    api::{Api, send},
    cli::text,
    sandboxes,
};

const CONNECTIONS: usize = 16;
const BROWSERS: usize = 96;
/// What a page that is opened asks for.
const IN_A_ROW: u64 = 100;
const PAGE: (&str, usize) = ("/page", 4096);
const FILE: (&str, usize) = ("/file", 1024 * 1024);
const LEAST: f64 = 0.8;
/// Milliseconds.
const MOST: f64 = 5.0;

/// To the session's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Direct,
    /// nginx, one connection a request.
    Fresh,
    /// nginx, which keeps connections.
    Kept,
    Cookie,
    Bearer,
}

const ALL: [Way; 5] = [Way::Direct, Way::Fresh, Way::Kept, Way::Cookie, Way::Bearer];
const BY_COOKIE: [Way; 4] = [Way::Direct, Way::Fresh, Way::Kept, Way::Cookie];

impl Way {
    const fn told(self) -> &'static str {
        match self {
            Self::Direct => "nothing between",
            Self::Fresh => "nginx, a connection a request",
            Self::Kept => "nginx, connections kept",
            Self::Cookie => "a browser",
            Self::Bearer => "a program",
        }
    }
}

/// By way, one a round.
#[derive(Debug, Default)]
struct Figures(BTreeMap<Way, Vec<f64>>);

impl Figures {
    fn add(&mut self, way: Way, figure: f64) {
        self.0.entry(way).or_default().push(figure);
    }

    fn of(&self, way: Way) -> &[f64] {
        self.0.get(&way).map_or(&[], Vec::as_slice)
    }

    fn pairs(&self, ours: Way, other: Way) -> Vec<(f64, f64)> {
        self.of(ours).iter().copied().zip(self.of(other).iter().copied()).collect()
    }

    fn median(&self, way: Way) -> f64 {
        median(self.of(way).to_vec())
    }

    /// Of nginx's two, where more is better, and the other.
    fn nginx(&self) -> (Way, Way) {
        if self.median(Way::Kept) >= self.median(Way::Fresh) { (Way::Kept, Way::Fresh) } else { (Way::Fresh, Way::Kept) }
    }
}

/// Of all rounds.
#[derive(Debug, Default)]
struct Found {
    /// A second.
    pages: Figures,
    /// MB a second.
    files: Figures,
    /// A page on one connection, in milliseconds.
    p50: Figures,
    p95: Figures,
}

struct Bench {
    /// Ends before the folder that it is in.
    nginx: Nginx,
    stage: Stage,
    server: usize,
    /// Where it listens.
    program: SocketAddr,
    authorization: HeaderValue,
    /// The session's host, and as it is asked for.
    name: String,
    host: HeaderValue,
    cookies: Vec<HeaderValue>,
}

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let bench = Box::pin(Bench::set(&options.provider)).await?;
    let length = if options.short { Duration::from_millis(300) } else { Duration::from_secs(options.seconds) };
    let mut found = Found::default();
    for way in ALL {
        bench.is_right(way).await?;
        bench.load(way, PAGE, CONNECTIONS, length / 10).await?;
    }
    for round in 0..options.rounds {
        for turn in 0..ALL.len() {
            let way = ALL[(turn + round) % ALL.len()];
            found.pages.add(way, bench.load(way, PAGE, CONNECTIONS, length).await?.per_second);
        }
        for turn in 0..BY_COOKIE.len() {
            let way = BY_COOKIE[(turn + round) % BY_COOKIE.len()];
            #[expect(clippy::cast_precision_loss, reason = "a megabyte")]
            let megabytes = FILE.1 as f64 / 1e6;
            found.files.add(way, bench.load(way, FILE, CONNECTIONS, length).await?.per_second * megabytes);
            let alone = bench.load(way, PAGE, 1, length / 2).await?.times;
            found.p50.add(way, alone.part(0.5));
            found.p95.add(way, alone.part(0.95));
        }
    }
    let about = format!(
        "A page of 4 KiB and a file of 1 MiB that nginx serves in a session, asked for at the session's host and through another nginx as a proxy, \
         over TLS with the same certificate, HTTP/1.1 and connections that callers keep ({CONNECTIONS}), no access log; nginx has as many workers \
         as there are cores. The gateway keeps connections of one visitor. By the cookies of {BROWSERS} browsers, {IN_A_ROW} requests of one after the other's, which \
         together stay below the bound of each. What a session serves has what all others leave of the processors, whoever asks. {} rounds of {:.1} s in turn.",
        options.rounds,
        length.as_secs_f64()
    );
    let about = if options.provider == "local" { about } else { format!("{about} In a session of `{}`.", options.provider) };
    Ok(Section { name: "gateway", about, rows: found.rows() })
}

impl Found {
    fn rows(&self) -> Vec<Row> {
        let wanted = Target::AtLeast(LEAST);
        let row = |what: &str, unit, figures: &Figures, ours, other: Way| {
            Row::of_pairs(format!("{what}, {}", Way::told(ours)), unit, other.told(), &figures.pairs(ours, other))
        };
        let direct = |figures: &Figures, unit| format!("{} {:.0} {unit}", Way::Direct.told(), figures.median(Way::Direct));
        let ((better, worse), (quicker, slower)) = (self.pages.nginx(), self.files.nginx());
        let over = |way| median(self.p50.pairs(way, Way::Direct).into_iter().map(|(way, direct)| way - direct).collect());
        let alone = |way| format!("{} {:.2} (p95 {:.2})", Way::told(way), self.p50.median(way), self.p95.median(way));
        vec![
            row("4 KiB", "1/s", &self.pages, Way::Cookie, better).target(wanted).detail(direct(&self.pages, "1/s")),
            row("4 KiB", "1/s", &self.pages, Way::Cookie, worse),
            row("4 KiB", "1/s", &self.pages, Way::Bearer, better),
            row("1 MiB", "MB/s", &self.files, Way::Cookie, quicker).target(wanted).detail(direct(&self.files, "MB/s")),
            row("1 MiB", "MB/s", &self.files, Way::Cookie, slower),
            Row::within("4 KiB alone, p50, over nothing between", "ms", over(Way::Cookie), MOST)
                .detail(BY_COOKIE.map(alone).join(", ") + " ms"),
        ]
    }
}

impl Bench {
    async fn set(provider: &str) -> anyhow::Result<Self> {
        let mut stage = Box::pin(Stage::of_provider(provider, &[])).await;
        stage.ground.git.with_files("org/repo", &[("serve.sh", include_str!("gateway.sh"))]);
        let server = Box::pin(stage.serve("all", &[("ALPINE_SANDBOX_SERVE", "exec sh serve.sh")])).await;
        // The domain has the server's port, which is known once there is one.
        let place = &mut stage.servers[server];
        place.kill();
        place.configure("ALPINE_APPS_DOMAIN", Some(format!("apps.localhost:{}", place.port)));
        place.start_again().await;
        let session = up(&stage, server).await?;
        let variable = |name| sandboxes::variable(&session, name).with_context(|| format!("what is served has no {name}"));
        let program = SocketAddr::new(address(provider, &session)?, variable("PORT")?.parse()?);
        let password = variable("OPENCODE_SERVER_PASSWORD")?;
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("opencode:{password}")));
        let nginx = Nginx::start(&stage.file("nginx"), &stage.ground.pki, program, &authorization).await?;
        let name = format!("{}.apps.localhost", session.replace('_', "-"));
        let cookies = cookies(&stage, server, &session, &name).await?;
        let host = HeaderValue::from_str(&format!("{name}:{}", stage.servers[server].port))?;
        Ok(Self { nginx, stage, server, program, authorization: HeaderValue::from_str(&authorization)?, name, host, cookies })
    }

    /// All of this is answered this way.
    async fn is_right(&self, way: Way) -> anyhow::Result<()> {
        for (path, length) in [PAGE, FILE] {
            let request = request(path, &self.headers(way)?[0])?;
            let body = self.connections(way, 1).await?[0].ask(request).await?;
            ensure!(body.len() == length, "{}: {path} has {} bytes", way.told(), body.len());
        }
        Ok(())
    }

    async fn load(&self, way: Way, what: (&'static str, usize), connections: usize, length: Duration) -> anyhow::Result<Measured> {
        let headers: Arc<[HeaderMap]> = self.headers(way)?.into();
        let mut connections = self.connections(way, connections).await?;
        let count = connections.len();
        let ask = move |connection: usize, number: u64| {
            let turn = usize::try_from(number / IN_A_ROW).unwrap_or_default() * count + connection;
            request(what.0, &headers[turn % headers.len()])
        };
        load::run(&mut connections, length, ask).await.with_context(|| format!("{}: {}", way.told(), what.0))
    }

    async fn connections(&self, way: Way, count: usize) -> anyhow::Result<Vec<Connection>> {
        let pki = &self.stage.ground.pki;
        match way {
            Way::Direct => Connection::open_plain_many(count, self.program).await,
            Way::Fresh => Connection::open_many(count, self.nginx.fresh, pki).await,
            Way::Kept => Connection::open_many(count, self.nginx.kept, pki).await,
            Way::Cookie | Way::Bearer => Connection::open_many_for(&self.name, count, self.stage.servers[self.server].port, pki).await,
        }
    }

    /// In turn, those of each caller.
    fn headers(&self, way: Way) -> anyhow::Result<Vec<HeaderMap>> {
        let with = |name, value: HeaderValue| {
            let own = HeaderValue::from_static("same-origin");
            HeaderMap::from_iter([
                (header::HOST, self.host.clone()),
                (header::HeaderName::from_static("sec-fetch-site"), own),
                (name, value),
            ])
        };
        match way {
            Way::Direct => Ok(vec![with(header::AUTHORIZATION, self.authorization.clone())]),
            Way::Bearer => {
                // Anew each time: it lasts for ten minutes.
                let token = HeaderValue::from_str(&format!("Bearer {}", self.stage.token(PRINCIPAL)))?;
                Ok(vec![with(header::AUTHORIZATION, token)])
            }
            Way::Fresh | Way::Kept | Way::Cookie => Ok(self.cookies.iter().map(|cookie| with(header::COOKIE, cookie.clone())).collect()),
        }
    }
}

fn request(path: &'static str, headers: &HeaderMap) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().uri(path).body(Full::default())?;
    *request.headers_mut() = headers.clone();
    Ok(request)
}

/// A container has one of its own.
fn address(provider: &str, session: &str) -> anyhow::Result<IpAddr> {
    if provider != "docker" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let every = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    Ok(sandboxes::docker(&["inspect", "--format", every, &format!("alpine-{session}")]).parse()?)
}

/// A ready session.
async fn up(stage: &Stage, server: usize) -> anyhow::Result<String> {
    let mut request = load::request("/v1/sessions", &stage.token(PRINCIPAL), Some("gateway"), Some(up_body()))?;
    request.headers_mut().insert("prefer", HeaderValue::from_static("wait=60"));
    let answer: Value = serde_json::from_slice(&stage.connections(server, 1).await?[0].ask(request).await?)?;
    ensure!(answer["state"] == "ready", "it is not ready: {answer}");
    Ok(text(&answer, "session_id"))
}

/// Of admins: who else may use a session that is not theirs?
async fn cookies(stage: &Stage, server: usize, session: &str, name: &str) -> anyhow::Result<Vec<HeaderValue>> {
    let (pki, server) = (&stage.ground.pki, &stage.servers[server]);
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&pki.ca)?)?;
    let browser = reqwest::Client::builder()
        .tls_certs_only([ca])
        .redirect(reqwest::redirect::Policy::none())
        .resolve(name, SocketAddr::from(([127, 0, 0, 1], server.port)))
        .build()?;
    let (client, mut cookies) = (pki.client(), Vec::new());
    for number in 0..BROWSERS {
        let token = stage.ground.token(TENANT, &format!("visitor{number}"), &["alpine.admin"]);
        let api = Api::new(client.clone(), server.base(), token);
        let opened = api.send(Method::POST, &format!("/v1/sessions/{session}/open"), &json!(null)).await;
        let answer = send(browser.get(text(opened.expect(200), "url"))).await;
        let cookie = answer.headers.get(header::SET_COOKIE).and_then(|value| value.to_str().ok()?.split(';').next());
        cookies.push(HeaderValue::from_str(cookie.with_context(|| format!("no cookie: {}", answer.text))?)?);
    }
    Ok(cookies)
}
