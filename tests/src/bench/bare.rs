//! What HTTPS and a pool cost by themselves: axum and sqlx, in a process of their own, that do the server's accept and answer `{}`. No token
//! is checked, nothing is validated, no JSON is read.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::post};
use axum_server::tls_rustls::RustlsConfig;
use clap::Args;
use http::Request;
use http_body_util::Full;
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{accept, load::Connection};
use crate::{
    base,
    pki::{Pki, provider},
    wait::until,
};

/// The hidden command of the bench that is the bare server.
#[derive(Debug, Clone, Args)]
pub struct BareArgs {
    #[arg(long)]
    url: String,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
}

#[derive(Debug)]
pub struct Bare {
    port: u16,
    pki: Pki,
    child: Child,
}

impl Bare {
    pub async fn start(url: &str, pki: &Pki) -> anyhow::Result<Self> {
        let port = base::free_port();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").args(["--url", url, "--port", &port.to_string(), "--cert"]).arg(&pki.cert).arg("--key").arg(&pki.key);
        let child = command.stdin(Stdio::null()).spawn()?;
        let bare = Self { port, pki: pki.clone(), child };
        until("the bare handler listens", Duration::from_secs(20), || async { Connection::open(port, &bare.pki).await.ok().map(drop) })
            .await;
        Ok(bare)
    }

    pub async fn connections(&self, count: usize) -> anyhow::Result<Vec<Connection>> {
        Connection::open_many(count, self.port, &self.pki).await
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The principal and the key are all that it is told.
pub fn request(principal: &str, connection: usize, number: u64) -> anyhow::Result<Request<Full<axum::body::Bytes>>> {
    let builder = Request::builder().method("POST").uri("/up").header("host", "localhost");
    builder.body(Full::new(format!("{principal} {connection}-{number}").into())).context("a request")
}

#[derive(Debug, Clone)]
struct Handler {
    pool: PgPool,
    sql: std::sync::Arc<str>,
}

async fn up(State(handler): State<Handler>, body: String) -> Result<&'static str, StatusCode> {
    let (principal, key) = body.split_once(' ').ok_or(StatusCode::BAD_REQUEST)?;
    #[expect(clippy::disallowed_methods, reason = "the server's own statement, found at run time")]
    let done = sqlx::query(AssertSqlSafe(handler.sql.to_string()))
        .bind(principal)
        .bind(key)
        .bind(uuid::Uuid::now_v7())
        .bind(uuid::Uuid::now_v7())
        .fetch_one(&handler.pool);
    done.await.map(|_| "{}").map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Serve until the process ends.
pub async fn serve(args: &BareArgs) -> anyhow::Result<()> {
    provider();
    let named = accept::statement("PRINCIPAL", "KEY", "OPERATION", "SESSION")?;
    let places = [("'PRINCIPAL'", "$1"), ("KEY", "$2"), ("OPERATION", "$3"), ("SESSION", "$4"), (";", "")];
    let sql = places.into_iter().fold(named, |sql, (name, place)| sql.replace(name, place));
    let options: PgConnectOptions = args.url.parse()?;
    let pool =
        PgPoolOptions::new().max_connections(32).test_before_acquire(false).connect_lazy_with(options.options([("role", "alpine_api")]));
    let app = Router::new().route("/up", post(up)).with_state(Handler { pool, sql: sql.into() });
    let tls = RustlsConfig::from_pem_file(&args.cert, &args.key).await?;
    axum_server::bind_rustls(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)), tls).serve(app.into_make_service()).await?;
    Ok(())
}
