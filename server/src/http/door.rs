//! The listener, which can be closed while what came through it goes on. Closing one resets whoever the kernel has let in and
//! nobody has accepted yet, so these are taken first.

use std::{future::pending, io, mem, net::SocketAddr};

use axum_server::{AddrListener, Address};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Address for Peer {
    type Stream = TcpStream;
    type Listener = Door;
}

#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    state: Mutex<State>,
    closing: CancellationToken,
    closed: CancellationToken,
}

#[derive(Debug)]
enum State {
    Open(TcpListener),
    /// Only who waits already.
    Closing(std::net::TcpListener),
    Closed,
}

impl Door {
    /// Open until `closing`; `closed` follows.
    pub fn new(listener: std::net::TcpListener, closing: CancellationToken, closed: CancellationToken) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { address, state: Mutex::new(State::Open(TcpListener::from_std(listener)?)), closing, closed })
    }
}

impl AddrListener<TcpStream, Peer> for Door {
    async fn bind_to(Peer(address): Peer) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        Self::new(listener, CancellationToken::new(), CancellationToken::new())
    }

    async fn accept_stream(&self) -> io::Result<(TcpStream, Peer)> {
        let mut state = self.state.lock().await;
        loop {
            match &*state {
                State::Open(listener) => {
                    tokio::select! {
                        biased;
                        () = self.closing.cancelled() => {}
                        accepted = listener.accept() => return accepted.map(|(stream, peer)| (stream, Peer(peer))),
                    }
                    if let State::Open(listener) = mem::replace(&mut *state, State::Closed) {
                        *state = listener.into_std().map_or(State::Closed, State::Closing);
                    }
                }
                // Asked of the kernel itself: the runtime may not have heard of them yet.
                State::Closing(listener) => match listener.accept() {
                    Ok((stream, peer)) => {
                        stream.set_nonblocking(true)?;
                        return Ok((TcpStream::from_std(stream)?, Peer(peer)));
                    }
                    // Who has gone meanwhile is not the last.
                    Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                    Err(_) => *state = State::Closed,
                },
                State::Closed => {
                    self.closed.cancel();
                    return pending().await;
                }
            }
        }
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        Ok(Peer(self.address))
    }
}
