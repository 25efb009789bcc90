//! Connections to sessions' hosts, which are served on threads of their own.

use std::net::SocketAddr;

use axum::routing::get as on_get;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    serving::{SOON, Served, certificate, closes, held, quick, start_all},
    *,
};
use crate::http::{ConnectionSettings, Connections, Threads};

const SESSION: &str = "ses-01234567890123456789012345678901.apps.localhost";

struct Place {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: Served,
    connections: Connections,
    client: reqwest::Client,
    _threads: Threads,
    _dir: tempfile::TempDir,
}

impl Place {
    fn start(router: Router, connections: Connections) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (files, pem) = certificate(dir.path(), &["localhost", "*.apps.localhost"]);
        let threads = Threads::start("apps.localhost".parse().unwrap()).unwrap();
        let (address, shutdown, served) = start_all(router, Some(files), connections.clone(), Some(threads.apart()));
        let ca = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        let mut client = reqwest::Client::builder().tls_certs_only([ca]);
        for name in ["localhost", SESSION, "none.apps.localhost"] {
            client = client.resolve(name, address);
        }
        Self { address, shutdown, served, connections, client: client.build().unwrap(), _threads: threads, _dir: dir }
    }

    fn get(&self, name: &str, path: &str) -> impl Future<Output = String> + Send + use<> {
        let asked = self.client.get(format!("https://{name}:{}{path}", self.address.port())).send();
        async { asked.await.unwrap().text().await.unwrap() }
    }

    /// Until that many are counted.
    async fn open(&self, count: usize) {
        let counted = async {
            while self.connections.open() != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, counted).await.unwrap_or_else(|_| panic!("{} are counted, not {count}", self.connections.open()));
    }
}

fn plain() -> Connections {
    Connections::new(ConnectionSettings::default(), Arc::new(Metrics::new()))
}

fn where_it_is() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// What a client that wants this host says first.
fn greeting(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let mut said = Vec::new();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut said).unwrap();
    said
}

#[tokio::test]
async fn what_is_for_a_sessions_host_is_served_on_a_thread_of_its_own_counted_and_to_its_end() {
    let (slow, begun, end) = held(where_it_is);
    let router = Router::new().route("/", on_get(async || where_it_is())).route("/slow", slow);
    let place = Place::start(router, plain());
    for (name, apart) in [("localhost", false), (SESSION, true), ("none.apps.localhost", false)] {
        let thread = place.get(name, "/").await;
        assert_eq!(thread.starts_with("sessions-"), apart, "{name}: {thread}");
    }
    place.open(3).await;

    let asked = tokio::spawn(place.get(SESSION, "/slow"));
    begun.notified().await;
    place.shutdown.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!place.served.is_finished(), "it waits for what is asked");
    end.notify_one();
    assert!(asked.await.unwrap().starts_with("sessions-"));
    place.open(0).await;
    tokio::time::timeout(SOON, place.served).await.expect("and for nothing else").unwrap().unwrap();
}

#[tokio::test]
async fn a_handshake_that_never_ends_there_is_given_up_and_counted_no_more() {
    let place = Place::start(app(), quick(ConnectionSettings::default()));
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    stream.write_all(&greeting(SESSION)).await.unwrap();
    assert!(closes(&mut stream, SOON).await);
    place.open(0).await;
    place.shutdown.cancel();
    place.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_greeting_in_two_records_is_answered_where_it_came() {
    let place = Place::start(app(), plain());
    let whole = greeting(SESSION);
    let (head, said) = whole.split_at(5);
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    for piece in said.chunks(said.len().div_ceil(2)) {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        stream.write_all(&[&head[..3], &length, piece].concat()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut record = [0; 3];
    tokio::time::timeout(SOON, stream.read_exact(&mut record)).await.expect("it is answered").unwrap();
    assert_eq!(record[0], 22, "a handshake goes on");
    drop(stream);
    place.shutdown.cancel();
    place.served.await.unwrap().unwrap();
}
