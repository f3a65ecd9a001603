//! Benchmarks that print our figure beside the limit measured in the same run. Absolute figures differ from
//! machine to machine by a factor of two and more; the ratios are what counts.
//!
//! `cargo xtask bench` provides PostgreSQL and runs this. It needs STORELINE_TEST_DATABASE_URL (a superuser) and
//! STORELINE_TEST_POSTGRES_BIN (the folder of pgbench), and for the orders STORELINE_SHOP_BIN.

#![expect(clippy::print_stdout, reason = "printing figures is what it is for")]

mod event_log;
mod ledger;
mod limits;
mod load;
mod orders;

use std::path::PathBuf;

use anyhow::Context;

/// Clients that work at the same time.
pub const CLIENTS: usize = 32;

/// Where this run finds what it measures.
pub struct Environment {
    pub server: String,
    pub postgres_bin: PathBuf,
    pub shop: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("{name} is not set: run `cargo xtask bench`"))
    };
    let environment = Environment {
        server: variable("STORELINE_TEST_DATABASE_URL")?,
        postgres_bin: variable("STORELINE_TEST_POSTGRES_BIN")?.into(),
        shop: variable("STORELINE_SHOP_BIN")?.into(),
    };
    println!("{:<44} {:>14} {:>14} {:>8}", "", "ours", "limit", "ratio");
    event_log::run(&environment).await?;
    orders::run(&environment).await
}

/// Prints a rate beside its limit: more is better.
pub fn rate(what: &str, ours: f64, limit: f64, limit_is: &str) {
    println!("{what:<44} {ours:>12.0}/s {limit:>12.0}/s {:>8.2}  of {limit_is}", ours / limit);
}

/// Prints a time beside its limit: less is better.
pub fn time(what: &str, ours_ms: f64, limit_ms: f64, limit_is: &str) {
    println!("{what:<44} {ours_ms:>11.2} ms {limit_ms:>11.2} ms {:>8.2}  of {limit_is}", ours_ms / limit_ms);
}

/// Prints a figure that has no limit beside it.
pub fn figure(what: &str, ours: &str) {
    println!("{what:<44} {ours:>14}");
}
