//! What callers do all the while: ordinary things, and the things that go wrong at the callers' end.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::json;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

use super::client::{Client, Up};
use crate::git_server::{GitServer, url};

/// Callers at once, and the sandboxes that they have among them.
const CALLERS: u64 = 12;
const SANDBOXES: usize = 20;
/// Sessions that are never stopped: at the end they are still there.
const KEPT: usize = 4;
/// This one may have few sessions.
pub const LIMITED_TENANT: &str = "limited";
const TENANTS: &[&str] = &["red", "blue", LIMITED_TENANT];

pub fn repositories(git: &GitServer) {
    git.with_files("org/plain", &[("README.md", "hello\n")]);
    git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 1.5; echo done >> installed\"")]);
    git.with_files("org/broken", &[(".alpine.toml", "install = \"exit 3\"")]);
}

/// Everything that callers share.
#[derive(Debug)]
struct Callers {
    client: Client,
    room: Arc<Semaphore>,
    kept: Semaphore,
}

/// All callers, each at work until the client's time is over.
pub fn begin(client: &Client, seed: u64) -> JoinSet<()> {
    let callers = Callers { client: client.clone(), room: Arc::new(Semaphore::new(SANDBOXES)), kept: Semaphore::new(KEPT) };
    let callers = Arc::new(callers);
    let mut all = JoinSet::new();
    for number in 0..CALLERS {
        let (callers, random) = (Arc::clone(&callers), Rng::with_seed(seed.wrapping_add(number)));
        all.spawn(async move { callers.work(number, random).await });
    }
    all
}

impl Callers {
    async fn work(&self, number: u64, mut random: Rng) {
        let mut count = 0;
        while !self.client.is_over() {
            count += 1;
            let (repository, branch) = match random.u32(0..20) {
                0 => ("org/broken", "main"),
                1 => ("org/plain", "absent"),
                2..8 => ("org/slow", "main"),
                _ => ("org/plain", "main"),
            };
            let up = Up {
                tenant: TENANTS[random.usize(..TENANTS.len())].to_owned(),
                principal: format!("person-{}", number % 4),
                key: format!("key-{number}-{count}"),
                repo_url: url(repository),
                branch,
            };
            let Ok(_place) = self.room.acquire().await else { return };
            match random.u32(0..10) {
                0 => self.crowd(&up, &mut random).await,
                1 | 2 => self.dropped(&up, &mut random).await,
                3 | 4 => self.hasty(&up, &mut random).await,
                _ => self.plain(&up, &mut random).await,
            }
            tokio::time::sleep(Duration::from_millis(random.u64(0..1500))).await;
        }
    }

    /// Up, a while of work, down.
    async fn plain(&self, up: &Up, random: &mut Rng) {
        let Some(told) = self.client.up(up).await else { return };
        let (Some(session), Some(operation)) = (told.text("session_id"), told.text("operation_id")) else { return };
        let ended = self.client.settle(up, &operation).await;
        if ended.is_some_and(|ended| ended["status"] == "succeeded") && self.keeps(up, random) {
            return;
        }
        for _ in 0..random.u32(1..4) {
            self.look(up, &session, random).await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..2500))).await;
        }
        self.stop(up, &session, random).await;
    }

    fn keeps(&self, up: &Up, random: &mut Rng) -> bool {
        up.tenant != LIMITED_TENANT && random.u32(0..8) == 0 && self.kept.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    async fn look(&self, up: &Up, session: &str, random: &mut Rng) {
        match random.u32(0..4) {
            0 => self.client.get("list", up, "/v1/sessions?limit=50").await,
            1 => self.client.get("events", up, &format!("/v1/sessions/{session}/events")).await,
            2 => self.client.up(up).await,
            _ => self.client.get("status", up, &format!("/v1/sessions/{session}")).await,
        };
    }

    /// Down, by one or by several at once, and sometimes again.
    async fn stop(&self, up: &Up, session: &str, random: &mut Rng) {
        let downs: Vec<_> = (0..random.u32(1..4)).map(|_| self.down(up, session)).collect();
        let mut operation = None;
        for down in downs {
            operation = down.await.ok().flatten().or(operation);
        }
        let Some(operation) = operation else { return };
        self.client.settle(up, &operation).await;
        if random.bool() {
            self.client.down(up, session, json!({})).await;
        }
    }

    fn down(&self, up: &Up, session: &str) -> JoinHandle<Option<String>> {
        let (client, up, session) = (self.client.clone(), up.clone(), session.to_owned());
        tokio::spawn(async move { client.down(&up, &session, json!({})).await?.text("operation_id") })
    }

    /// One key from many at once.
    async fn crowd(&self, up: &Up, random: &mut Rng) {
        let mut all = JoinSet::new();
        for _ in 0..random.u32(5..20) {
            let (client, up) = (self.client.clone(), up.clone());
            all.spawn(async move { client.up(&up).await });
        }
        all.join_all().await;
        self.plain(up, random).await;
    }

    /// Callers who hang up at any moment, and ask again.
    async fn dropped(&self, up: &Up, random: &mut Rng) {
        for _ in 0..random.u32(1..5) {
            let patience = Duration::from_millis(random.u64(0..80));
            if tokio::time::timeout(patience, self.client.alone().up(up)).await.is_err() {
                self.client.journal.counts("up", "dropped by the caller");
            }
        }
        let Some(told) = self.client.up(up).await else { return };
        let Some(session) = told.text("session_id") else { return };
        let patience = Duration::from_millis(random.u64(0..80));
        if tokio::time::timeout(patience, self.client.alone().down(up, &session, json!({}))).await.is_err() {
            self.client.journal.counts("down", "dropped by the caller");
        }
        self.stop(up, &session, random).await;
    }

    /// Down before the session is ready.
    async fn hasty(&self, up: &Up, random: &mut Rng) {
        // Whoever waits for the end of the `up` is told of it by the `down`.
        let waiting = tokio::spawn({
            let (client, up) = (self.client.clone(), up.clone());
            async move { client.up(&up).await }
        });
        tokio::time::sleep(Duration::from_millis(random.u64(100..2500))).await;
        let list = self.client.get("list", up, "/v1/sessions?limit=50").await;
        let sessions = list.and_then(|told| told.body["sessions"].as_array().cloned()).unwrap_or_default();
        let mine = sessions.iter().find(|session| session["state"] != "ready" && session["repo_url"] == up.repo_url.as_str());
        if let Some(session) = mine.and_then(|session| session["session_id"].as_str()) {
            self.stop(up, session, random).await;
        }
        let told = waiting.await.ok().flatten();
        if let Some(session) = told.and_then(|told| told.text("session_id")) {
            self.stop(up, &session, random).await;
        }
    }
}
