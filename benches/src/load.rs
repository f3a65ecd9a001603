//! How load is made: a closed loop, in which each client begins its next operation when the last has ended, and a
//! paced one, in which operations begin on a schedule whatever the earlier ones do. It knows nothing of what an
//! operation is.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Operations of a paced loop that may be under way at the same time. Whoever is slower has lost.
pub const MAX_UNDER_WAY: usize = 20_000;

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Not counted: caches, connections and the server's files warm up.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

/// What a loop reached: the operations that ended within the measured time, or, when none was fast enough, the first
/// that ended after it.
pub struct Measured {
    pub per_second: f64,
    /// All that were begun and have ended, warm-up included.
    pub done: u64,
    latencies: Vec<Duration>,
}

impl Measured {
    fn new(mut latencies: Vec<Duration>, done: u64, measured: Duration) -> Self {
        latencies.sort_unstable();
        Self { per_second: latencies.len() as f64 / measured.as_secs_f64(), done, latencies }
    }

    /// A quantile of the latencies, in milliseconds; not a number when there are none.
    pub fn quantile(&self, q: f64) -> f64 {
        quantile(&self.latencies, q)
    }
}

/// A quantile of sorted durations, in milliseconds; not a number when there are none.
pub fn quantile(sorted: &[Duration], q: f64) -> f64 {
    let place = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e3)
}

/// Runs `operation(client, round)` over and over on so many tasks. What has begun is brought to its end.
///
/// # Errors
/// The first error of an operation, which ends the loop.
pub async fn closed_loop<F, Fut>(times: Times, clients: usize, operation: F) -> anyhow::Result<Measured>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let from = Instant::now() + times.warm_up;
    let to = from + times.measured;
    let mut running = JoinSet::new();
    for client in 0..clients {
        let operation = operation.clone();
        running.spawn(async move {
            let (mut latencies, mut late, mut done) = (Vec::new(), None, 0);
            while Instant::now() < to {
                let begun = Instant::now();
                operation(client, done).await?;
                done += 1;
                let ended = Instant::now();
                if ended >= to {
                    late = Some((ended, ended - begun));
                } else if ended >= from {
                    latencies.push(ended - begun);
                }
            }
            anyhow::Ok((latencies, late, done))
        });
    }
    let (mut latencies, mut first_late, mut done) = (Vec::new(), None, 0);
    while let Some(ended) = running.join_next().await {
        let (some, late, number) = ended??;
        latencies.extend(some);
        first_late = first_late.into_iter().chain(late).min();
        done += number;
    }
    match first_late.filter(|_| latencies.is_empty()) {
        Some((ended, latency)) => Ok(Measured::new(vec![latency], done, ended - from)),
        None => Ok(Measured::new(latencies, done, times.measured)),
    }
}

/// Begins `operation(number)` so many times a second. Latencies count from when an operation was due.
///
/// # Errors
/// The first error of an operation, or that more than [`MAX_UNDER_WAY`] did not end.
pub async fn paced_loop<F, Fut>(times: Times, per_second: f64, operation: F) -> anyhow::Result<Measured>
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let from = Instant::now() + times.warm_up;
    let to = from + times.measured;
    let (mut running, mut latencies, mut done) = (JoinSet::new(), Vec::new(), 0);
    let mut keep = |ended: Result<anyhow::Result<(Instant, Duration)>, tokio::task::JoinError>| {
        let (due, latency) = ended??;
        if due >= from {
            latencies.push(latency);
        }
        anyhow::Ok(())
    };
    while Instant::now() < to {
        let due = ticks.tick().await.into_std();
        let under_way = operation(done);
        running.spawn(async move {
            under_way.await?;
            anyhow::Ok((due, due.elapsed()))
        });
        done += 1;
        while let Some(ended) = running.try_join_next() {
            keep(ended)?;
        }
        anyhow::ensure!(running.len() < MAX_UNDER_WAY, "{MAX_UNDER_WAY} operations wait for their end");
    }
    while let Some(ended) = running.join_next().await {
        keep(ended)?;
    }
    Ok(Measured::new(latencies, done, times.measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|q| quantile(&sorted, q)), [50.0, 99.0, 100.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[tokio::test]
    async fn an_operation_that_takes_longer_than_is_measured_counts_over_its_own_time() {
        let times = Times { warm_up: Duration::ZERO, measured: Duration::from_millis(1) };
        let slow = closed_loop(times, 2, |_, _| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        });
        let measured = slow.await.unwrap();
        assert!(measured.quantile(0.5) >= 50.0);
        assert!(measured.per_second > 0.0 && measured.per_second <= 20.0, "{}", measured.per_second);
    }

    #[tokio::test]
    async fn an_error_of_one_operation_ends_the_loop() {
        let times = Times { warm_up: Duration::ZERO, measured: Duration::from_secs(60) };
        let failed = closed_loop(times, 2, |client, _| async move {
            anyhow::ensure!(client == 0, "client 1 fails");
            tokio::task::yield_now().await;
            Ok(())
        });
        assert!(
            tokio::time::timeout(Duration::from_secs(30), failed).await.is_ok_and(|ended| ended.is_err())
        );
    }
}
