//! Trust: a server whose certificate is not known, and the same with its authority's file.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{config::Environment, testing::alpine};

const EMPTY_LIST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 15\r\n\r\n{\"sessions\":[]}";

/// Serves empty lists over TLS; gives its address and its certificate.
fn server() -> (String, String) {
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![identity.cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream.unwrap());
            if tls.read(&mut [0; 4096]).is_ok() {
                tls.write_all(EMPTY_LIST.as_bytes()).ok();
            }
            tls.conn.send_close_notify();
            tls.flush().ok();
        }
    });
    (address, identity.cert.pem())
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_said_at_once_and_its_file_mends_it() {
    let (address, pem) = server();
    let bare = [("ALPINE_CONFIG_DIR", "/nonexistent"), ("ALPINE_TOKEN", "t"), ("ALPINE_SERVER", &*address)];
    let asked = Instant::now();
    let run = alpine(&["list", "--json"], &Environment::of(&bare)).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "it was tried again");
    let (code, cause, exit) = run.json_error();
    assert_eq!((code.as_str(), exit), ("ERR_UNAVAILABLE", 2));
    assert!(cause.contains("not trusted") && run.out.contains("ALPINE_CA_FILE"), "{}", run.out);

    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), pem).unwrap();
    let with = |path: &str| Environment::of(&[&bare[..], &[("ALPINE_CA_FILE", path)]].concat());
    let run = alpine(&["list", "--json"], &with(ca.path().to_str().unwrap())).await;
    assert_eq!((run.code, run.out.as_str()), (ExitCode::SUCCESS, "[]\n"), "{run:?}");

    fs::write(ca.path(), "no certificate").unwrap();
    for path in [ca.path().to_str().unwrap(), "/nonexistent/ca.pem"] {
        assert_eq!(alpine(&["list", "--json"], &with(path)).await.json_error().0, "ERR_INVALID_REQUEST");
    }
}

/// Each with the other one's address: it is said which of the two it is, not that nobody is there.
#[tokio::test]
async fn a_server_that_speaks_tls_or_does_not_is_told_from_one_that_is_away() {
    let (with_tls, _) = server();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let without = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; 1]).ok();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").ok();
        }
    });
    let said = async |address: &str| {
        let env = [("ALPINE_CONFIG_DIR", "/nonexistent"), ("ALPINE_TOKEN", "t"), ("ALPINE_SERVER", address)];
        let run = alpine(&["list", "--json"], &Environment::of(&env)).await;
        (run.json_error(), run.out)
    };
    let asked = Instant::now();
    let ((code, cause, exit), out) = said(&format!("https://{without}")).await;
    assert_eq!((code.as_str(), exit), ("ERR_UNAVAILABLE", 2));
    assert!(cause.contains("does not speak TLS") && out.contains("\"retryable\":false"), "{out}");
    assert!(asked.elapsed() < Duration::from_secs(2), "it was tried again");
    let asked = Instant::now();
    let ((code, cause, exit), out) = said(&with_tls.replace("https", "http")).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "it was tried again");
    assert_eq!((code.as_str(), exit), ("ERR_UNAVAILABLE", 2));
    assert!(cause.contains("did not answer in plain HTTP") && out.contains(&format!("give its address as {with_tls}")), "{out}");
}
