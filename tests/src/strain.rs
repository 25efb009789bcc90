//! A server under strain: what it takes of memory meanwhile, and how it serves somebody else.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{World, api::Api, pki::Pki};

/// What was seen meanwhile.
#[derive(Debug)]
pub struct Seen {
    /// Resident memory before and at most, in KiB.
    pub before: u64,
    pub peak: u64,
    /// How long somebody else's requests took, sorted.
    pub times: Vec<Duration>,
    /// Those that were not answered 200.
    pub failures: Vec<String>,
}

impl Seen {
    pub fn p95(&self) -> Duration {
        percentile(&self.times, 0.95)
    }

    pub fn growth_mib(&self) -> u64 {
        self.peak.saturating_sub(self.before) / 1024
    }
}

/// Of sorted times; zero of none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
pub fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// Somebody else asks for a list ten times a second, on connections of their own, until `end`.
#[derive(Debug)]
pub struct Strain {
    pid: u32,
    before: u64,
    peak: Arc<AtomicU64>,
    stop: CancellationToken,
    watch: JoinHandle<()>,
    other: JoinHandle<(Vec<Duration>, Vec<String>)>,
}

impl Strain {
    pub async fn begin(world: &World) -> Self {
        let pid = world.server.pid().unwrap();
        let api = world.api_of("elsewhere", "bob", &[]);
        for _ in 0..20 {
            api.get("/v1/sessions").await.expect(200);
        }
        let (before, stop) = (memory(pid), CancellationToken::new());
        let peak = Arc::new(AtomicU64::new(before));
        let watch = tokio::spawn({
            let (peak, stop) = (Arc::clone(&peak), stop.clone());
            async move {
                while stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(20))).await.is_some() {
                    peak.fetch_max(memory(pid), Ordering::Relaxed);
                }
            }
        });
        let other = tokio::spawn(ask(api, stop.clone()));
        Self { pid, before, peak, stop, watch, other }
    }

    /// What was seen; printed with `what`.
    pub async fn end(self, what: &str) -> Seen {
        self.peak.fetch_max(memory(self.pid), Ordering::Relaxed);
        self.stop.cancel();
        self.watch.await.unwrap();
        let (mut times, failures) = self.other.await.unwrap();
        times.sort_unstable();
        let seen = Seen { before: self.before, peak: self.peak.load(Ordering::Relaxed), times, failures };
        eprintln!(
            "{what}: memory {} MiB, at most {} MiB (+{} MiB); another's list: {} calls, p95 {:?}, {} failures",
            seen.before / 1024,
            seen.peak / 1024,
            seen.growth_mib(),
            seen.times.len(),
            seen.p95(),
            seen.failures.len()
        );
        seen
    }
}

async fn ask(api: Api, stop: CancellationToken) -> (Vec<Duration>, Vec<String>) {
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    // Once at least, however soon the flood is over.
    loop {
        let begun = Instant::now();
        let request = api.request(reqwest::Method::GET, "/v1/sessions").timeout(Duration::from_secs(20));
        match crate::api::try_send(request).await {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => failures.push(format!("{} {}", reply.status, reply.text)),
            Err(error) => failures.push(format!("{error:?}")),
        }
        times.push(begun.elapsed());
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(100))).await.is_none() {
            return (times, failures);
        }
    }
}

/// A process's resident memory, in KiB.
pub fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server is up");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Let this process have as many connections as it may.
pub fn many_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    assert!(maximum.is_none_or(|files| files >= 8192), "too few open files are allowed for this test: {maximum:?}");
}

/// Connections by hand, where a client that keeps to the rules is of no use.
#[derive(Debug, Clone)]
pub struct Raw {
    pub address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Raw {
    /// That speak this protocol: `http/1.1` or `h2`.
    pub fn new(pki: &Pki, port: u16, protocol: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&pki.ca).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), config: Arc::new(config) }
    }

    pub async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::from(self.address.ip());
        TlsConnector::from(Arc::clone(&self.config)).connect(name, TcpStream::connect(self.address).await?).await
    }
}
