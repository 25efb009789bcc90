//! `alpine-server dev`: one machine, nothing configured.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    fs::Permissions,
    io::Read,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use alpine_tests::{
    Answer, LIGHT_SERVE, base, bins,
    cli::Alpine,
    cli::text,
    git_repo::GitRepo,
    sandboxes,
    server::{foreign_settings, tail},
};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(120);
const URL: &str = "https://sample.test/org/repo.git";

/// A machine of its own: a data directory, a CLI configuration, a repository, and the server on it.
struct Machine {
    dir: PathBuf,
    port: u16,
    /// As an unprivileged user, with copies of the programs that it can reach.
    programs: Option<PathBuf>,
    /// Sessions have hosts of their own.
    apps: bool,
    /// Other settings.
    settings: Vec<(&'static str, String)>,
    /// Without a command of ours, what serves a workspace is opencode.
    opencode: bool,
    child: Option<Child>,
}

impl Machine {
    fn new() -> Self {
        let dir = base::fresh("dev");
        for name in ["home", "config"] {
            std::fs::create_dir(dir.join(name)).unwrap();
            base::open_for_passage(&dir.join(name));
        }
        GitRepo::create(&dir.join("git/org/repo.git")).commit("main", &[("README.md", "offline\n")]);
        Self { dir, port: base::free_port(), programs: None, apps: false, settings: Vec::new(), opencode: false, child: None }
    }

    /// The same machine for a user without any right.
    fn unprivileged() -> Self {
        let mut machine = Self::new();
        if !rustix::process::geteuid().is_root() {
            return machine;
        }
        let programs = machine.dir.join("bin");
        std::fs::create_dir(&programs).unwrap();
        std::fs::copy(bins::path("alpine-server"), programs.join("alpine-server")).unwrap();
        std::fs::create_dir(machine.data()).unwrap();
        std::fs::set_permissions(&programs, Permissions::from_mode(0o755)).unwrap();
        for path in [machine.data(), machine.dir.join("home"), machine.dir.join("config"), machine.dir.join("git")] {
            let status = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(&path).status().unwrap();
            assert!(status.success());
        }
        machine.programs = Some(programs);
        machine
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("dev.log")
    }

    fn command(&self) -> Command {
        let mut command = match &self.programs {
            None => Command::new(bins::path("alpine-server")),
            Some(dir) => {
                let mut setpriv = Command::new("setpriv");
                setpriv.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]).arg(dir.join("alpine-server"));
                setpriv
            }
        };
        for name in foreign_settings() {
            command.env_remove(name);
        }
        command.args(["dev", "--data-dir"]).arg(self.data()).args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.env("ALPINE_CONFIG_DIR", self.dir.join("config")).env("HOME", self.dir.join("home"));
        if !self.opencode {
            command.env("ALPINE_SANDBOX_SERVE", LIGHT_SERVE);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("ALPINE_GIT_REWRITE", format!("https://sample.test/=file://{}/", self.dir.join("git").display()));
        if self.apps {
            command.env("ALPINE_APPS_DOMAIN", format!("apps.localhost:{}", self.port));
        }
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    async fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        self.child = Some(self.command().stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("alpine-server runs"));
        let begun = Instant::now();
        loop {
            let list = self.alpine().args(&["list", "--json"]).run().await;
            if list.code == Some(0) {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < LIMIT, "dev is not ready ({ended:?}): {list}\n{}", tail(&self.log()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ctrl-C or SIGTERM, to the end.
    async fn stop(&mut self, signal: Signal) {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
        let status = tokio::time::timeout(LIMIT, status).await.expect("the signal ends it").unwrap();
        assert!(status.success(), "{status}\n{}", tail(&self.log()));
        assert_eq!(postmasters(&self.data()), Vec::<i32>::new(), "PostgreSQL is stopped with it");
    }

    fn alpine(&self) -> Alpine {
        Alpine::new(&self.dir.join("config"), &self.dir.join("home")).env("ALPINE_PRINCIPAL_ID", "ann")
    }

    async fn up(&self) -> Answer {
        self.alpine().args(&["up", URL, "--branch", "main", "--json", "--no-browser", "--client-request-id", "k1"]).run().await
    }

    /// Run to its end, which must come by itself.
    async fn refused(&self) -> Output {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > LIMIT {
                child.kill().unwrap();
                panic!("it did not end");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let output = child.wait_with_output().unwrap();
        Output { stderr: said.into_bytes(), ..output }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in postmasters(&self.data()) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::QUIT);
        }
        sandboxes::kill_all(&self.data());
        base::remove(&self.dir);
    }
}

/// The PostgreSQL servers that run below a directory.
fn postmasters(dir: &Path) -> Vec<i32> {
    let files = sandboxes::files(&dir.join("postgres")).into_iter().filter(|file| file.ends_with("postmaster.pid"));
    let pids = files.filter_map(|file| std::fs::read_to_string(dir.join("postgres").join(file)).ok()?.lines().next()?.trim().parse().ok());
    pids.filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect()
}

/// It failed, said what is wrong, and what to do next.
fn assert_clear(output: &Output, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(says), "`{says}` is not in: {said}");
    assert!(said.contains("next:") && !said.contains("panicked"), "{said}");
}

async fn whole_life(mut machine: Machine) {
    machine.start().await;
    let up = machine.up().await.ok();
    assert_eq!(up["state"], "ready");
    let session = text(&up, "session_id");
    let answer = reqwest::get(text(&up, "opencode_url")).await.unwrap();
    assert!(answer.status().is_success());
    machine.stop(Signal::TERM).await;

    machine.start().await;
    let status = machine.alpine().args(&["status", &session, "--json"]).run().await.ok();
    assert_eq!(status["state"], "ready", "the second start finds it");
    assert_eq!(machine.up().await.ok()["session_id"], session.as_str());
    let still = reqwest::get(text(&up, "opencode_url")).await.unwrap();
    assert!(still.status().is_success());
    let down = machine.alpine().args(&["down", &session, "--json"]).run().await.ok();
    assert_eq!(down["state"], "stopped");
    assert_eq!(sandboxes::processes(&session), Vec::<i32>::new());
    machine.stop(Signal::INT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_makes_sessions_with_nothing_configured_and_finds_them_after_a_restart() {
    alpine_tests::pki::provider();
    whole_life(Machine::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_does_the_same_for_an_unprivileged_user() {
    alpine_tests::pki::provider();
    whole_life(Machine::unprivileged()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_that_was_killed_starts_again() {
    alpine_tests::pki::provider();
    let mut machine = Machine::new();
    machine.start().await;
    let session = text(&machine.up().await.ok(), "session_id");
    let mut child = machine.child.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    machine.start().await;
    let status = machine.alpine().args(&["status", &session, "--json"]).run().await.ok();
    assert_eq!(status["state"], "ready");
    machine.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_gives_sessions_hosts_of_their_own_where_it_is_asked_to() {
    alpine_tests::pki::provider();
    let mut machine = Machine::new();
    machine.start().await;
    machine.stop(Signal::TERM).await;
    machine.apps = true;
    machine.start().await;
    let up = machine.up().await.ok();
    let (session, page) = (text(&up, "session_id"), text(&up, "opencode_url"));
    let host = format!("{}.apps.localhost", session.replace('_', "-"));
    assert_eq!(page, format!("https://{host}:{}/", machine.port));
    let (browser, sent_to) = (machine.dir.join("browser.sh"), machine.dir.join("sent-to"));
    std::fs::write(&browser, format!("#!/bin/sh\nprintf %s \"$1\" >{}\n", sent_to.display())).unwrap();
    std::fs::set_permissions(&browser, Permissions::from_mode(0o755)).unwrap();
    let open = machine.alpine().without("CI").env("BROWSER", &browser.display().to_string()).args(&["open", &session, "--json"]);
    assert_eq!(open.run().await.ok()["browser_opened"], true);
    // With nothing but the development CA, which the first start has made.
    let ca = std::fs::read(machine.data().join("tls/dev-ca.pem")).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()]);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], machine.port));
    let client = client.redirect(reqwest::redirect::Policy::none()).resolve(&host, address).build().unwrap();
    assert_eq!(client.get(&page).send().await.unwrap().status(), 401);
    let let_in = client.get(std::fs::read_to_string(&sent_to).unwrap()).send().await.unwrap();
    assert_eq!(let_in.status(), 303);
    let cookie = let_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(client.get(&page).header("cookie", cookie).send().await.unwrap().status().is_success());
    // A program that cannot resolve that name needs none.
    let token = text(&machine.alpine().args(&["token", "create", "--name", "script", "--json"]).run().await.ok(), "token");
    let by_path = format!("https://127.0.0.1:{}/apps/{}/", machine.port, session.replace('_', "-"));
    assert_eq!(client.get(&by_path).send().await.unwrap().status(), 401);
    assert!(client.get(&by_path).bearer_auth(token).send().await.unwrap().status().is_success());
    machine.stop(Signal::INT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said_with_what_to_do_next() {
    let machine = Machine::new();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", machine.port)).unwrap();
    assert_clear(&machine.refused().await, &machine.port.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_without_an_image_are_said_before_anything_is_fetched_or_started() {
    let mut machine = Machine::new();
    machine.opencode = true;
    machine.settings.push(("ALPINE_PROVIDER", "docker".to_owned()));
    assert_clear(&machine.refused().await, "ALPINE_DOCKER_IMAGE is not set");
    assert!(!machine.data().exists(), "{:?}", sandboxes::files(&machine.data()));
}

/// PostgreSQL is looked for after opencode.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_containers_need_no_opencode_of_this_machine() {
    let mut machine = Machine::new();
    machine.opencode = true;
    let (programs, none) = (machine.dir.join("only-git"), machine.dir.join("no-postgres"));
    std::fs::create_dir(&programs).unwrap();
    let git = Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    std::os::unix::fs::symlink(String::from_utf8(git.stdout).unwrap().trim(), programs.join("git")).unwrap();
    machine.settings = vec![
        ("PATH", programs.display().to_string()),
        ("ALPINE_PROVIDER", "docker".to_owned()),
        ("ALPINE_DOCKER_IMAGE", "any".to_owned()),
        ("ALPINE_POSTGRES_BIN", none.display().to_string()),
    ];
    assert_clear(&machine.refused().await, &none.display().to_string());
    machine.settings.retain(|(name, _)| *name != "ALPINE_PROVIDER");
    assert_clear(&machine.refused().await, "opencode");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_a_file_is_said_with_what_to_do_next() {
    let machine = Machine::new();
    std::fs::write(machine.data(), "not a directory").unwrap();
    assert_clear(&machine.refused().await, &machine.data().display().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_said_with_what_to_do_next() {
    let mut machine = Machine::new();
    machine.start().await;
    let first = machine.port;
    machine.port = base::free_port();
    assert_clear(&machine.refused().await, &machine.data().display().to_string());
    machine.port = first;
    assert_eq!(machine.alpine().args(&["list", "--json"]).run().await.code, Some(0), "the first is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_database_directory_is_said_with_what_to_do_next() {
    let mut machine = Machine::new();
    machine.start().await;
    machine.stop(Signal::TERM).await;
    let postgres = machine.data().join("postgres");
    let control = sandboxes::files(&postgres).into_iter().find(|file| file.ends_with("global/pg_control")).expect("a cluster");
    std::fs::write(postgres.join(control), "garbage").unwrap();
    assert_clear(&machine.refused().await, "PostgreSQL");
    assert_eq!(postmasters(&machine.data()), Vec::<i32>::new());
}
