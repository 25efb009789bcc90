//! A remote that sends git elsewhere, in every way that HTTP and git's protocols know.

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use axum_server::tls_rustls::RustlsConfig;

use super::{HOSTILE, MARK};
use crate::pki::Pki;

/// Where its redirects lead.
pub fn targets() -> Vec<String> {
    let hosts = [
        "https://127.0.0.1",
        "https://10.0.0.5",
        "http://169.254.169.254",
        "https://p0.private.test",
        "https://[::1]",
        "https://[fd00:ec2::254]",
    ];
    let mut targets: Vec<String> = hosts.iter().map(|host| format!("{host}/org/{MARK}.git/info/refs?service=git-upload-pack")).collect();
    targets.extend(["file:///etc/passwd", "ext::sh -c id", "ssh://-oProxyCommand=id/r", "//10.0.0.5/r"].map(str::to_owned));
    targets
}

/// Serves as long as the runtime lives.
pub fn start(pki: &Pki) {
    let listener = std::net::TcpListener::bind((HOSTILE, 443)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (cert, key) = (pki.cert.clone(), pki.key.clone());
    tokio::spawn(async move {
        let tls = RustlsConfig::from_pem_file(cert, key).await.unwrap();
        let router = Router::new().fallback(answer);
        axum_server::from_tcp_rustls(listener, tls).unwrap().serve(router.into_make_service()).await.unwrap();
    });
}

async fn answer(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').splitn(4, '/').collect();
    match parts.as_slice() {
        [kind, status, number, ..] if kind.ends_with("-redirect") => {
            let number: usize = number.trim_end_matches(".git").parse().unwrap();
            let status = StatusCode::from_u16(status.parse().unwrap()).unwrap();
            (status, [(header::LOCATION, targets()[number].clone())], "elsewhere").into_response()
        }
        [kind, ..] if kind.ends_with("-dumb") => dumb(&path),
        [kind, ..] if kind.ends_with("-endless") => ([(header::CONTENT_TYPE, "text/plain")], "x".repeat(8 << 20)).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The protocol without a smart server: its objects may be said to lie with another host.
fn dumb(path: &str) -> Response {
    let id = "1".repeat(40);
    if path.ends_with("/info/refs") {
        return ([(header::CONTENT_TYPE, "text/plain")], format!("{id}\trefs/heads/main\n")).into_response();
    }
    if path.ends_with("/HEAD") {
        return "ref: refs/heads/main\n".into_response();
    }
    if path.ends_with("/objects/info/http-alternates") || path.ends_with("/objects/info/alternates") {
        return "https://10.0.0.5/x/objects\nhttp://169.254.169.254/x/objects\nhttps://p0.private.test/x/objects\n".into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}
