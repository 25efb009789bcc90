//! Connections as they come: counted, and closed before TLS when there are too many.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum_server::accept::Accept;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::metrics::{InFlight, Metrics};

/// Bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    pub max: usize,
    /// From one address; 0: any number.
    pub per_address: usize,
    /// One that says nothing for this long is closed, and one that takes nothing of its answer for this long.
    pub silence: Duration,
    /// For the first request of a new one.
    pub first_request: Duration,
    pub handshake: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { max: 16_384, per_address: 0, silence: seconds(30), first_request: seconds(10), handshake: seconds(10) }
    }
}

/// Counts who is connected.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: ConnectionSettings,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// Empty unless there is a bound for them.
    by_address: HashMap<IpAddr, usize>,
}

impl Connections {
    #[must_use]
    pub fn new(settings: ConnectionSettings, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared { settings, metrics, open: Mutex::default() }))
    }

    pub(super) fn settings(&self) -> &ConnectionSettings {
        &self.0.settings
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    fn enter(&self, address: IpAddr) -> Result<Entered, &'static str> {
        let Shared { settings, metrics, open } = &*self.0;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= settings.max {
            return Err("server");
        }
        if settings.per_address > 0 {
            let count = open.by_address.entry(address).or_default();
            if *count >= settings.per_address {
                return Err("address");
            }
            *count += 1;
        }
        open.all += 1;
        Ok(Entered { shared: Arc::clone(&self.0), address, _gauge: metrics.connection_opens() })
    }
}

/// A peer that has vanished is noticed even where nothing is said for hours, as on a WebSocket.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, Duration::from_secs(60))?;
    set_tcp_keepintvl(stream, Duration::from_secs(20))?;
    set_tcp_keepcnt(stream, 3)
}

#[derive(Debug)]
struct Entered {
    shared: Arc<Shared>,
    address: IpAddr,
    _gauge: InFlight,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = Counted;
    type Service = S;
    type Future = Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // An answer's last packet, and a stream's every event, waits for nobody's acknowledgement (40 ms).
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        if let Err(error) = keep_alive(&stream) {
            tracing::debug!(%error, "SO_KEEPALIVE");
        }
        // An address as IPv4 and as IPv6 is one.
        let entered = stream.peer_addr().map(|peer| self.enter(peer.ip().to_canonical()));
        ready(match entered {
            Ok(Ok(entered)) => Ok((Counted { stream, stalled: None, entered }, service)),
            Ok(Err(of)) => {
                self.0.metrics.connection_refused(of);
                Err(io::Error::other("too many connections"))
            }
            Err(gone) => Err(gone),
        })
    }
}

/// A connection that is counted until it is closed, and fails when its other side takes nothing for too long.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
    entered: Entered,
}

/// One that leaves the runtime that it was accepted on, counted as before.
#[derive(Debug)]
pub(super) struct Moving {
    stream: std::net::TcpStream,
    entered: Entered,
}

impl Moving {
    /// On the runtime that it goes on on.
    pub fn arrive(self) -> io::Result<Counted> {
        Ok(Counted { stream: TcpStream::from_std(self.stream)?, stalled: None, entered: self.entered })
    }
}

impl Counted {
    pub(super) fn leave(self) -> io::Result<Moving> {
        Ok(Moving { stream: self.stream.into_std()?, entered: self.entered })
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    fn watched(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let silence = self.entered.shared.settings.silence;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(silence)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
