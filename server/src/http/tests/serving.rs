use std::net::{SocketAddr, TcpListener};

use axum::routing::{MethodRouter, get as on_get};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::http::{Apart, ConnectionSettings, Connections, Listening, ServeError, TlsFiles, serve};

pub(super) type Served = JoinHandle<Result<(), ServeError>>;

/// Below `dir`, and the certificate itself.
pub(super) fn certificate(dir: &std::path::Path, names: &[&str]) -> (TlsFiles, String) {
    let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    std::fs::write(&files.cert, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    (files, cert.pem())
}

fn start(router: Router, tls: Option<TlsFiles>) -> (SocketAddr, CancellationToken, Served) {
    start_with(router, tls, Connections::new(ConnectionSettings::default(), Arc::new(Metrics::new())))
}

fn start_with(router: Router, tls: Option<TlsFiles>, connections: Connections) -> (SocketAddr, CancellationToken, Served) {
    start_all(router, tls, connections, None)
}

pub(super) fn start_all(
    router: Router,
    tls: Option<TlsFiles>,
    connections: Connections,
    apart: Option<Apart>,
) -> (SocketAddr, CancellationToken, Served) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let listening = Listening { listener, tls, connections, drain: Duration::from_secs(5), last: CancellationToken::new(), apart };
    let served = tokio::spawn(serve(router, listening, shutdown.clone()));
    (address, shutdown, served)
}

/// It says when it is asked, and answers when it is told to.
pub(super) fn held(answer: fn() -> String) -> (MethodRouter, Arc<Notify>, Arc<Notify>) {
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asked, told) = (begun.clone(), end.clone());
    let slow = async move || {
        asked.notify_one();
        told.notified().await;
        answer()
    };
    (on_get(slow), begun, end)
}

#[tokio::test]
async fn tls_is_served_with_http_2_and_http_1() {
    let dir = tempfile::tempdir().unwrap();
    let (files, pem) = certificate(dir.path(), &["localhost"]);
    let (address, shutdown, served) = start(app(), Some(files));
    let client = || {
        let ca = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).resolve("localhost", address)
    };
    let url = format!("https://localhost:{}/livez", address.port());
    let answer = client().build().unwrap().get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    let answer = client().http1_only().build().unwrap().get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_11));
    shutdown.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_not_there_or_not_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, "nonsense").unwrap();
    for path in [cert, dir.path().join("absent.pem")] {
        let (_, _, served) = start(app(), Some(TlsFiles { cert: path.clone(), key: key.clone() }));
        let error = served.await.unwrap().unwrap_err();
        assert!(matches!(error, ServeError::Pem { .. } | ServeError::Tls(_)), "{error}");
    }
}

#[tokio::test]
async fn a_shutdown_lets_a_request_end_closes_idle_connections_and_takes_no_new_one() {
    let (slow, begun, end) = held(|| "done".to_owned());
    let (address, shutdown, served) = start(Router::new().route("/slow", slow), None);
    let request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(request).await.unwrap();
    begun.notified().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /absent HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 404");

    shutdown.cancel();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
    end.notify_one();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_sends_a_body_that_is_too_large_hears_of_it() {
    let (address, shutdown, served) = start(app(), None);
    let body = vec![b' '; 600 * 1024];
    let head = signed(Method::POST, "/v1/tokens").body(()).unwrap();
    let bearer = head.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // As somebody does who does not read before everything is sent.
    for piece in body.chunks(32 * 1024) {
        stream.write_all(piece).await.expect("the server still reads");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("the server answers");
    assert_eq!(&status, b"HTTP/1.1 413");
    shutdown.cancel();
    drop(stream);
    served.await.unwrap().unwrap();
}

/// Whether the other side closes within this time.
pub(super) async fn closes(stream: &mut TcpStream, within: Duration) -> bool {
    let mut bytes = Vec::new();
    tokio::time::timeout(within, stream.read_to_end(&mut bytes)).await.is_ok()
}

pub(super) fn quick(settings: ConnectionSettings) -> Connections {
    let soon = Duration::from_millis(300);
    let settings = ConnectionSettings { silence: soon, first_request: soon, handshake: soon, ..settings };
    Connections::new(settings, Arc::new(Metrics::new()))
}

pub(super) const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_connection_that_says_nothing_or_too_slowly_is_closed_new_or_kept_alive() {
    let (address, shutdown, served) = start_with(app(), None, quick(ConnectionSettings::default()));
    for said in [
        "",
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: x\r\na",
        "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        assert!(closes(&mut stream, SOON).await, "{said:?}");
    }
    // Kept alive, and the next request comes a byte at a time.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < SOON && stream.write_all(b"G").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() < SOON, "a trickle keeps it open");
    shutdown.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = certificate(dir.path(), &["localhost"]);
    let (address, shutdown, served) = start_with(app(), Some(files), quick(ConnectionSettings::default()));
    // Nothing, and the beginning of a record that does not come.
    for said in [&[][..], &[0x16], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], &[0x16, 0x03, 0x01, 0x00, 0x01, 0x01], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        assert!(closes(&mut stream, SOON).await, "{said:?}");
    }
    shutdown.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_taken_ends_its_connection() {
    let large = "x".repeat(64 << 20);
    let whole = Router::new().route("/large", on_get(move || std::future::ready(large.clone())));
    let settings = quick(ConnectionSettings::default());
    let (address, shutdown, served) = start_with(whole, None, settings.clone());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let waited = tokio::time::timeout(SOON, async {
        while settings.open() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while settings.open() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "it is held for whoever takes nothing");
    drop(stream);
    shutdown.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_newest_connection_over_a_bound_is_closed_and_there_is_room_when_one_leaves() {
    for settings in [ConnectionSettings { max: 2, ..Default::default() }, ConnectionSettings { per_address: 2, ..Default::default() }] {
        let metrics = Arc::new(Metrics::new());
        let (address, shutdown, served) = start_with(app(), None, Connections::new(settings, metrics.clone()));
        let answered = async |stream: &mut TcpStream| {
            let mut head = [0; 12];
            let sent = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
            sent.is_ok() && stream.read_exact(&mut head).await.is_ok() && &head == b"HTTP/1.1 200"
        };
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(answered(&mut first).await && answered(&mut second).await);
        let mut third = TcpStream::connect(address).await.unwrap();
        assert!(!answered(&mut third).await, "{settings:?}");
        assert!(metrics.encode().contains("alpine_http_connections_open 2\n"));
        drop(first);
        let room = async {
            loop {
                let mut next = TcpStream::connect(address).await.unwrap();
                if answered(&mut next).await {
                    break;
                }
            }
        };
        tokio::time::timeout(SOON, room).await.expect("there is room again");
        shutdown.cancel();
        served.await.unwrap().unwrap();
        assert!(metrics.encode().contains("alpine_http_connections_open 0\n"));
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, shutdown, served) = start(app(), None);
    for (request, status) in [
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(40 << 10)), "431"),
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: x\r\n".repeat(101)), "431"),
        (format!("GET /livez?{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9 << 10)), "414"),
        (format!("GET /livez HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(16 << 10)), "200"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(std::str::from_utf8(&head[9..]).unwrap(), status);
    }
    shutdown.cancel();
    served.await.unwrap().unwrap();
}
