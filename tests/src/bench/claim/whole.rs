//! Whole operations without anything to do: accepted, claimed, taken through six fenced commits of which the last ends it; next to
//! jobs of the engines that do nothing.

use std::{sync::Arc, time::Instant};

use alpine_server::ledger::Looks;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    engines::{Engine, Rate},
    ledger::{Work, accept, carry_out, claim, commits},
};
use crate::{
    bench::{
        Options,
        report::{Row, Target, figure},
        samples::median,
        stage::Stage,
    },
    db::Db,
};

const CONNECTIONS: u32 = 32;
const BATCH: u32 = 16;
/// At least so many times the better engine's, commit for commit.
const LEAST: f64 = 2.0;

struct Round {
    ours: Rate,
    /// Each finishes many jobs at once, as fast as it can.
    batched: [Rate; 2],
    /// The same, where every job is fetched and finished by itself.
    each: [Rate; 2],
}

pub async fn rows(stage: &Stage, engines: &[Engine; 2], options: &Options) -> anyhow::Result<Vec<Row>> {
    stage.cluster.create_migrated("whole").await;
    let url = stage.cluster.url("whole");
    let db = Db::new(url.clone());
    let (operations, jobs) = if options.short { (64, 500) } else { (400 * u32::try_from(options.seconds)?, 20_000) };
    let mut rounds = Vec::new();
    for round in 0..=options.rounds {
        let ours = whole(&url, &db, round, operations).await?;
        let [first, second] = engines;
        let (first, second) = (theirs(first, options, jobs).await?, theirs(second, options, jobs).await?);
        if round > 0 {
            rounds.push(Round { ours, batched: [first.0, second.0], each: [first.1, second.1] });
        }
    }
    Ok(vec![
        row(&rounds, engines, "", |round| &round.batched).target(Target::AtLeast(LEAST)),
        row(&rounds, engines, ", against jobs fetched and finished each by itself", |round| &round.each).target(Target::AtLeast(LEAST)),
    ])
}

/// Enqueued one by one as requests come, then worked through: in batches, and each by itself.
async fn theirs(engine: &Engine, options: &Options, jobs: u32) -> anyhow::Result<(Rate, Rate)> {
    let enqueued = engine.enqueued(options.seconds).await?;
    let batched = engine.worked(jobs, false).await?;
    let each = engine.worked(jobs / 4, true).await?;
    Ok((enqueued.and(batched), enqueued.and(each)))
}

/// `CONNECTIONS` at work, as a server's worker is: accepted one by one, then claimed in batches and carried out.
async fn whole(url: &str, db: &Db, round: usize, operations: u32) -> anyhow::Result<Rate> {
    // What connections commit before they do any work is not an operation's.
    let (_, aside) = counted(url, db, &format!("a{round}"), 0).await?;
    let (seconds, all) = counted(url, db, &format!("r{round}"), operations).await?;
    let operations = f64::from(operations);
    Ok(Rate { per_second: operations / seconds, commits: (all - aside) / operations })
}

/// Seconds, and the commits of it all: connections are made and statements prepared before the clock runs.
async fn counted(url: &str, db: &Db, name: &str, operations: u32) -> anyhow::Result<(f64, f64)> {
    let before = commits(db).await;
    let work = Work::begin(url, CONNECTIONS)?;
    through(&work, &format!("{name}-warm"), CONNECTIONS).await?;
    let begun = Instant::now();
    through(&work, name, operations).await?;
    let seconds = begun.elapsed().as_secs_f64();
    work.ledger.pools().close().await;
    Ok((seconds, commits(db).await - before))
}

/// So many operations, from their acceptance to their end.
pub async fn through(work: &Work, name: &str, operations: u32) -> anyhow::Result<()> {
    let mut all = JoinSet::new();
    for lane in 0..CONNECTIONS {
        let (ledger, name) = (work.ledger.clone(), name.to_owned());
        all.spawn(async move {
            for number in (lane..operations).step_by(CONNECTIONS as usize) {
                accept(&ledger, &format!("{name}-{number}")).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(lane) = all.join_next().await {
        lane??;
    }
    let places = Arc::new(Semaphore::new(2 * CONNECTIONS as usize));
    let (mut claimed, mut looks) = (0, Looks::default());
    while claimed < operations {
        let batch = BATCH.min(operations - claimed);
        let mut batch_places = Arc::clone(&places).acquire_many_owned(batch).await?;
        let jobs = claim(&work.ledger, &mut looks, i64::from(batch)).await?;
        anyhow::ensure!(!jobs.is_empty(), "{claimed} of {operations} could be claimed");
        for job in jobs {
            claimed += 1;
            let place = batch_places.split(1);
            let ledger = work.ledger.clone();
            all.spawn(async move {
                let _place = place;
                carry_out(&ledger, job).await
            });
        }
    }
    while let Some(job) = all.join_next().await {
        job??;
    }
    Ok(())
}

fn row(rounds: &[Round], engines: &[Engine; 2], form: &str, of: fn(&Round) -> &[Rate; 2]) -> Row {
    let middle = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let [first, second] = [0, 1].map(|engine| middle(&|round| of(round)[engine].per_second));
    let better = usize::from(second > first);
    // Commit for commit: an engine that made as many for a job as an operation takes would do so many fewer.
    let scaled = |round: &Round| of(round)[better].per_second / (round.ours.commits / of(round)[better].commits);
    let pairs: Vec<(f64, f64)> = rounds.iter().map(|round| (round.ours.per_second, scaled(round))).collect();
    let against = format!("{}'s jobs, by commits: its jobs a second ÷ (commits an operation ÷ its commits a job)", engines[better].name);
    let told = engines.iter().enumerate().map(|(engine, named)| {
        let (per_second, commits) = (middle(&|round| of(round)[engine].per_second), middle(&|round| of(round)[engine].commits));
        format!("{}: {} jobs/s of {commits:.2} commits", named.name, figure(per_second))
    });
    let told: Vec<String> = told.collect();
    let ours = middle(&|round| round.ours.commits);
    Row::of_pairs(format!("whole no-op operations{form}"), "1/s", against, &pairs)
        .detail(format!("{ours:.2} commits an operation; {}", told.join("; ")))
}
