//! What stands between a server and its database.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use alpine_tests::{World, until};

const LIMIT: Duration = Duration::from_secs(30);

/// A PgBouncer on a socket in the cluster's directory, which drops what connections begin with, as its manual tells many to.
struct PgBouncer(Child);

impl PgBouncer {
    fn start(dir: &Path) -> Self {
        let at = dir.display();
        let settings = format!(
            "[databases]\n* = user=postgres host={at}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {at}\nlisten_port = 6432\nauth_type = any\n\
             pool_mode = session\nignore_startup_parameters = options, extra_float_digits\n"
        );
        let (file, owner) = (dir.join("pgbouncer.ini"), dir.metadata().unwrap());
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command.arg("-q").arg(file).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_nothing_on_connections_that_lost_their_role() {
    let mut world = World::start().await;
    let (_, host) = world.db.url.split_once("host=").unwrap();
    let _bouncer = PgBouncer::start(Path::new(host));
    let url = format!("{}&port=6432", world.db.url);
    world.server.kill();
    until("PgBouncer listens", LIMIT, || async { Path::new(host).join(".s.PGSQL.6432").exists().then_some(()) }).await;
    world.server.configure("DATABASE_URL", Some(url));
    world.server.configure("ALPINE_DB_ACQUIRE_SECONDS", Some("1".to_owned()));
    world.server.spawn();
    until("it is said why", LIMIT, || async { world.server.log_text().contains("under the role postgres and not alpine_").then_some(()) })
        .await;
    let ready =
        until("it answers", LIMIT, || async { world.pki.client().get(format!("{}/readyz", world.server.base())).send().await.ok() }).await;
    assert_eq!(ready.status(), 503);
    assert_eq!(world.api("ann").get("/v1/sessions").await.status, 503);
}
