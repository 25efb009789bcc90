use std::net::{SocketAddr, TcpListener};

use axum::routing::get as on_get;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::http::{ServeError, TlsFiles, serve};

type Served = JoinHandle<Result<(), ServeError>>;

fn start(router: Router, tls: Option<TlsFiles>) -> (SocketAddr, CancellationToken, Served) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let served = tokio::spawn(serve(router, listener, tls, shutdown.clone(), Duration::from_secs(5)));
    (address, shutdown, served)
}

#[tokio::test]
async fn tls_is_served_with_http_2_and_http_1() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
    std::fs::write(&files.cert, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    let (address, shutdown, served) = start(app(), Some(files));
    let client = || {
        let ca = reqwest::Certificate::from_pem(cert.pem().as_bytes()).unwrap();
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
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (begun, end) = (begun.clone(), end.clone());
        on_get(move || async move {
            begun.notify_one();
            end.notified().await;
            "done"
        })
    };
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
