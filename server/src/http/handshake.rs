//! Before TLS: what a connection costs until it has said hello, and after.

use std::{io, pin::Pin, time::Duration};

use axum_server::accept::Accept;
use rustix::net::{RecvFlags, recv};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::{
    apart::Switch,
    connections::{Connections, Counted},
};

type Accepting<I, S> = Pin<Box<dyn Future<Output = io::Result<(I, S)>> + Send>>;

/// Leaves a connection to the kernel until its first TLS record is whole: one that never gets that far takes none of
/// TLS's memory.
#[derive(Debug, Clone)]
pub(super) struct Greeted {
    pub connections: Connections,
    /// For what is not served here.
    pub switch: Option<Switch>,
}

impl<S: Send + 'static> Accept<TcpStream, S> for Greeted {
    type Stream = Counted;
    type Service = S;
    type Future = Accepting<Counted, S>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let (patience, switch) = (self.connections.settings().handshake, self.switch.clone());
        let counted = self.connections.accept(stream, service);
        Box::pin(async move {
            let (connection, service) = counted.await?;
            hello(connection.tcp(), patience).await??;
            let here = match switch {
                Some(switch) => switch.pass(connection)?,
                None => Some(connection),
            };
            // An error is how an acceptor says that there is nothing more to do here.
            here.map(|connection| (connection, service)).ok_or_else(|| io::Error::other("it is served on another thread"))
        })
    }
}

async fn hello(stream: &TcpStream, patience: Duration) -> Result<io::Result<()>, Elapsed> {
    timeout(patience, async {
        loop {
            if stream.ready(Interest::READABLE).await?.is_read_closed() {
                return Ok(());
            }
            // Looked within, so that what comes after the look is not taken for seen. Nothing is read.
            let look = || if is_whole(stream)? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) };
            match stream.try_io(Interest::READABLE, look) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                seen => return seen,
            }
        }
    })
    .await
}

/// Whether a whole record is there, or something that is none.
fn is_whole(stream: &TcpStream) -> io::Result<bool> {
    const HANDSHAKE: u8 = 22;
    let mut header = [0; 5];
    let there = rustix::io::ioctl_fionread(stream)?;
    if there < header.len() as u64 || recv(stream, &mut header, RecvFlags::PEEK)?.0 < header.len() {
        return Ok(false);
    }
    let record = u64::from(u16::from_be_bytes([header[3], header[4]]));
    Ok(header[0] != HANDSHAKE || there >= header.len() as u64 + record)
}

/// Keeps a connection's TLS in a place of its own: the task of a connection has room for several of whatever stream it
/// is given, for as long as it lives.
#[derive(Debug, Clone)]
pub struct Boxed<A>(pub A);

impl<A, I, S> Accept<I, S> for Boxed<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
    A::Stream: Send,
    A::Service: Send,
{
    type Stream = Box<A::Stream>;
    type Service = A::Service;
    type Future = Accepting<Box<A::Stream>, A::Service>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepting = self.0.accept(stream, service);
        Box::pin(async move { accepting.await.map(|(stream, service)| (Box::new(stream), service)) })
    }
}
