//! A load balancer as people run them: TCP is handed through to a replica that says it is ready, asked five times a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};

const CHECK: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Backend {
    port: u16,
    ready: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    backends: Vec<Backend>,
    next: AtomicUsize,
    taken: AtomicU64,
    refused: AtomicU64,
}

/// Ends when dropped.
#[derive(Debug)]
pub struct Front {
    pub port: u16,
    shared: Arc<Shared>,
    _done: DropGuard,
}

impl Front {
    pub async fn start(ports: &[u16], client: reqwest::Client) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let backends = ports.iter().map(|port| Backend { port: *port, ready: AtomicBool::new(false) }).collect();
        let shared = Arc::new(Shared { backends, next: AtomicUsize::new(0), taken: AtomicU64::new(0), refused: AtomicU64::new(0) });
        let done = CancellationToken::new();
        for number in 0..ports.len() {
            let (shared, client, done) = (Arc::clone(&shared), client.clone(), done.clone());
            tokio::spawn(async move { done.run_until_cancelled(shared.check(number, client)).await });
        }
        tokio::spawn({
            let (shared, done) = (Arc::clone(&shared), done.clone());
            async move { done.run_until_cancelled(shared.accept(listener)).await }
        });
        Ok(Self { port, shared, _done: done.drop_guard() })
    }

    pub fn is_ready(&self, replica: usize) -> bool {
        self.shared.backends[replica].ready.load(Relaxed)
    }

    /// Connections that were handed through, and those for which there was no replica.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.taken.load(Relaxed), self.shared.refused.load(Relaxed))
    }
}

impl Shared {
    async fn check(&self, number: usize, client: reqwest::Client) {
        let backend = &self.backends[number];
        let url = format!("https://127.0.0.1:{}/readyz", backend.port);
        loop {
            let asked = client.get(&url).timeout(Duration::from_secs(2)).send().await;
            backend.ready.store(asked.is_ok_and(|answer| answer.status() == 200), Relaxed);
            tokio::time::sleep(CHECK).await;
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((mut caller, _)) = listener.accept().await else { continue };
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                let Some(mut replica) = shared.connect().await else {
                    shared.refused.fetch_add(1, Relaxed);
                    return;
                };
                shared.taken.fetch_add(1, Relaxed);
                let _ = caller.set_nodelay(true);
                let _ = replica.set_nodelay(true);
                let _ = copy_bidirectional(&mut caller, &mut replica).await;
            });
        }
    }

    /// To the next that is ready; to another one if it refuses, as nothing has been said yet.
    async fn connect(&self) -> Option<TcpStream> {
        for _ in 0..self.backends.len() {
            let at = self.next.fetch_add(1, Relaxed) % self.backends.len();
            let backend = &self.backends[at];
            if backend.ready.load(Relaxed)
                && let Ok(stream) = TcpStream::connect(("127.0.0.1", backend.port)).await
            {
                return Some(stream);
            }
        }
        None
    }
}
