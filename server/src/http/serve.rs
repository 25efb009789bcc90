//! Listening: TLS, timeouts of connections, and the way out.

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use axum_server::{
    Address, Handle, Server,
    accept::DefaultAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::rt::TokioTimer;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use x509_parser::parse_x509_certificate;

use super::{
    apart::{Apart, Arrived},
    connections::{ConnectionSettings, Connections},
    door::{Door, Peer},
    handshake::{Boxed, Greeted},
};

/// A certificate chain and its key, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    /// Whether TLS could be served with them.
    pub fn check(&self) -> Result<(), ServeError> {
        server_config(self, chain(self)?).map(drop)
    }
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

const STREAMS: u32 = 250;
/// Of a request's line and headers together, in bytes; more is answered 431 (414 for the line) or the connection closed.
const HEAD: u32 = 32 * 1024;
/// Of what is ready for one HTTP/2 stream and not yet taken, in bytes.
const STREAM_SEND_BUFFER: usize = 64 * 1024;
/// Of a request's body that is kept for whoever will read it, in bytes: of one stream, and of one connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Whoever was let in last has this long to say what it wants, before connections on which nothing is asked are closed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where and for how long to serve.
#[derive(Debug)]
pub struct Listening {
    pub listener: TcpListener,
    pub tls: Option<TlsFiles>,
    pub connections: Connections,
    /// For requests under way when the server goes.
    pub drain: Duration,
    /// Cancelled when connections are told to close: whoever waits for something is to be answered.
    pub last: CancellationToken,
    /// With TLS alone: without it nothing says early what a connection is for.
    pub apart: Option<Apart>,
}

/// Serve until `shutdown`; then accept nobody but those who wait already, tell kept-alive connections to close, and give
/// requests under way at most `drain`.
pub async fn serve(router: Router, listening: Listening, shutdown: CancellationToken) -> Result<(), ServeError> {
    let Listening { listener, tls, connections, drain, last, apart } = listening;
    let settings = *connections.settings();
    let (handle, elsewhere, closed) = (Handle::<Peer>::new(), Handle::<Arrived>::new(), CancellationToken::new());
    let door = Door::new(listener, shutdown, closed.clone()).map_err(ServeError::Listener)?;
    let leave = tokio::spawn({
        let (handle, elsewhere) = (handle.clone(), elsewhere.clone());
        async move {
            closed.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
            // Told to close before they are answered: what is asked next then comes on another connection.
            handle.graceful_shutdown(Some(drain));
            elsewhere.graceful_shutdown(Some(drain));
            last.cancel();
        }
    });
    let (service, mut servers) = (router.into_make_service(), JoinSet::new());
    match tls {
        None => {
            let server = Server::from_listener(door).acceptor(connections);
            servers.spawn(bounded(server, handle, &settings).serve(service));
        }
        Some(files) => {
            let config = tls_config(&files, &connections)?;
            let switch = apart.map(|apart| {
                let (switch, arrivals) = apart.lines();
                for (runtime, arrivals) in arrivals {
                    let acceptor = RustlsAcceptor::new(config.clone()).handshake_timeout(settings.handshake).acceptor(DefaultAcceptor);
                    let server = Server::from_listener(arrivals).acceptor(Boxed(acceptor));
                    servers.spawn_on(bounded(server, elsewhere.clone(), &settings).serve(service.clone()), &runtime);
                }
                switch
            });
            let greeted = Greeted { connections, switch };
            let acceptor = RustlsAcceptor::new(config).handshake_timeout(settings.handshake).acceptor(greeted);
            let server = Server::from_listener(door).acceptor(Boxed(acceptor));
            servers.spawn(bounded(server, handle, &settings).serve(service));
        }
    }
    // They end together; where one fails, a thread that is no more say, none goes on.
    let mut served = Ok(());
    while served.is_ok()
        && let Some(ended) = servers.join_next().await
    {
        served = ended.unwrap_or_else(|failed| Err(failed.into()));
    }
    leave.abort();
    served.map_err(ServeError::Serve)
}

fn tls_config(files: &TlsFiles, connections: &Connections) -> Result<RustlsConfig, ServeError> {
    let chain = chain(files)?;
    if let Some(end) = end_of(&chain) {
        connections.metrics().set_certificate_expiry(end);
    }
    Ok(RustlsConfig::from_config(Arc::new(server_config(files, chain)?)))
}

fn bounded<D: Address, A>(server: Server<D, A>, handle: Handle<D>, settings: &ConnectionSettings) -> Server<D, A> {
    let silence = settings.silence;
    let mut server = server.handle(handle).first_request_timeout(settings.first_request);
    let builder = server.http_builder();
    // The timer must be given again: without one hyper ignores its timeouts, silently.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(silence).max_buf_size(HEAD as usize);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(silence).keep_alive_timeout(silence);
    http2.max_concurrent_streams(STREAMS).max_header_list_size(HEAD).max_send_buf_size(STREAM_SEND_BUFFER);
    http2.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    server
}

fn chain(files: &TlsFiles) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let chain = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect);
    chain.map_err(|source| ServeError::Pem { path: files.cert.clone(), source })
}

/// When the first of these certificates ends to be valid, in Unix seconds.
fn end_of(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let end = |certificate: &CertificateDer<'_>| match parse_x509_certificate(certificate) {
        Ok((_, certificate)) => Some(certificate.validity().not_after.timestamp()),
        Err(error) => {
            tracing::warn!(%error, "it is not known when the certificate that is served ends");
            None
        }
    };
    chain.iter().filter_map(end).min()
}

fn server_config(files: &TlsFiles, chain: Vec<CertificateDer<'static>>) -> Result<ServerConfig, ServeError> {
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| ServeError::Pem { path: files.key.clone(), source })?;
    // Named here, so that nothing depends on which provider a library installed for the process.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
