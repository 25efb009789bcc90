//! Real git over HTTPS: `git http-backend` behind TLS.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine as _;
use tokio::io::AsyncWriteExt;

use crate::{git_repo::GitRepo, pki::Pki};

/// The server, its repositories, and what was asked of them.
#[derive(Debug)]
pub struct GitServer {
    pub address: SocketAddr,
    /// Takes connections and never says a word, not even TLS's.
    pub black_hole: SocketAddr,
    shared: Arc<Shared>,
    _black_hole: std::net::TcpListener,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    rules: Mutex<HashMap<String, Rule>>,
    requests: Mutex<HashMap<String, usize>>,
}

#[derive(Debug, Clone, Default)]
struct Rule {
    token: Option<String>,
    delay: Option<Duration>,
    failures: usize,
    /// Bytes a second of the body of an answer.
    speed: Option<usize>,
    /// A request whose body has this in it is refused, with all that it proved itself with in the refusal.
    echo: Option<String>,
    /// And the refusal is said beside what is asked for, where git shows it as the remote's own words.
    beside: bool,
}

impl GitServer {
    pub fn start(root: PathBuf, pki: &Pki) -> Self {
        Self::start_at("127.0.0.1:0", root, pki)
    }

    pub fn start_at(at: &str, root: PathBuf, pki: &Pki) -> Self {
        std::fs::create_dir_all(&root).unwrap();
        let shared = Arc::new(Shared { root, rules: Mutex::default(), requests: Mutex::default() });
        let listener = std::net::TcpListener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let (cert, key) = (pki.cert.clone(), pki.key.clone());
        tokio::spawn(async move {
            let tls = RustlsConfig::from_pem_file(cert, key).await.unwrap();
            axum_server::from_tcp_rustls(listener, tls).unwrap().serve(router.into_make_service()).await.unwrap();
        });
        let black_hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { address, black_hole: black_hole.local_addr().unwrap(), shared, _black_hole: black_hole }
    }

    /// What the server's configuration needs: `github.com` is this server, `black.hole` the black hole.
    pub fn rewrites(&self) -> String {
        format!("https://github.com/=https://{}/,https://black.hole/=https://{}/", self.address, self.black_hole)
    }

    /// A new, empty repository; `name` is `org/repo`.
    pub fn create(&self, name: &str) -> GitRepo {
        GitRepo::create(&self.path(name))
    }

    /// A new repository with one commit on `main`; its URL and that commit's id.
    pub fn with_files(&self, name: &str, files: &[(&str, &str)]) -> (String, String) {
        let commit = self.create(name).commit("main", files);
        (url(name), commit)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shared.root.join(format!("{name}.git"))
    }

    fn rule(&self, name: &str, change: impl FnOnce(&mut Rule)) {
        change(self.shared.rules.lock().unwrap().entry(name.to_owned()).or_default());
    }

    /// Only who gives this password may read it.
    pub fn protect(&self, name: &str, token: &str) {
        self.rule(name, |rule| rule.token = Some(token.to_owned()));
    }

    /// Every answer comes this much later; `Duration::MAX` is never.
    pub fn delay(&self, name: &str, delay: Duration) {
        self.rule(name, |rule| rule.delay = Some(delay));
    }

    /// Answers come at no more than so many bytes a second.
    pub fn throttle(&self, name: &str, bytes_a_second: usize) {
        self.rule(name, |rule| rule.speed = Some(bytes_a_second));
    }

    /// The next `count` requests are answered 503.
    pub fn fail_next(&self, name: &str, count: usize) {
        self.rule(name, |rule| rule.failures = count);
    }

    /// Requests whose body has these words in it, all where there are none, are refused, and told what they proved
    /// themselves with.
    pub fn echo(&self, name: &str, words: &str) {
        self.rule(name, |rule| rule.echo = Some(words.to_owned()));
    }

    /// The same in what git passes on from the remote, with the remote's own progress before it.
    pub fn echo_beside(&self, name: &str, words: &str) {
        self.echo(name, words);
        self.rule(name, |rule| rule.beside = true);
    }

    /// The full names of the repository's references.
    pub fn git_refs(&self, name: &str) -> Vec<String> {
        let refs = crate::git_repo::git(&self.path(name), &["for-each-ref", "--format=%(refname)"]);
        refs.lines().map(str::to_owned).collect()
    }

    /// How many requests came for this repository.
    pub fn requests(&self, name: &str) -> usize {
        self.shared.requests.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

/// The repository's public name, which is rewritten to this server.
pub fn url(name: &str) -> String {
    format!("https://github.com/{name}.git")
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let name = path.split_once(".git").map_or(path.as_str(), |(name, _)| name).trim_matches('/').to_owned();
    *shared.requests.lock().unwrap().entry(name.clone()).or_default() += 1;
    let rule = {
        let mut rules = shared.rules.lock().unwrap();
        let rule = rules.entry(name).or_default();
        let now = rule.clone();
        rule.failures = rule.failures.saturating_sub(1);
        now
    };
    match rule.delay {
        Some(Duration::MAX) => std::future::pending().await,
        Some(delay) => tokio::time::sleep(delay).await,
        None => {}
    }
    if rule.failures > 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "for a moment").into_response();
    }
    if rule.token.is_some_and(|token| password(request.headers()) != Some(token)) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")], "who are you?").into_response();
    }
    let Some(words) = rule.echo else {
        let answer = backend(&shared, request).await;
        return match rule.speed {
            Some(speed) => throttled(answer, speed).await,
            None => answer,
        };
    };
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    if words.is_empty() || body.windows(words.len()).any(|window| window == words.as_bytes()) {
        return echo(&parts.headers, words.is_empty(), rule.beside);
    }
    backend(&shared, Request::from_parts(parts, Body::from(body))).await
}

/// The same answer, its body a tenth of a second's worth at a time.
async fn throttled(answer: Response, speed: usize) -> Response {
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let (mut sink, source) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        for part in body.chunks((speed / 10).max(1)) {
            if sink.write_all(part).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Response::from_parts(parts, Body::from_stream(tokio_util::io::ReaderStream::new(source)))
}

/// What a hostile server would say, to HTTP or to git: the token as it came, as a part of other text, and written otherwise.
fn echo(headers: &HeaderMap, plainly: bool, beside: bool) -> Response {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = password(headers).unwrap_or_default();
    let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
    let (first, second) = token.split_at(token.len() / 2);
    let url = format!("https://x-access-token:{token}@github.com/");
    let alone = base64::engine::general_purpose::STANDARD.encode(&token);
    let text = format!("refused: {token} {header} {url}\n{alone} {hex} {first}\u{1}{second}\n");
    if plainly {
        return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/plain")], text).into_response();
    }
    let packet = if beside {
        let text = format!("Counting objects: 50% ({token}/2)\r{text}Receiving objects: 50% ({token}/2)\r\nfatal: {token}\n");
        format!("000dpackfile\n{:04x}\u{2}{text}0000", text.len() + 5)
    } else {
        format!("{:04x}ERR {text}", text.len() + 8)
    };
    ([(header::CONTENT_TYPE, "application/x-git-upload-pack-result")], packet).into_response()
}

fn password(headers: &HeaderMap) -> Option<String> {
    let basic = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(basic).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

/// One CGI request.
async fn backend(shared: &Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = tokio::process::Command::new("git")
        .args(["-c", "safe.directory=*", "-c", "uploadpack.allowAnySHA1InWant=true", "http-backend"])
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        // It may answer without having read everything.
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.unwrap();
    let _ = feed.await;
    answer(&output.stdout)
}

fn answer(cgi: &[u8]) -> Response {
    let Some(end) = cgi.windows(4).position(|four| four == b"\r\n\r\n") else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::new(Body::from(Bytes::copy_from_slice(&cgi[end + 4..])));
    for line in String::from_utf8_lossy(&cgi[..end]).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("status") {
            *response.status_mut() = value[..3].parse().unwrap();
        } else {
            let name: axum::http::HeaderName = name.parse().unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}
