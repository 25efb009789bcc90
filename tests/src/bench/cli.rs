//! What the command line takes: to start, next to a program that does nothing; to list 500 sessions over a fresh TLS
//! connection, next to curl of the same addresses.

use std::{
    fmt,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::Value;

use super::{Options, median};
use crate::{World, bins};

const ROWS: u32 = 500;
/// Runs of each in one round.
const RUNS: usize = 10;

/// One pair: medians over all runs, milliseconds.
#[derive(Debug, Serialize)]
pub struct Row {
    pub what: String,
    pub alpine_ms: f64,
    pub other: String,
    pub other_ms: f64,
    /// The median of each pair's own ratio.
    pub ratio: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub pairs: usize,
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the command line, medians of {} pairs in turn", self.pairs)?;
        writeln!(f, "| what | alpine, ms | next to it | ms | ratio |\n|---|---|---|---|---|")?;
        let row = |r: &Row| format!("| {} | {:.1} | {} | {:.1} | {:.2} |", r.what, r.alpine_ms, r.other, r.other_ms, r.ratio);
        self.rows.iter().try_for_each(|r| writeln!(f, "{}", row(r)))
    }
}

pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let world = World::with(&[("ALPINE_ROLE", "api"), ("ALPINE_LOG", "warn")]).await;
    world
        .db
        .meddle(&format!(
            "INSERT INTO tenants (tenant_id) VALUES ('dev') ON CONFLICT DO NOTHING;
             INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, updated_at)
             SELECT 'dev', gen_random_uuid(), 'ann', 'https://github.com/org/repo.git', 'main', true, 'requested', gen_random_uuid(),
                 now() - i * interval '1 s' FROM generate_series(1, {ROWS}) i"
        ))
        .await;
    let listed = world.list("ann").await;
    ensure!(listed.len() == ROWS as usize, "{} of {ROWS} are listed", listed.len());
    let pages = pages(&world).await?;
    let alpine = |args: &[&str]| world.alpine("ann").args(args).command_of(bins::path("alpine")).into_std();
    let token = world.token("dev", "ann", &[]);
    let curl = |urls: &[String]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert"])
            .arg(&world.pki.ca)
            .args(["-H", &format!("Authorization: Bearer {token}")]);
        for url in urls {
            curl.args(["--output", "/dev/null", url]);
        }
        curl
    };
    let pairs = options.rounds * RUNS;
    let rows = vec![
        pair(pairs, "version", || alpine(&["version"]), "/bin/true", || Command::new("/bin/true"))?,
        pair(pairs, "list --limit 200", || alpine(&["list", "--json", "--limit", "200"]), "curl of the page", || curl(&pages[..1]))?,
        pair(pairs, "list of 500", || alpine(&["list", "--json"]), "curl of the same pages", || curl(&pages))?,
    ];
    Ok(Report { pairs, rows })
}

/// The addresses that `list` asks for, one after the other.
async fn pages(world: &World) -> anyhow::Result<Vec<String>> {
    let (api, mut pages, mut query) = (world.api("ann"), Vec::new(), "limit=200".to_owned());
    loop {
        let path = format!("/v1/sessions?{query}");
        let page = api.get(&path).await;
        pages.push(format!("{}{path}", world.server.base()));
        match page.expect(200)["next_cursor"].as_str() {
            Some(cursor) => query = format!("limit=200&cursor={cursor}"),
            None => return Ok(pages),
        }
    }
}

fn pair(pairs: usize, what: &str, alpine: impl Fn() -> Command, name: &str, other: impl Fn() -> Command) -> anyhow::Result<Row> {
    // The caches first.
    took(alpine())?;
    took(other())?;
    let mut figures = Vec::new();
    for _ in 0..pairs {
        figures.push((took(alpine())?, took(other())?));
    }
    let of = |figure: fn(&(f64, f64)) -> f64| median(figures.iter().map(figure).collect());
    let (alpine_ms, other_ms, ratio) = (of(|(ours, _)| *ours), of(|(_, other)| *other), of(|(ours, other)| ours / other));
    Ok(Row { what: what.to_owned(), alpine_ms, other: name.to_owned(), other_ms, ratio })
}

fn took(mut command: Command) -> anyhow::Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let output = command.spawn().and_then(std::process::Child::wait_with_output).with_context(|| format!("{command:?}"))?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let said: Value = String::from_utf8_lossy(&output.stderr).into_owned().into();
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(took)
}
