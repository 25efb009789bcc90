//! From a request to the start of its operation, whole operations a second, and claims a second: next to job engines on PostgreSQL,
//! on databases of the same cluster.

mod claims;
mod engines;
mod latency;
pub mod ledger;
mod whole;

use super::{Options, report::Section, stage::Stage};

pub use engines::{Said, said};

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let mut stage = Box::pin(Stage::set(&[])).await;
    let engines = engines::Engine::both(&stage).await?;
    let servers = Box::pin(latency::Servers::start(&mut stage)).await?;
    let mut rows = Box::pin(latency::rows(&servers, &engines, options)).await?;
    // What follows is without a server beside it.
    for server in &mut stage.servers {
        server.kill();
    }
    rows.extend(Box::pin(whole::rows(&stage, &engines, options)).await?);
    rows.extend(Box::pin(claims::rows(&stage, options)).await?);
    let about = format!(
        "{} rounds in turn, fsync on, all on one machine. Starts: 4 at once, about 20 a second. Engines: each with the settings that its \
         documentation has for speed, jobs that do nothing, enqueued one by one.",
        options.rounds
    );
    Ok(Section { name: "claim", about, rows })
}
