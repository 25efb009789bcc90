//! The network between one server and its database: ours, so that it can fail as networks do.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream, UnixStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
        unix,
    },
    sync::watch,
};

use super::frontend::Frontend;

/// What the network is like now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Open,
    /// New connections are closed at once; those that are there go on.
    Refusing,
    /// Nothing passes, and all of it comes later.
    Stalled,
    /// Nothing passes, and what was sent meanwhile is lost; so is the connection, once it is noticed.
    BlackHole,
    /// Everything comes this much later.
    Slow(Duration),
}

/// A listener that leads to PostgreSQL's socket.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: PathBuf,
    network: watch::Sender<Network>,
    /// Counted up to cut every connection that is open then.
    cuts: watch::Sender<u64>,
    /// So many of the next commits are done, and their replies not relayed.
    to_lose: AtomicU64,
    lost_commits: AtomicU64,
}

impl Proxy {
    pub async fn start(upstream: PathBuf) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream,
            network: watch::Sender::new(Network::Open),
            cuts: watch::Sender::new(0),
            to_lose: AtomicU64::new(0),
            lost_commits: AtomicU64::new(0),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared })
    }

    pub fn set(&self, network: Network) {
        self.shared.network.send_replace(network);
    }

    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Of so many commits from now on the client hears nothing but the connection's end.
    pub fn lose_commits(&self, count: u64) {
        self.shared.to_lose.store(count, Ordering::SeqCst);
    }

    /// How many commits were done and not told.
    pub fn lost_commits(&self) -> u64 {
        self.shared.lost_commits.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn loses_one(&self) -> bool {
        self.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.network.borrow() != Network::Refusing {
            tokio::spawn(relay(client, Arc::clone(&shared)));
        }
    }
}

/// Both ways, until one side is gone or the connection is cut; then both are dropped.
async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let Ok(server) = UnixStream::connect(&shared.upstream).await else { return };
    if client.set_nodelay(true).is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let link = Link { network: shared.network.subscribe(), mute: Arc::default(), shared };
    tokio::select! {
        // Looked at first: what is sent after a cut does not pass.
        biased;
        _ = cuts.changed() => {}
        _ = link.clone().requests(from_client, to_server) => {}
        _ = link.replies(from_server, to_client) => {}
    }
}

/// One connection's view of the network.
#[derive(Debug, Clone)]
struct Link {
    network: watch::Receiver<Network>,
    /// The next reply is not relayed: the connection ends in its place.
    mute: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Link {
    /// Waits as long as the network makes things wait. An error when what is on its way is lost.
    async fn pass(&mut self) -> io::Result<()> {
        loop {
            let now = *self.network.borrow_and_update();
            match now {
                Network::Open | Network::Refusing => return Ok(()),
                Network::Slow(delay) => {
                    tokio::time::sleep(delay).await;
                    return Ok(());
                }
                Network::Stalled => {}
                Network::BlackHole => {
                    let _ = self.network.wait_for(|network| *network != Network::BlackHole).await;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
            if self.network.changed().await.is_err() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }

    /// Client to server, message by message: to know a commit when it comes by.
    async fn requests(mut self, mut from: OwnedReadHalf, mut to: unix::OwnedWriteHalf) -> io::Result<()> {
        let mut frontend = Frontend::default();
        while let Some(message) = frontend.read(&mut from).await? {
            self.pass().await?;
            if message.commits && self.shared.loses_one() {
                self.mute.store(true, Ordering::SeqCst);
            }
            to.write_all(&message.bytes).await?;
        }
        Ok(())
    }

    async fn replies(mut self, mut from: unix::OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            if self.mute.load(Ordering::SeqCst) {
                self.shared.lost_commits.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            self.pass().await?;
            to.write_all(&chunk[..read]).await?;
        }
    }
}
