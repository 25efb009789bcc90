//! Faults as they happen: each ends by itself, whatever the others do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::{
    client::Client,
    log::Log,
    proxy::Network,
    replica::Replica,
    schedule::{Fault, Kind},
};
use crate::{ground::Ground, postgres::Postgres, sandboxes};

/// What there is to disturb.
#[derive(Debug, Clone)]
pub struct Targets {
    pub replicas: Arc<Vec<Arc<Replica>>>,
    pub postgres: Arc<tokio::sync::Mutex<Postgres>>,
    pub ground: Arc<Ground>,
    pub client: Client,
    pub log: Log,
    /// How often each fault really happened.
    pub inflicted: Arc<Mutex<BTreeMap<Kind, u64>>>,
}

/// All of them at their times; returns when the last one is over.
pub async fn inflict(targets: &Targets, schedule: Vec<Fault>) {
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    for fault in schedule {
        tokio::time::sleep((begun + fault.at).saturating_duration_since(Instant::now())).await;
        targets.log.line(&fault.to_string());
        let targets = targets.clone();
        under_way.spawn(async move {
            if targets.one(fault).await {
                *targets.inflicted.lock().unwrap_or_else(PoisonError::into_inner).entry(fault.kind).or_default() += 1;
            }
        });
    }
    under_way.join_all().await;
}

impl Targets {
    /// Whether there was something to disturb.
    async fn one(&self, fault: Fault) -> bool {
        let replica = &self.replicas[fault.replica];
        let proxy = &replica.proxy;
        match fault.kind {
            Kind::KillServer => return replica.kill(fault.time).await,
            Kind::TerminateServer => return replica.terminate(fault.time).await,
            Kind::FreezeServer => return replica.freeze(fault.time).await,
            Kind::RestartDatabase => {
                let mut postgres = self.postgres.lock().await;
                postgres.stop_immediately();
                tokio::time::sleep(fault.time).await;
                postgres.start_again().await;
            }
            Kind::CutConnections => proxy.cut_all(),
            Kind::RefuseConnections => self.network(fault, Network::Refusing).await,
            Kind::Stall => self.network(fault, Network::Stalled).await,
            Kind::BlackHole => self.network(fault, Network::BlackHole).await,
            Kind::SlowNetwork => self.network(fault, Network::Slow(Duration::from_millis(40))).await,
            Kind::LoseCommits => {
                let before = proxy.lost_commits();
                proxy.lose_commits(3);
                tokio::time::sleep(fault.time).await;
                proxy.lose_commits(0);
                return proxy.lost_commits() > before;
            }
            Kind::TakeConnections => return self.take_connections(fault.time).await > 0,
            Kind::Flood => self.flood(replica, fault.time).await,
            Kind::KillSandbox => return self.kill_sandbox(fault),
        }
        true
    }

    async fn network(&self, fault: Fault, network: Network) {
        let proxy = &self.replicas[fault.replica].proxy;
        proxy.set(network);
        if network == Network::Refusing {
            // So that new ones are needed.
            proxy.cut_all();
        }
        tokio::time::sleep(fault.time).await;
        proxy.set(Network::Open);
    }

    /// Every connection that the database still gives.
    async fn take_connections(&self, time: Duration) -> usize {
        let url = self.postgres.lock().await.url("postgres");
        let mut taken = Vec::new();
        while let Ok(connection) = PgConnection::connect(&url).await {
            taken.push(connection);
        }
        tokio::time::sleep(time).await;
        taken.len()
    }

    /// More requests than the server has connections, for as long.
    async fn flood(&self, replica: &Replica, time: Duration) {
        let until = Instant::now() + time;
        let mut all = JoinSet::new();
        for _ in 0..24 {
            let client = self.client.only(&replica.base).until(until);
            all.spawn(async move {
                while !client.is_over() {
                    client.list("flood", "red", "person-0").await;
                }
            });
        }
        all.join_all().await;
    }

    /// All processes of one session, whatever it is about.
    fn kill_sandbox(&self, fault: Fault) -> bool {
        let ours = sandboxes::directories(&self.ground.data_dir);
        let marked = sandboxes::marked().into_iter().filter(|(session, _, _)| ours.contains(session));
        let mut sessions = BTreeMap::<String, Vec<i32>>::new();
        marked.for_each(|(session, pid, _)| sessions.entry(session).or_default().push(pid));
        let chosen = usize::try_from(fault.at.as_millis()).unwrap_or_default() % sessions.len().max(1);
        let Some((session, processes)) = sessions.into_iter().nth(chosen) else { return false };
        self.log.line(&format!("{session} loses {} processes", processes.len()));
        for pid in processes {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        true
    }
}
