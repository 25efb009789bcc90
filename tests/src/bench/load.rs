//! Requests as fast as a number of connections can send them, for a while.
//!
//! The load shares the machine with what it measures, so that it is kept lean: one HTTP/1.1 connection over TLS each, one request at a
//! time on it, and nothing read from a body but its bytes.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::samples::Samples;
use crate::pki::{Pki, provider};

#[derive(Debug)]
pub struct Connection(SendRequest<Full<Bytes>>);

/// What a while of load came to.
#[derive(Debug)]
pub struct Measured {
    pub per_second: f64,
    /// Of each request.
    pub times: Samples,
}

impl Connection {
    pub async fn open(port: u16, pki: &Pki) -> anyhow::Result<Self> {
        Self::open_with("localhost", port, tls(pki)?).await
    }

    /// `name`: as TLS is told whom it is for.
    pub async fn open_with(name: &str, port: u16, tls: TlsConnector) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Self::spoken(tls.connect(ServerName::try_from(name.to_owned())?, stream).await?).await
    }

    /// Without TLS.
    async fn open_plain(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::spoken(stream).await
    }

    async fn spoken(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> anyhow::Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    pub async fn open_many(count: usize, port: u16, pki: &Pki) -> anyhow::Result<Vec<Self>> {
        Self::open_many_for("localhost", count, port, pki).await
    }

    pub async fn open_many_for(name: &str, count: usize, port: u16, pki: &Pki) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Self::open_with(name, port, tls(pki)?).await?);
        }
        Ok(all)
    }

    pub async fn open_plain_many(count: usize, address: SocketAddr) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Self::open_plain(address).await?);
        }
        Ok(all)
    }

    /// The body of a good answer.
    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}

/// Of a client that trusts the tests' authority.
pub fn tls(pki: &Pki) -> anyhow::Result<TlsConnector> {
    provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&pki.ca)?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A request of a bearer of `token`; `body` makes it a POST of JSON.
pub fn request(path: &str, token: &str, key: Option<&str>, body: Option<Bytes>) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request =
        Request::builder().uri(path).header(header::HOST, "localhost").header(header::AUTHORIZATION, format!("Bearer {token}"));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if body.is_some() {
        request = request.method("POST").header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(body.unwrap_or_default())).context("a request")
}

/// All connections at it for so long. `request` is given the number of the connection and of its request.
pub async fn run<F>(connections: &mut Vec<Connection>, length: Duration, request: F) -> anyhow::Result<Measured>
where
    F: Fn(usize, u64) -> anyhow::Result<Request<Full<Bytes>>> + Clone + Send + Sync + 'static,
{
    let begun = Instant::now();
    let tasks: Vec<_> = connections
        .drain(..)
        .enumerate()
        .map(|(number, mut connection)| {
            let request = request.clone();
            tokio::spawn(async move {
                let (mut times, mut count) = (Vec::new(), 0);
                while begun.elapsed() < length {
                    let request = request(number, count)?;
                    let sent = Instant::now();
                    connection.ask(request).await?;
                    times.push(sent.elapsed());
                    count += 1;
                }
                anyhow::Ok((connection, times))
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        let (connection, its) = task.await??;
        connections.push(connection);
        times.extend(its);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    let per_second = times.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(Measured { per_second, times: Samples::of_times(times) })
}
