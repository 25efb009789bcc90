//! A server that says all it can say, with secrets wherever one can be, and everything that it says kept.

use std::{fmt::Display, path::PathBuf, sync::Mutex, time::Duration};

use alpine_tests::{
    Answer, World,
    api::{Api, Reply, send},
    cli::{Alpine, text},
    cluster,
    db::Db,
    git_repo::GitRepo,
    otlp::Receiver,
    until,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    needles::{Kinds, random},
    processes::Watcher,
};

pub const LIMIT: Duration = Duration::from_secs(60);
/// The first database that this process's cluster gives to a world.
const DATABASE: &str = "alpine_0";

#[derive(Debug)]
pub struct Stage {
    pub world: World,
    pub kinds: Kinds,
    pub watcher: Watcher,
    pub receiver: Receiver,
    /// The same for a server that is told to use gRPC.
    pub grpc_receiver: Receiver,
    /// Where PostgreSQL keeps its files and its log.
    pub cluster: PathBuf,
    /// A branch of every repository: no secret.
    pub branch: String,
    /// A caller's good token.
    pub jwt: String,
    said: Mutex<Vec<(&'static str, String)>>,
}

impl Stage {
    /// With a server that goes wrong by these rules.
    pub async fn start(rules: &str) -> Self {
        let cluster = noisy_cluster().await;
        let mut kinds = Kinds::default();
        let (receiver, grpc_receiver) = (Receiver::http().await, Receiver::grpc().await);
        let watcher = Watcher::start();
        let (service, branch) = (format!("service-{}", random()), format!("branch-{}", random()));
        kinds.mark("the branch", &branch);
        kinds.mark("the service's name", &service);
        kinds.mark("a step of a phase", "checking the commit and the workspace");
        kinds.mark("a name of a metric", "alpine_injected_faults");
        let password = kinds.secret("the database's password");
        let database = format!("postgres://postgres:{password}@localhost/{DATABASE}?host={}", cluster.display());
        let aws = kinds.secret("a variable that is none of the server's business");
        let header = kinds.secret("the header of the receiver of traces");
        let proxy = kinds.secret("the password of the proxy");
        let world = World::with_faults(
            rules,
            &[
                ("DATABASE_URL", &database),
                ("AWS_SECRET_ACCESS_KEY", &aws),
                ("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer {header}")),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint),
                ("OTEL_SERVICE_NAME", &service),
                ("HTTPS_PROXY", &format!("http://proxy:{proxy}@127.0.0.1:9")),
                ("NO_PROXY", "127.0.0.1,localhost"),
                ("ALPINE_LOG", "trace"),
                ("ALPINE_LOG_FORMAT", "json"),
                ("ALPINE_LEASE_SECONDS", "2"),
                ("ALPINE_APPS_DOMAIN", "apps.localhost"),
            ],
        )
        .await;
        assert!(world.db.url.contains(&format!("/{DATABASE}?")), "the server is on another database: {}", world.db.url);
        let jwt = world.token("dev", "ann", &[]);
        let said = Mutex::default();
        let mut stage = Self { world, kinds, watcher, receiver, grpc_receiver, cluster, branch, jwt, said };
        stage.know_the_files();
        stage
    }

    /// The secrets that files hold, which are there for that.
    fn know_the_files(&mut self) {
        let read = |name: &str| std::fs::read(self.world.dir.join(name)).unwrap();
        let (issuer, sealing, tls) = (read("jwt.key"), read("credential.key"), String::from_utf8(read("key.pem")).unwrap());
        self.kinds.add("the issuer's secret", &issuer);
        self.kinds.add("the key that seals", &sealing);
        let line = tls.lines().nth(1).unwrap().to_owned();
        self.kinds.add("the TLS key", line.as_bytes());
        let jwt = self.jwt.clone();
        self.know_jwt("a bearer token", &jwt);
    }

    /// The parts of a JWT that are its own.
    pub fn know_jwt(&mut self, name: &str, jwt: &str) {
        let parts: Vec<&str> = jwt.split('.').collect();
        self.kinds.add(&format!("{name}: its claims"), parts[1].as_bytes());
        if parts[2].len() >= 16 {
            self.kinds.add(&format!("{name}: its signature"), parts[2].as_bytes());
        }
    }

    pub fn secret(&mut self, name: &str) -> String {
        self.kinds.secret(name)
    }

    /// A private repository with the marked branch; its URL.
    pub fn repository(&self, name: &str, token: &str) -> String {
        let repo: GitRepo = self.world.git.create(name);
        let serve =
            format!("echo {0} >$HOME/mark; echo {0} >$TMPDIR/mark; echo {0}; exec python3 -m http.server $PORT --bind $HOST", self.branch);
        repo.commit(&self.branch, &[("README.md", "hello\n"), (".alpine.toml", &format!("serve = \"{serve}\"\n"))]);
        self.world.git.protect(name, token);
        format!("https://github.com/{name}.git")
    }

    /// The caller with the good token.
    pub fn ann(&self) -> Api {
        self.with_token(&self.jwt)
    }

    pub fn with_token(&self, token: &str) -> Api {
        Api::new(self.world.pki.client(), self.world.server.base(), token.to_owned())
    }

    /// Ask, and keep what is answered.
    pub async fn ask(&self, request: RequestBuilder) -> Reply {
        let reply = send(request).await;
        self.keep("an answer of the server", &format!("{:?} {:?} {}", reply.status, reply.headers, reply.text));
        assert!(reply.status.as_u16() < 500, "{} {}", reply.status, reply.text);
        reply
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask(self.ann().request(Method::GET, path)).await
    }

    /// The answer to an `up` of the marked branch with this body besides.
    pub async fn up(&self, repo: &str, more: Value) -> Reply {
        let mut body = json!({ "repo_url": repo, "branch": self.branch });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask(self.ann().request(Method::POST, "/v1/sessions").header("Idempotency-Key", random()).json(&body)).await
    }

    /// The operation, which must have come to this end.
    pub async fn ends(&self, accepted: &Reply, status: &str) -> Value {
        let id = text(accepted.expect(202), "operation_id");
        let db: &Db = &self.world.db;
        let uuid = uuid::Uuid::parse_str(id.split_once('_').unwrap().1).unwrap();
        // Of the database: the server may be down for a while.
        let query = format!("SELECT status::text FROM operations WHERE operation_id = '{uuid}'");
        let ended = until(&format!("{id} has ended"), LIMIT, || async {
            Some(db.one::<String>(&query).await).filter(|status| status != "queued" && status != "running")
        })
        .await;
        eprintln!("        {id} has {ended}");
        assert_eq!(ended, status, "{id}");
        self.get(&format!("/v1/operations/{id}")).await.expect(200).clone()
    }

    /// Run `alpine`, and keep what it says.
    pub async fn run(&self, alpine: Alpine) -> Answer {
        let answer = alpine.run().await;
        self.keep("what alpine says", &format!("{:?} {} {}", answer.code, answer.stdout, answer.stderr));
        answer
    }

    /// `alpine` of somebody who has nothing but a token for the server.
    pub fn alpine(&self, token: &str) -> Alpine {
        self.world.alpine("ann").without("ALPINE_PRINCIPAL_ID").without("GITHUB_TOKEN").env("ALPINE_TOKEN", token).args(&["-vv"])
    }

    pub fn keep(&self, place: &'static str, what: &dyn Display) {
        self.said.lock().unwrap().push((place, what.to_string()));
    }

    /// All that was kept of one place.
    pub fn kept(&self, place: &str) -> Vec<u8> {
        let said = self.said.lock().unwrap();
        said.iter().filter(|(at, _)| *at == place).flat_map(|(_, what)| format!("{what}\n").into_bytes()).collect()
    }
}

/// A cluster that writes down every statement with every parameter; its directory.
async fn noisy_cluster() -> PathBuf {
    let url = cluster::empty_database().await;
    let dir = PathBuf::from(url.split_once("?host=").unwrap().1);
    let db = Db::new(url);
    for setting in ["log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1"] {
        db.execute(&format!("ALTER SYSTEM SET {setting}")).await;
    }
    db.execute("ALTER SYSTEM SET log_parameter_max_length_on_error = -1").await;
    db.execute("SELECT pg_reload_conf()").await;
    dir
}
