//! A whole `up`, from the request to `ready`, next to a shell script that does the same clone, install, start and probe by hand.
//!
//! What is left of the difference is what the control plane takes: the accept, the claim, the commits of six states, looks at the
//! sandbox between them, and the answer to the caller who waits.

use std::{path::Path, process::Stdio, time::Instant};

use anyhow::{Context as _, ensure};
use http::HeaderValue;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};
use uuid::Uuid;

use super::{
    Options,
    load::{self, Connection},
    report::{Row, Section},
    samples::{Samples, median, milliseconds},
    stage::{PRINCIPAL, Stage, up_body},
};
use crate::{
    REPO, base,
    cli::text,
    db::uuid,
    drive::{CHEAP_SERVE, INSTALL},
};

/// Milliseconds.
const MOST: f64 = 60.0;
/// Of each in one round.
const RUNS: usize = 8;
/// A user of the script's own, as a sandbox has one.
const SCRIPT_UID: &str = "64321";
/// From the first of these states to the next, and so on.
const STATES: [&str; 5] = ["requested", "provisioning", "repo_syncing", "installing", "ready"];

struct Bench {
    stage: Stage,
    connection: Connection,
    count: usize,
}

/// What one run of each took, in milliseconds.
struct Took {
    up: f64,
    confined: f64,
    bare: f64,
}

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let mut bench = Box::pin(Bench::set()).await?;
    // The caches, on both sides.
    bench.turn(&mut []).await?;
    let runs = if options.short { 1 } else { RUNS };
    let (mut rounds, mut phases) = (Vec::new(), vec![Vec::new(); STATES.len() - 1]);
    let mut ups = Vec::new();
    for _ in 0..options.rounds {
        let mut round = Vec::new();
        for _ in 0..runs {
            round.push(bench.turn(&mut phases).await?);
        }
        ups.extend(round.iter().map(|took| took.up));
        let p50 = |of: fn(&Took) -> f64| median(round.iter().map(of).collect());
        rounds.push(Took { up: p50(|t| t.up), confined: p50(|t| t.confined), bare: p50(|t| t.bare) });
    }
    let pairs = |of: fn(&Took) -> f64| rounds.iter().map(|round| (round.up, of(round))).collect::<Vec<_>>();
    let over = |of: fn(&Took) -> f64| median(rounds.iter().map(|round| round.up - of(round)).collect());
    let rows = vec![
        Row::within("overhead of an `up`, p50", "ms", over(|t| t.confined), MOST).detail(told(phases)),
        Row::of_pairs("an `up` until ready, p50", "ms", "the script, confined as a sandbox", &pairs(|t| t.confined))
            .detail(Samples::of(ups).told()),
        Row::of_pairs("an `up` until ready, p50", "ms", "the script, not confined", &pairs(|t| t.bare))
            .detail(format!("{:.0} ms more", over(|t| t.bare))),
    ];
    let about = format!(
        "An `up` with `Prefer: wait` through HTTPS next to a script (ready.sh) that does ls-remote, init, fetch of one commit, checkout, \
         install, start and probe with the same git, server, commands and program, in bubblewrap as a sandbox is but for its limits \
         and filters of system calls; and not confined. {} rounds of {RUNS} in turn, fsync on.",
        options.rounds
    );
    Ok(Section { name: "ready", about, rows })
}

/// Where the time of an `up` goes, in medians.
fn told(phases: Vec<Vec<f64>>) -> String {
    let parts = STATES.windows(2).zip(phases).map(|(states, times)| format!("{} to {} {:.0}", states[0], states[1], median(times)));
    parts.collect::<Vec<_>>().join(", ") + " ms"
}

impl Bench {
    async fn set() -> anyhow::Result<Self> {
        let mut stage = Box::pin(Stage::set(&[])).await;
        stage.ground.git.with_files("org/repo", &[(".alpine.toml", &format!("{INSTALL}\n")), ("README.md", "hello\n")]);
        let server = Box::pin(stage.serve("all", &[("ALPINE_SANDBOX_SERVE", CHEAP_SERVE)])).await;
        let connection = stage.connections(server, 1).await?.remove(0);
        Ok(Self { stage, connection, count: 0 })
    }

    /// One of each; which comes first takes turns.
    async fn turn(&mut self, phases: &mut [Vec<f64>]) -> anyhow::Result<Took> {
        self.count += 1;
        let mut took = Took { up: 0.0, confined: 0.0, bare: 0.0 };
        for which in 0..3 {
            match (which + self.count) % 3 {
                0 => took.up = self.up(phases).await?,
                1 => took.confined = self.script("confined").await?,
                _ => took.bare = self.script("bare").await?,
            }
        }
        Ok(took)
    }

    /// Until the answer says that it is ready.
    async fn up(&mut self, phases: &mut [Vec<f64>]) -> anyhow::Result<f64> {
        let token = self.stage.token(PRINCIPAL);
        let mut request = load::request("/v1/sessions", &token, Some(&format!("ready{}", self.count)), Some(up_body()))?;
        request.headers_mut().insert("prefer", HeaderValue::from_static("wait=60"));
        let begun = Instant::now();
        let answer: Value = serde_json::from_slice(&self.connection.ask(request).await?)?;
        let took = milliseconds(begun.elapsed());
        ensure!(answer["state"] == "ready", "it is not ready: {answer}");
        let session = text(&answer, "session_id");
        let times: Vec<f64> = self
            .stage
            .db
            .one(&format!(
                "SELECT array_agg(extract(epoch FROM at)::float8 * 1000 ORDER BY seq) FROM transitions WHERE session_id = '{}'",
                uuid(&session)
            ))
            .await;
        for (phase, times) in phases.iter_mut().zip(times.windows(2)) {
            phase.push(times[1] - times[0]);
        }
        self.down(&session, &token).await?;
        Ok(took)
    }

    async fn down(&mut self, session: &str, token: &str) -> anyhow::Result<()> {
        let mut request = load::request(&format!("/v1/sessions/{session}/down"), token, None, Some("{}".into()))?;
        request.headers_mut().insert("prefer", HeaderValue::from_static("wait=60"));
        let answer: Value = serde_json::from_slice(&self.connection.ask(request).await?)?;
        ensure!(answer["state"] == "stopped", "it is not stopped: {answer}");
        Ok(())
    }

    async fn script(&self, how: &str) -> anyhow::Result<f64> {
        let place = self.stage.file(&format!("by-hand-{}", Uuid::new_v4().simple()));
        let begun = Instant::now();
        let mut child = self.command(&place, how).spawn().context("sh runs")?;
        let output = child.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let took = milliseconds(begun.elapsed());
        let ended = end(&mut child).await?;
        base::remove(&place);
        ensure!(line == "ready\n", "the script did not get ready: {ended}");
        Ok(took)
    }

    /// Git trusts the tests' authority and finds their server under the repository's name, as the server's own does.
    fn command(&self, place: &Path, how: &str) -> Command {
        let root = rustix::process::geteuid().is_root();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", include_str!("ready.sh"), "ready.sh"]).arg(place).args([
            REPO,
            &base::free_port().to_string(),
            how,
            CHEAP_SERVE,
        ]);
        let git = &self.stage.ground.git;
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("CONFINED_UID", if root && how == "confined" { SCRIPT_UID } else { "" })
            .env("GIT_SSL_CAINFO", &self.stage.ground.pki.ca)
            .envs([
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_CONFIG_COUNT", "1"),
            ])
            .env("GIT_CONFIG_KEY_0", format!("url.https://{}/.insteadOf", git.address))
            .env("GIT_CONFIG_VALUE_0", "https://github.com/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// What it served ends with it; what it had to complain of.
async fn end(child: &mut Child) -> anyhow::Result<String> {
    let process = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("it has not been waited for")?;
    // It may have ended by itself.
    let _ = kill_process(process, Signal::TERM);
    child.wait().await?;
    let mut said = String::new();
    child.stderr.take().context("its errors")?.read_to_string(&mut said).await?;
    Ok(said)
}
