//! A closed loop: so many clients, each begins the next operation when the last has ended.

use std::future::Future;
use std::time::{Duration, Instant};

/// Not counted: caches, connections and the server's files warm up.
pub const WARM_UP: Duration = Duration::from_secs(1);
/// Counted.
pub const MEASURED: Duration = Duration::from_secs(5);

/// What a loop reached.
pub struct Measured {
    pub per_second: f64,
    latencies: Vec<Duration>,
}

impl Measured {
    /// A quantile of the latencies, in milliseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        quantile(&self.latencies, q)
    }
}

/// A quantile of sorted durations, in milliseconds.
pub fn quantile(sorted: &[Duration], q: f64) -> f64 {
    let place = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
}

/// Runs `operation(client, round)` over and over on `clients` tasks.
pub async fn closed_loop<F, Fut>(clients: usize, operation: F) -> anyhow::Result<Measured>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let from = Instant::now() + WARM_UP;
    let to = from + MEASURED;
    let mut running = tokio::task::JoinSet::new();
    for client in 0..clients {
        let operation = operation.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            for round in 0.. {
                let begun = Instant::now();
                if begun >= to {
                    break;
                }
                operation(client, round).await?;
                let ended = Instant::now();
                if ended >= from && ended < to {
                    latencies.push(ended - begun);
                }
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    Ok(Measured { per_second: latencies.len() as f64 / MEASURED.as_secs_f64(), latencies })
}
