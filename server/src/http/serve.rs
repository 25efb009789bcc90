//! Listening: TLS, timeouts of connections, and the way out.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use axum_server::{Handle, Server, tls_rustls::RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_util::sync::CancellationToken;

/// A certificate chain and its key, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the listener cannot be used")]
    Listener(#[source] std::io::Error),
    #[error("{} is not a PEM file of the kind that is needed", path.display())]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("certificate and key cannot be used")]
    Tls(#[from] rustls::Error),
    #[error("serving ended")]
    Serve(#[source] std::io::Error),
}

/// A connection that says nothing for this long is closed, whether it has just come or is kept alive.
const SILENCE: Duration = Duration::from_secs(30);
const FIRST_REQUEST: Duration = Duration::from_secs(10);
const STREAMS: u32 = 250;

/// Serve until `shutdown`; then accept nothing, tell kept-alive connections to close, and give requests
/// under way at most `drain`.
pub async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Option<TlsFiles>,
    shutdown: CancellationToken,
    drain: Duration,
) -> Result<(), ServeError> {
    let handle = Handle::new();
    let leave = tokio::spawn({
        let handle = handle.clone();
        async move {
            shutdown.cancelled().await;
            handle.graceful_shutdown(Some(drain));
        }
    });
    let service = router.into_make_service();
    let served = match tls {
        None => {
            let server = axum_server::from_tcp(listener).map_err(ServeError::Listener)?;
            bounded(server, handle).serve(service).await
        }
        Some(files) => {
            let config = RustlsConfig::from_config(Arc::new(server_config(&files)?));
            let server = axum_server::from_tcp_rustls(listener, config).map_err(ServeError::Listener)?;
            bounded(server, handle).serve(service).await
        }
    };
    leave.abort();
    served.map_err(ServeError::Serve)
}

fn bounded<A>(server: Server<SocketAddr, A>, handle: Handle<SocketAddr>) -> Server<SocketAddr, A> {
    let mut server = server.handle(handle).first_request_timeout(FIRST_REQUEST);
    let builder = server.http_builder();
    // The timer must be given again: without one hyper ignores its timeouts, silently.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(SILENCE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(SILENCE).keep_alive_timeout(SILENCE).max_concurrent_streams(STREAMS);
    server
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, ServeError> {
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| ServeError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(pem(&files.cert))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    // Named here, so that nothing depends on which provider a library installed for the process.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
