//! `cargo xtask cluster`: the distributed shop on this machine, without Docker. Builds the programs, finds the servers'
//! own, and becomes the program that runs the cluster, so that an interrupt reaches that one alone.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::servers::{Kafka, Postgres, Redis};
use crate::test::FEATURES;
use crate::{cargo, target_folder};

pub const HELP: &str = "\
cargo xtask cluster [OPTIONS]

Runs every service and the gateway as processes of their own on loopback, with a PostgreSQL, a Redis and an Apache Kafka
that are theirs alone, until Ctrl-C. All data goes then. Says where everything is, and writes the variables with which
`shop demo`, `audit`, `saga`, `parked` and `rebuild` work on it into target/cluster.env. LOG_FILTER and OTLP_ENDPOINT reach
every process, if they are set.

  --replicas N    so many of every service and of the gateway (1)
  --brokers N     1 Kafka broker, or 3 of which one may be down (1)
  --release       programs as in production; takes minutes to build
";

/// The packages whose programs make up a cluster, the operator's included.
pub const PACKAGES: [&str; 8] = [
    "shop",
    "product-service",
    "inventory-service",
    "order-service",
    "payment-service",
    "saga-orchestrator",
    "api-gateway",
    "e2e-tests",
];
/// Where the variables for the operator's commands are, beside what cargo builds.
const ENVIRONMENT: &str = "cluster.env";
/// More than anybody's machine has cores for.
const MOST_REPLICAS: u8 = 9;

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    replicas: u8,
    brokers: u8,
    release: bool,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { replicas: 1, brokers: 1, release: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let text = arguments.next().with_context(|| format!("{argument} needs a number"))?;
                text.parse::<u8>().with_context(|| format!("{argument} needs a number, and `{text}` is none"))
            };
            match argument.as_str() {
                "--replicas" => options.replicas = number()?,
                "--brokers" => options.brokers = number()?,
                "--release" => options.release = true,
                unknown => bail!("there is no option `{unknown}`\n\n{HELP}"),
            }
        }
        if !(1..=MOST_REPLICAS).contains(&options.replicas) {
            bail!("--replicas is 1 to {MOST_REPLICAS}");
        }
        if ![1, 3].contains(&options.brokers) {
            bail!("--brokers is 1 or 3");
        }
        Ok(options)
    }
}

/// What [`PACKAGES`] are built with.
pub fn features() -> String {
    let of_these = |feature: &&str| PACKAGES.contains(&feature.split('/').next().unwrap_or_default());
    FEATURES.split(',').filter(of_these).collect::<Vec<_>>().join(",")
}

/// Comes back only when something is missing.
pub fn run(options: &Options) -> Result<bool> {
    println!("== providing servers");
    crate::servers::headers()?;
    let postgres = Postgres::find_or_install()?;
    let redis = Redis::provide()?;
    let jars = Kafka::find_or_fetch()?;
    println!("== building");
    let mut build = cargo();
    build.args(["build", "--bins", "--features", &features()]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    if options.release {
        build.arg("--release");
    }
    if !build.status().context("cannot run cargo")?.success() {
        return Ok(false);
    }
    let target = target_folder()?;
    let programs = target.join(if options.release { "release" } else { "debug" });
    let failure = Command::new(programs.join("cluster"))
        .args([options.replicas.to_string(), options.brokers.to_string()])
        .arg(target.join(ENVIRONMENT))
        .env("STORELINE_SHOP_BIN", programs.join("shop"))
        .env("STORELINE_TEST_POSTGRES_BIN", postgres)
        .env("STORELINE_TEST_REDIS_BIN", redis.program())
        .env("STORELINE_TEST_KAFKA_JARS", jars)
        .exec();
    Err(failure).context("cannot run the cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_numbers_are_those_that_a_machine_and_kafka_can_do() {
        assert_eq!(parse("").unwrap(), Options { replicas: 1, brokers: 1, release: false });
        assert_eq!(
            parse("--replicas 2 --brokers 3 --release").unwrap(),
            Options { replicas: 2, brokers: 3, release: true }
        );
        for wrong in ["--replicas", "--replicas 0", "--replicas many", "--brokers 2", "--fast"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
