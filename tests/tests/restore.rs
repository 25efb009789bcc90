//! The drill: a ledger is backed up, worked on, lost, and brought back as it was at a moment between, by the scripts of `deploy/backup`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use alpine_tests::{
    World, audit, base, bins,
    cli::text,
    db::{Db, uuid},
    drive::CHEAP_SERVE,
    invariants::{self, Limits, Violation},
    postgres::Postgres,
    until,
};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};

const LIMIT: Duration = Duration::from_secs(60);
/// Long enough that work which waits for a lost lease to run out is seen.
const LEASE: &str = "120";
const SLOW: &str = "install = \"while [ ! -e go ]; do sleep 0.1; done\"";

/// A cluster with a WAL archive, and the folder of its backups.
struct Kept {
    postgres: Postgres,
    archive: PathBuf,
    backups: PathBuf,
}

impl Kept {
    async fn start() -> Self {
        let dir = base::fresh("backup");
        let (archive, program) = (dir.join("archive"), dir.join("archive.sh"));
        // PostgreSQL's user may not read the working tree.
        std::fs::copy(bins::root().join("deploy/backup/archive.sh"), &program).unwrap();
        std::fs::create_dir(&archive).unwrap();
        std::fs::set_permissions(&archive, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let command = format!("archive_command={} %p %f {}", program.display(), archive.display());
        let postgres = Postgres::start(&["archive_mode=on", &command, "log_min_messages=error"]).await;
        postgres.create_migrated("alpine").await;
        postgres.execute("alpine", "CREATE ROLE keeper LOGIN REPLICATION BYPASSRLS IN ROLE pg_read_all_data").await;
        Self { postgres, archive, backups: dir.join("backups") }
    }

    /// A script of `deploy/backup`; how it ended, and what it said.
    fn script(&self, name: &str, user: &str, arguments: &[&Path], to: Option<&str>) -> (bool, String) {
        let mut command = Command::new(bins::root().join("deploy/backup").join(name));
        command.args(arguments).args(to).env("PGHOST", &self.postgres.dir).env("PGUSER", user).env("PGDATABASE", "alpine");
        command.env("ALPINE_SERVER_PROGRAM", bins::path("alpine-server")).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    fn back_up(&self) -> PathBuf {
        let (done, said) = self.script("backup.sh", "keeper", &[&self.backups], None);
        assert!(done, "{said}");
        PathBuf::from(said.lines().next().unwrap())
    }

    /// All that was written so far is in the archive.
    async fn archive_all(&self, db: &Db) {
        let last: String = db.one("SELECT pg_walfile_name(pg_switch_wal())").await;
        until("the WAL is archived", LIMIT, || async { self.archive.join(&last).exists().then_some(()) }).await;
    }
}

/// `alpine-server` with this command, on this database: whether it ended well, and what it said.
fn server(command: &str, url: &str) -> (bool, String) {
    let mut program = Command::new(bins::path("alpine-server"));
    let output = program.arg(command).env_clear().env("DATABASE_URL", url).stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

async fn violations(url: &str, data_dir: &Path) -> Vec<Violation> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let mut found = invariants::ledger(&mut connection, &Limits::default()).await.unwrap();
    found.extend(invariants::sandboxes(&mut connection, data_dir).await.unwrap());
    found
}

/// What is done before the moment that the ledger is brought back to, and after it.
struct Story {
    world: World,
    db: Db,
    sessions: BTreeMap<&'static str, String>,
}

impl Story {
    async fn begin(kept: &Kept) -> Self {
        let url = kept.postgres.url("alpine");
        let world = World::with(&[
            ("DATABASE_URL", &url),
            ("ALPINE_LEASE_SECONDS", LEASE),
            ("ALPINE_RECONCILE_SECONDS", "1"),
            ("ALPINE_ORPHAN_GRACE_SECONDS", "3"),
            ("ALPINE_HAND_OVER_SECONDS", "0"),
            ("ALPINE_SANDBOX_SERVE", CHEAP_SERVE),
        ])
        .await;
        world.git.with_files("org/slow", &[(".alpine.toml", SLOW)]);
        Self { world, db: Db::new(url), sessions: BTreeMap::new() }
    }

    fn of(&self, name: &str) -> &str {
        &self.sessions[name]
    }

    async fn ready(&mut self, name: &'static str) {
        let up = self.world.api("ann").up(&name.replace(" ", "-"), alpine_tests::REPO, "main").await;
        let session = text(up.expect(202), "session_id");
        self.db.wait_for_state(&session, &["ready"], LIMIT).await;
        self.sessions.insert(name, session);
    }

    async fn stopped(&mut self, name: &'static str) {
        self.ready(name).await;
        self.world.down("ann", self.of(name), &[]).await.ok();
    }

    async fn installing(&mut self, name: &'static str) {
        let up = self.world.api("ann").up(&name.replace(" ", "-"), "https://github.com/org/slow.git", "main").await;
        let session = text(up.expect(202), "session_id");
        self.db.wait_for_state(&session, &["installing"], LIMIT).await;
        self.sessions.insert(name, session);
    }

    /// All of it is lost: an operation goes through many hands and ends, sessions end, one begins.
    async fn go_on(&mut self) {
        for _ in 0..3 {
            self.world.server.terminate().await;
            self.world.server.start_again().await;
            let claimed = format!("SELECT count(*) FROM leases WHERE session_id = '{}' AND owner IS NOT NULL", uuid(self.of("slow")));
            until("it is claimed again", LIMIT, || async { (self.db.one::<i64>(&claimed).await == 1).then_some(()) }).await;
        }
        std::fs::write(self.world.workspace(self.of("slow")).join("go"), "").unwrap();
        self.db.wait_for_state(self.of("slow"), &["ready"], LIMIT).await;
        self.world.down("ann", self.of("ends later"), &[]).await.ok();
        self.world.down("ann", self.of("cancelled later"), &[]).await.ok();
        self.ready("new").await;
    }

    /// With another database from now on.
    async fn on(&mut self, url: String) {
        self.world.server.configure("DATABASE_URL", Some(url.clone()));
        self.db = Db::new(url);
        self.world.server.start_again().await;
    }

    async fn assert_record(&self, name: &str) {
        let stored = self.world.api("ann").get(&format!("/v1/sessions/{}/record", self.of(name))).await;
        let body = stored.expect(200);
        // The very bytes, as they stand in the answer.
        let (_, rest) = stored.text.split_once("\"record\":").unwrap();
        let digest = |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let size = usize::try_from(body["size_bytes"].as_u64().unwrap()).unwrap();
        assert_eq!(digest(&rest[..size]), text(body, "sha256"));
        assert_eq!(body["record"]["session_id"], self.of(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_comes_back_as_it_was_and_is_worked_on() {
    let mut kept = Kept::start().await;
    let mut story = Story::begin(&kept).await;
    story.stopped("over before the backup").await;
    story.ready("stays").await;
    let backup = kept.back_up();

    story.stopped("over before the moment").await;
    story.ready("ends later").await;
    story.world.admin("root").args(&["status", story.of("stays"), "--json"]).run().await.ok();
    story.installing("slow").await;
    story.installing("cancelled later").await;
    let moment: String = story.db.one("SELECT clock_timestamp()::text").await;
    story.go_on().await;
    kept.archive_all(&story.db).await;
    let entries = audit::log(&story.db, "dev").await.len();

    story.world.server.kill();
    kept.postgres.stop_immediately();
    let dir = base::fresh("pg");
    let (done, said) = kept.script("restore.sh", "postgres", &[&backup, &kept.archive, &dir.join("data")], Some(&moment));
    assert!(done, "{said}");
    let back = Postgres::over(dir).await;
    story.db = Db::new(back.url("alpine"));
    assert_eq!(story.db.state(story.of("over before the moment")).await, "stopped");
    for (name, state) in [("stays", "ready"), ("ends later", "ready"), ("slow", "installing"), ("cancelled later", "installing")] {
        assert_eq!(story.db.state(story.of(name)).await, state, "{name}");
    }
    assert_eq!(story.db.count(&format!("sessions WHERE session_id = '{}'", uuid(story.of("new")))).await, 0);

    let begun = Instant::now();
    story.on(back.url("alpine")).await;
    // Found where it stands, by whoever claims it first, and not after leases have run out.
    story.db.wait_for_state(story.of("slow"), &["ready"], LIMIT).await;
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    story.db.wait_for_state(story.of("ends later"), &["failed"], LIMIT).await;
    story.db.wait_for_state(story.of("cancelled later"), &["failed"], LIMIT).await;
    until("the unknown sandbox is gone", LIMIT, || async { (!story.world.sandbox(story.of("new")).exists()).then_some(()) }).await;
    assert_eq!(story.world.server.metric("alpine_fenced_writes_total", &[]).await, Some(0.0));
    let counted = || async { (story.world.server.metric("alpine_orphans_total", &[]).await >= Some(1.0)).then_some(()) };
    until("it is counted, once it is gone", LIMIT, counted).await;

    for name in ["over before the backup", "over before the moment"] {
        story.assert_record(name).await;
    }
    let log = audit::log(&story.db, "dev").await;
    assert_eq!(audit::assert_whole(&log), entries + 1);
    assert_eq!(log.last().unwrap().action, "ledger.restore");

    // Its key was lost too, so it makes another session.
    let first = story.of("new").to_owned();
    story.ready("new").await;
    assert_ne!(story.of("new"), first);
    for name in ["stays", "slow", "new"] {
        story.world.down("ann", story.of(name), &[]).await.ok();
        story.assert_record(name).await;
    }
    assert_eq!(violations(&back.url("alpine"), &story.world.data_dir).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_says_whether_backups_are_any_good() {
    let kept = Kept::start().await;
    let mut story = Story::begin(&kept).await;
    story.stopped("over before the backup").await;
    let backup = kept.back_up();
    story.stopped("over before the moment").await;
    let moment: String = story.db.one("SELECT clock_timestamp()::text").await;
    story.ready("lost").await;
    kept.archive_all(&story.db).await;
    let drill = |to: Option<&str>| kept.script("drill.sh", "postgres", &[&kept.backups, &kept.archive], to);

    let (good, said) = drill(Some(&moment));
    assert!(good && said.contains("whole: 2 sessions, 2 records") && said.contains("whole: 1 sessions, 1 records"), "{said}");
    let (good, said) = drill(None);
    assert!(good && said.contains("whole: 3 sessions, 2 records"), "{said}");

    // Nobody may be told that a moment was reached that the archive does not have.
    let (good, said) = drill(Some("2100-01-01 00:00:00+00"));
    assert!(!good && said.contains("before configured recovery target was reached"), "{said}");
    let damaged = backup.join("base/global/pg_control");
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let (good, said) = drill(None);
    assert!(!good && said.contains("checksum mismatch"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_not_whole_is_found_out() {
    let mut world = World::start().await;
    let session = text(&world.ready("ann").await, "session_id");
    world.admin("root").args(&["status", &session, "--json"]).run().await.ok();
    world.admin("root").args(&["status", &session, "--json"]).run().await.ok();
    world.down("ann", &session, &[]).await.ok();
    let (whole, said) = server("verify-ledger", &world.db.url);
    assert!(whole && said.starts_with("whole: 1 sessions, 1 records, 2 audit entries"), "{said}");
    world.server.kill();

    let damage = [
        ("UPDATE audit_log SET actor = 'ann' WHERE seq = 1", "entry 1 is changed"),
        ("DELETE FROM audit_log WHERE seq = 1", "entry 2 is changed, or one is missing before it"),
        ("DELETE FROM audit_log WHERE seq = 2", "it does not end where its head says (entry 2)"),
        ("DELETE FROM audit_log", "it does not end where its head says (entry 2)"),
        ("DELETE FROM audit_heads", "it does not end where its head says (entry )"),
        ("DELETE FROM session_records", "is stopped and has no verified record"),
        (
            "ALTER TABLE session_records DROP CONSTRAINT session_records_digest; UPDATE session_records SET payload = payload || '\\x20'::bytea",
            "its digest is another",
        ),
        ("DELETE FROM transitions", "do not bear out"),
        ("DELETE FROM leases", "do not bear out"),
        ("UPDATE sessions SET state = 'stopping'", "do not bear out"),
    ];
    for (at, (sql, fault)) in damage.into_iter().enumerate() {
        let copy = alpine_tests::cluster::copy_of(&world.db.url, &format!("damaged_{at}")).await;
        Db::new(copy.clone()).meddle(sql).await;
        let (whole, said) = server("verify-ledger", &copy);
        assert!(!whole && said.contains(fault), "{sql}: {said}");
    }

    world.db.execute("CREATE ROLE somebody LOGIN IN ROLE alpine_worker").await;
    for command in ["verify-ledger", "after-restore"] {
        let (whole, said) = server(command, &world.db.url.replacen("postgres@", "somebody@", 1));
        assert!(!whole && said.contains("does not see all rows"), "{command}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_has_the_time_that_it_had_left() {
    let mut world = World::start().await;
    world.git.with_files("org/slow", &[(".alpine.toml", SLOW)]);
    let up = world.api("ann").up("key", "https://github.com/org/slow.git", "main").await;
    let session = text(up.expect(202), "session_id");
    world.db.wait_for_state(&session, &["installing"], LIMIT).await;
    world.server.kill();
    // A backup that is an hour old.
    let older = |columns: &[&str]| columns.iter().map(|name| format!("{name} = {name} - interval '1 hour'")).collect::<Vec<_>>().join(", ");
    let operations = older(&["created_at", "started_at", "available_at", "deadline_at", "phase_started_at"]);
    let (sessions, leases) = (older(&["created_at", "updated_at"]), older(&["until"]));
    world.db.meddle(&format!("UPDATE operations SET {operations}; UPDATE sessions SET {sessions}; UPDATE leases SET {leases}")).await;
    let left = || world.db.one::<f64>("SELECT extract(epoch FROM deadline_at - now())::float8 FROM operations");
    let fence = || world.db.one::<i64>("SELECT fence FROM leases");
    assert!(left().await < -2000.0);

    let mut last = fence().await;
    for _ in 0..2 {
        let (done, said) = server("after-restore", &world.db.url);
        assert!(done && said.contains("1 fences raised, 1 operations go on"), "{said}");
        // Of twelve minutes some seconds are used; a second run gives no more time.
        assert!((600.0..=720.0).contains(&left().await), "{}", left().await);
        assert!(fence().await > last.max(1_700_000_000_000));
        last = fence().await;
    }
    // Servers may work meanwhile, as after a failover that lost commits: they lose what they hold, and claim it again.
    world.server.start_again().await;
    until("it is claimed", LIMIT, || async { (fence().await > last).then_some(()) }).await;
    let claimed = fence().await;
    assert!(server("after-restore", &world.db.url).0);
    until("it is claimed again", LIMIT, || async { (fence().await > claimed + 1).then_some(()) }).await;
    std::fs::write(world.workspace(&session).join("go"), "").unwrap();
    world.db.wait_for_state(&session, &["ready"], LIMIT).await;
}
