//! `cargo xtask bench`: the benchmarks, in release mode, against a PostgreSQL of their own.

use anyhow::{Context, Result};

use crate::servers::Servers;
use crate::{cargo, workspace_root};

pub const HELP: &str = "\
cargo xtask bench [ARGUMENTS]

Starts a throwaway PostgreSQL, builds the benchmarks in release mode and runs them; ARGUMENTS go to the benchmark
program. Every figure is printed beside a limit that was measured in the same run, since absolute figures differ
between machines. Let nothing else run on the machine meanwhile.
";

pub fn run(arguments: &[String]) -> Result<bool> {
    let servers = Servers::provide()?;
    let mut build = cargo();
    build.args(["build", "--release", "--package", "shop", "--package", "benches"]);
    if !build.status().context("cannot run cargo")?.success() {
        return Ok(false);
    }
    let mut command = cargo();
    command.args(["run", "--release", "--package", "benches", "--"]).args(arguments);
    servers.export_to(&mut command);
    command.env("STORELINE_SHOP_BIN", workspace_root().join("target/release/shop"));
    Ok(command.status().context("cannot run cargo")?.success())
}
