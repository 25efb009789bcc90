//! Waiting for what happens in another process, where no clock can be injected.

use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

/// Has the machine to itself among the tests of its program that ask for that: where a load, or a time, is what they are about.
pub async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Ask again and again until there is an answer; panics with `what` when `limit` is over.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
