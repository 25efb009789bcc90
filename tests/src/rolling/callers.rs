//! Callers, each at work until told to stop: up, a while of looking, down. Whatever they are told is counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::tally::{Class, Tally};
use crate::{
    chaos::{
        client::{Told, Up},
        journal::{Journal, Of},
    },
    git_server::url,
    ground::Ground,
    sse,
};

/// For an operation to come to its end. A phase that is handed over begins anew: on a slow machine that takes several.
const PATIENCE: Duration = Duration::from_secs(300);
const CLASSES: [Class; 4] = [Class::Retrying, Class::OnceHttp1, Class::OnceHttp2, Class::OnceFresh];

#[derive(Debug, Clone)]
pub struct Callers {
    pub ground: Arc<Ground>,
    pub journal: Arc<Journal>,
    pub tally: Arc<Tally>,
    pub base: String,
    pub stop: CancellationToken,
}

/// One of them.
#[derive(Debug, Clone)]
struct Caller {
    all: Callers,
    class: Class,
    http: reqwest::Client,
}

impl Callers {
    /// So many of each class.
    pub fn begin(&self, each: usize) -> JoinSet<()> {
        let mut working = JoinSet::new();
        for (class, number) in CLASSES.into_iter().flat_map(|class| (0..each).map(move |number| (class, number))) {
            let caller = Caller { all: self.clone(), class, http: self.client(class) };
            working.spawn(async move { caller.work(number).await });
        }
        working
    }

    fn client(&self, class: Class) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&self.ground.pki.ca).unwrap()).unwrap();
        let builder = reqwest::Client::builder().tls_certs_only([ca]).timeout(Duration::from_secs(30));
        let builder = match class {
            Class::OnceHttp1 => builder.http1_only().retry(reqwest::retry::never()),
            Class::OnceFresh => builder.pool_max_idle_per_host(0).http1_only().retry(reqwest::retry::never()),
            // A request that meets a GOAWAY was not begun, and HTTP/2 itself has it asked again (RFC 9113, 8.7): that is the client's default.
            Class::Retrying | Class::OnceHttp2 | Class::Stream => builder,
        };
        builder.build().unwrap()
    }
}

impl Caller {
    async fn work(&self, number: usize) {
        let mut count = 0;
        while !self.all.stop.is_cancelled() {
            count += 1;
            let up = Up {
                tenant: "red".to_owned(),
                principal: format!("{:?}-{number}", self.class),
                key: format!("{:?}-{number}-{count}", self.class),
                repo_url: url(if fastrand::u8(0..3) == 0 { "org/slow" } else { "org/plain" }),
                branch: "main",
            };
            self.live(&up).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..300))).await;
        }
    }

    async fn live(&self, up: &Up) {
        self.all.journal.asks(up);
        let body = json!({ "repo_url": up.repo_url, "branch": up.branch, "public": true });
        let Some(told) = self.ask("up", up, Some(&up.key), (Method::POST, "/v1/sessions", Some(&body))).await else { return };
        let (Some(session), Some(operation)) = (told.text("session_id"), told.text("operation_id")) else { return };
        let watching = tokio::spawn({
            let watcher = Self { all: self.all.clone(), class: Class::Stream, http: self.all.client(Class::Stream) };
            let (up, session) = (up.clone(), session.clone());
            async move { watcher.watch(&up, &session).await }
        });
        self.succeeds("up", up, &operation).await;
        for _ in 0..2 {
            for (action, path) in [
                ("list", "/v1/sessions?limit=50".to_owned()),
                ("status", format!("/v1/sessions/{session}")),
                ("events", format!("/v1/sessions/{session}/events")),
            ] {
                self.ask(action, up, None, (Method::GET, &path, None)).await;
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..200))).await;
            }
        }
        let down = (Method::POST, format!("/v1/sessions/{session}/down"), json!({}));
        // Whoever asks once leaves the session where that was refused; nobody tells them to.
        let Some(told) = self.ask("down", up, None, (down.0, &down.1, Some(&down.2))).await else { return watching.abort() };
        if let Some(operation) = told.text("operation_id") {
            self.succeeds("down", up, &operation).await;
        }
        if !matches!(tokio::time::timeout(PATIENCE, watching).await, Ok(Ok(()))) {
            self.all.tally.fault(Class::Stream, &format!("the stream of {session} did not come to its end"));
        }
    }

    /// The operation comes to a good end, told so.
    async fn succeeds(&self, action: &'static str, up: &Up, operation: &str) {
        let (begun, path) = (Instant::now(), format!("/v1/operations/{operation}"));
        while begun.elapsed() < PATIENCE {
            let told = self.ask("operation", up, None, (Method::GET, &path, None)).await;
            match told.as_ref().and_then(|told| told.body["status"].as_str()) {
                Some("succeeded") => return self.all.tally.saw(self.class, format!("{action} succeeded")),
                Some("queued" | "running") | None => {}
                Some(other) => {
                    self.all.tally.saw(self.class, format!("{action} {other}"));
                    return self
                        .all
                        .tally
                        .fault(self.class, &format!("{action} {operation} {other}: {:?}", told.as_ref().map(|told| &told.body)));
                }
            }
        }
        self.all.tally.fault(self.class, &format!("{action} {operation} had no end within {PATIENCE:?}"));
    }

    /// The answer that is no problem, if there is one. Asked again only by those who do, and only where the problem says that it may be.
    async fn ask(&self, action: &'static str, up: &Up, key: Option<&str>, request: (Method, &str, Option<&Value>)) -> Option<Told> {
        let begun = Instant::now();
        loop {
            let told = self.once(action, up, key, &request).await?;
            if told.status < 400 {
                return Some(told);
            }
            let again = self.class == Class::Retrying && told.body["retryable"] == true && begun.elapsed() < PATIENCE;
            if !again {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(500..1000))).await;
        }
    }

    async fn once(&self, action: &'static str, up: &Up, key: Option<&str>, request: &(Method, &str, Option<&Value>)) -> Option<Told> {
        let (method, path, body) = request;
        let token = self.all.ground.token(&up.tenant, &up.principal, &[]);
        // A request that is lost can be looked for in the servers' logs.
        let id = format!("{:016x}", fastrand::u64(..));
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.all.base)).bearer_auth(token).header("Prefer", "wait=10");
        request = request.header("X-Request-Id", &id);
        request = key.iter().fold(request, |request, key| request.header("Idempotency-Key", *key));
        request = body.iter().fold(request, |request, body| request.json(body));
        let asked = Instant::now();
        match Told::of(request).await {
            Ok(told) => {
                self.counts(action, &told);
                if matches!(action, "up" | "down") {
                    let of = Of { tenant: &up.tenant, principal: &up.principal, key, session_id: None };
                    self.all.journal.answered(of, asked, told.status, &told.body);
                }
                Some(told)
            }
            Err(error) => {
                self.broken(&format!("{action} ({id})"), &error);
                None
            }
        }
    }

    fn counts(&self, action: &str, told: &Told) {
        let class = if told.status < 400 { "answered" } else { "refused" };
        self.all.tally.saw(self.class, if told.status < 400 { class.to_owned() } else { format!("{action} {}", told.status) });
        if told.status >= 400 && told.status != 503 {
            self.all.tally.fault(self.class, &format!("{action} was answered {}: {}", told.status, told.body));
        }
    }

    fn broken(&self, action: &str, error: &reqwest::Error) {
        self.all.tally.saw(self.class, "broken");
        self.all.tally.fault(self.class, &format!("{action} broke off: {error:?}"));
    }

    /// Every event of a session, once and in order, over as many streams as it takes.
    async fn watch(&self, up: &Up, session: &str) {
        let (mut last, mut ended) = (0, None);
        loop {
            let token = self.all.ground.token(&up.tenant, &up.principal, &[]);
            let request = self.http.get(format!("{}/v1/sessions/{session}/events", self.all.base)).bearer_auth(token);
            let request = request.header(header::ACCEPT, "text/event-stream").header("last-event-id", last).timeout(PATIENCE);
            match request.send().await {
                Ok(response) if response.status() == 204 => break,
                Ok(response)
                    if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
                        && response.status() == 200 =>
                {
                    // A version from before there were streams answers with a page.
                    return self.all.tally.saw(self.class, "no stream at this version");
                }
                Ok(response) if response.status() == 200 => {
                    self.all.tally.saw(self.class, "opened");
                    let mut stream = sse::Stream::of(response);
                    loop {
                        match stream.message().await {
                            Ok(Some(message)) => {
                                if message.id != last + 1 {
                                    self.all.tally.fault(self.class, &format!("{session}: event {} came after {last}", message.id));
                                }
                                last = message.id;
                                ended = message.data["to_state"].as_str().map(str::to_owned).or(ended);
                            }
                            Ok(None) => break self.all.tally.saw(self.class, "ended cleanly"),
                            Err(error) => break self.broken("stream", &error),
                        }
                    }
                }
                Ok(response) => self.all.tally.saw(self.class, format!("refused {}", response.status().as_u16())),
                Err(error) => self.broken("stream", &error),
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(500..1000))).await;
        }
        self.all.tally.saw(self.class, format!("last event: {}", ended.unwrap_or_default()));
    }
}
