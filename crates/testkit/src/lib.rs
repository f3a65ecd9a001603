//! What tests of every crate share: throwaway databases on a real PostgreSQL, given/when/then for deciders, feeds
//! written by hand, and waiting for conditions. It fakes no database: what needs PostgreSQL gets PostgreSQL.

mod database;
mod decider;
mod feed;

pub use database::{APP_ROLE, TestDatabase};
pub use decider::{Given, When, given};
pub use feed::HandMadeFeed;

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest wait for something that should come at once, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits until `condition` gives a value, and looks again every few milliseconds.
///
/// # Panics
/// When `deadline` has passed, naming what was waited for.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
