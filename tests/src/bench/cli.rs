//! What the command line takes: to start, next to a program that does nothing; to list 500 sessions over a fresh TLS
//! connection, next to curl of the same addresses.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    Options,
    report::{Row, Section, Target},
    samples::milliseconds,
};
use crate::{World, bins};

const ROWS: u32 = 500;
/// Runs of each in one round.
const RUNS: usize = 10;

pub async fn run(options: &Options) -> anyhow::Result<Section> {
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
        pair(pairs, "list of 500", || alpine(&["list", "--json"]), "curl of the same pages", || curl(&pages))?.target(Target::AtMost(1.5)),
    ];
    let about = format!("The command line as a program, medians of {pairs} pairs in turn.");
    Ok(Section { name: "command line", about, rows })
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
    Ok(Row::of_pairs(what, "ms", name, &figures))
}

fn took(mut command: Command) -> anyhow::Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let output = command.spawn().and_then(std::process::Child::wait_with_output).with_context(|| format!("{command:?}"))?;
    let took = milliseconds(begun.elapsed());
    let said: Value = String::from_utf8_lossy(&output.stderr).into_owned().into();
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(took)
}
