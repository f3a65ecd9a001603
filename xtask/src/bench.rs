//! `cargo xtask bench`: the benchmarks, in release mode, against servers of their own.

use std::process::Command;

use anyhow::{Context, Result};

use crate::servers::Servers;
use crate::{cargo, cluster, workspace_root};

pub const HELP: &str = "\
cargo xtask bench [ARGUMENTS]

Starts a throwaway PostgreSQL and Kafka, builds the shop and the benchmarks in release mode and runs them; ARGUMENTS go to the
benchmark program, whose own help follows. With --peers, other event stores are built too, in a workspace of their own; with
--only relay, librdkafka is; with --only cluster, every program of the distributed shop.
";

/// The workspace of the other event stores.
const PEERS: &str = "benches/peers/Cargo.toml";

pub fn run(arguments: &[String]) -> Result<bool> {
    let target = workspace_root().join("target");
    let asked_for = |what: &str| arguments.iter().any(|argument| argument.contains(what));
    let (peers, relay, distributed) = (asked_for("peers"), asked_for("relay"), asked_for("cluster"));
    let (mut packages, mut features) = (vec!["benches", "shop"], Vec::new());
    if relay {
        features.push("benches/kafka".to_owned());
    }
    if distributed {
        packages.extend(cluster::PACKAGES);
        features.push(cluster::features());
    }
    let features = features.join(",");
    let mut wanted: Vec<&str> = packages.iter().flat_map(|package| ["--package", *package]).collect();
    wanted.extend(["--bins", "--features", &features]);
    if !built(&wanted)? {
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
