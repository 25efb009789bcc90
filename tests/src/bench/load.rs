//! Requests as fast as a number of connections can send them, for a while.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};

/// Requests a second that were answered well. Each connection is a client of its own, kept alive.
pub async fn per_second<F>(clients: &[Client], length: Duration, request: F) -> anyhow::Result<f64>
where
    F: Fn(&Client) -> RequestBuilder + Clone + Send + Sync + 'static,
{
    let begun = Instant::now();
    let tasks: Vec<_> = clients
        .iter()
        .map(|client| {
            let (client, request) = (client.clone(), request.clone());
            tokio::spawn(async move {
                let mut answered = 0_u32;
                while begun.elapsed() < length {
                    let answer = request(&client).send().await?.error_for_status()?;
                    answer.bytes().await?;
                    answered += 1;
                }
                Ok::<_, reqwest::Error>(answered)
            })
        })
        .collect();
    let mut answered = 0;
    for task in tasks {
        answered += task.await??;
    }
    Ok(f64::from(answered) / begun.elapsed().as_secs_f64())
}
