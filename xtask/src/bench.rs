//! `cargo xtask bench`: the benchmarks, in release mode, against servers of their own.

use std::process::Command;

use anyhow::{Context, Result};

use crate::servers::Servers;
use crate::{cargo, workspace_root};

pub const HELP: &str = "\
cargo xtask bench [ARGUMENTS]

Starts a throwaway PostgreSQL and Kafka, builds the shop and the benchmarks in release mode and runs them; ARGUMENTS go to the
benchmark program, whose own help follows. With --peers, other event stores are built too, in a workspace of their own; with --only relay, librdkafka is.
";

/// The workspace of the other event stores.
const PEERS: &str = "benches/peers/Cargo.toml";

pub fn run(arguments: &[String]) -> Result<bool> {
    let target = workspace_root().join("target");
    let peers = arguments.iter().any(|argument| argument.contains("peers"));
    let relay = arguments.iter().any(|argument| argument.contains("relay"));
    let features: &[&str] = if relay { &["--features", "benches/kafka"] } else { &[] };
    if !built(&[&["--package", "shop", "--package", "benches"], features].concat())? {
        return Ok(false);
    }
    if peers && !built(&["--locked", "--manifest-path", PEERS, "--target-dir", "target/peers"])? {
        return Ok(false);
    }
    let servers = Servers::provide()?;
    let mut command = Command::new(target.join("release/benches"));
    command.args(arguments).current_dir(workspace_root());
    servers.export_to(&mut command);
    command.env("STORELINE_SHOP_BIN", target.join("release/shop"));
    command.env("STORELINE_PEERS_BIN", target.join("peers/release/bench-peers"));
    Ok(command.status().context("cannot run the benchmarks")?.success())
}

/// Prints the help of the benchmark program, for which it is built, but no server started.
pub fn help() -> Result<bool> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "benches", "--", "--help"]);
    Ok(command.status().context("cannot run cargo")?.success())
}

fn built(arguments: &[&str]) -> Result<bool> {
    let status = cargo().args(["build", "--release"]).args(arguments).status().context("cannot run cargo")?;
    Ok(status.success())
}
