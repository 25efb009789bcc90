//! Connections to sessions' hosts, served on threads of their own (ADR 21): what pages ask for keeps no request to the API waiting, and each
//! step of it stays on one thread, where the runtime of everything else would wake another one to look for work.
//!
//! What a connection is for is seen by the name in its TLS greeting, which is only peeked at. What is answered does not depend on it: a request
//! is for the host that it asks for itself, wherever it is served.

use std::{
    future::pending,
    io,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use axum_server::{AddrListener, Address};
use rustix::net::{RecvFlags, recv};
use rustls::server::Acceptor;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::{Mutex, mpsc},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connections::{Counted, Moving};
use crate::domain::apps::{AppsDomain, Named};

/// Of a TLS record, with its head, in bytes.
const RECORD: usize = 5 + 16 * 1024;
/// Connections that wait for a thread.
const WAITING: usize = 1024;
/// Looks at a sandbox, of each of the threads, at one time.
const BLOCKING: usize = 32;

/// Threads with a runtime each, for as long as this lives. What was opened on them ends with them.
#[derive(Debug)]
pub struct Threads {
    apps: AppsDomain,
    runtimes: Vec<Handle>,
    _end: DropGuard,
}

impl Threads {
    /// For half of the cores, and one at least: what they serve, a program has to answer.
    ///
    /// # Errors
    ///
    /// The system has no thread or no file for one.
    pub fn start(apps: AppsDomain) -> io::Result<Self> {
        let (cores, end) = (thread::available_parallelism().map_or(1, NonZero::get), CancellationToken::new());
        let guard = end.clone().drop_guard();
        let start = |number| {
            // No signals: each process of a session that ends would wake all of them.
            let runtime = Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(BLOCKING).build()?;
            let end = end.clone();
            let handle = runtime.handle().clone();
            thread::Builder::new().name(format!("sessions-{number}")).spawn(move || {
                runtime.block_on(end.cancelled());
                runtime.shutdown_background();
            })?;
            Ok(handle)
        };
        let runtimes = (0..cores.div_ceil(2)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { apps, runtimes, _end: guard })
    }

    /// What they serve: connections to hosts of this domain.
    #[must_use]
    pub fn apart(&self) -> Apart {
        Apart { apps: self.apps.clone(), runtimes: self.runtimes.clone() }
    }
}

/// What is served apart, and where.
#[derive(Debug)]
pub struct Apart {
    apps: AppsDomain,
    runtimes: Vec<Handle>,
}

impl Apart {
    /// Where connections are handed over, and where they arrive.
    pub(super) fn lines(self) -> (Switch, Vec<(Handle, Arrivals)>) {
        let (senders, arrivals): (Vec<_>, Vec<_>) = self.runtimes.iter().map(|_| mpsc::channel(WAITING)).unzip();
        let arrivals = arrivals.into_iter().map(|arriving| Arrivals(Mutex::new(arriving)));
        let switch = Switch(Arc::new(Inner { apps: self.apps, senders, turn: AtomicUsize::new(0) }));
        (switch, self.runtimes.into_iter().zip(arrivals).collect())
    }
}

/// Hands connections to sessions' hosts over to the threads for them. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Switch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    apps: AppsDomain,
    senders: Vec<mpsc::Sender<Moving>>,
    turn: AtomicUsize,
}

impl Switch {
    /// The connection, if it is served here; its greeting is there and not read. Where no thread takes one it is served here too.
    pub fn pass(&self, connection: Counted) -> io::Result<Option<Counted>> {
        let Inner { apps, senders, turn } = &*self.0;
        if !matches!(named(connection.tcp()).and_then(|name| apps.named(&name)), Some(Named::App(_))) {
            return Ok(Some(connection));
        }
        let (before, after) = senders.split_at(turn.fetch_add(1, Ordering::Relaxed) % senders.len());
        match after.iter().chain(before).find_map(|sender| sender.try_reserve().ok()) {
            Some(place) => connection.leave().map(|moving| place.send(moving)).map(|()| None),
            None => {
                tracing::debug!("no thread for sessions takes a connection");
                Ok(Some(connection))
            }
        }
    }
}

/// The name in the greeting that is there; `None`: it has none, or is no greeting, or not in one piece.
fn named(stream: &TcpStream) -> Option<String> {
    let mut greeting = [0; RECORD];
    let read = recv(stream, &mut greeting, RecvFlags::PEEK).ok()?.0;
    let (mut rest, mut acceptor) = (greeting.get(..read)?, Acceptor::default());
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return accepted.client_hello().server_name().map(str::to_owned);
        }
    }
    None
}

/// Listens for what is handed over.
#[derive(Debug)]
pub(super) struct Arrivals(Mutex<mpsc::Receiver<Moving>>);

/// Where it comes from says nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived;

impl Address for Arrived {
    type Stream = Counted;
    type Listener = Arrivals;
}

impl AddrListener<Counted, Arrived> for Arrivals {
    async fn bind_to(_: Arrived) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn accept_stream(&self) -> io::Result<(Counted, Arrived)> {
        let mut moving = self.0.lock().await;
        loop {
            match moving.recv().await.map(Moving::arrive) {
                Some(Ok(connection)) => return Ok((connection, Arrived)),
                // One that the runtime cannot watch keeps no other waiting.
                Some(Err(error)) => tracing::debug!(%error, "a connection is lost on its way"),
                None => return pending().await,
            }
        }
    }

    fn get_local_addr(&self) -> io::Result<Arrived> {
        Ok(Arrived)
    }
}
