//! What tests of every crate share: throwaway databases on a real PostgreSQL, given/when/then for deciders, feeds
//! written by hand, waiting for conditions, and a PostgreSQL, Kafka or Redis of one's own to stop and crash. It fakes none of them: what needs
//! PostgreSQL gets PostgreSQL.

mod cluster;
mod database;
mod decider;
mod feed;
pub mod kafka;
pub mod process;
pub mod redis;
pub mod tls;

pub use cluster::{Cluster, Stop};
pub use database::{APP_ROLE, TestDatabase};
pub use decider::{Given, When, given};
/// The points at which a test can have a process die.
pub use eventsourcing::fault;
pub use feed::{HandMadeFeed, read_everything};

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

/// Longest wait for something that should come at once, on a slow machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(120);

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

/// Set by `cargo xtask test --long`: the long forms of tests run, with more events and more kills.
pub const LONG: &str = "STORELINE_TEST_LONG";

/// Whether the long forms of tests are wanted.
pub fn is_long() -> bool {
    std::env::var_os(LONG).is_some()
}

/// Says what a test found out, such as how much it went through. Unlike what is printed, it shows when the test passes.
pub fn say(what: impl std::fmt::Display) {
    // Nobody may be there to hear it.
    let _ = writeln!(std::io::stderr(), "{what}");
}
