//! The distributed shop on this machine until Ctrl-C: what `cargo xtask cluster` runs once everything is built. It is the
//! cluster of the tests with servers of its own, ports as documented where they are free, and a file of variables for
//! the operator's commands.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its user")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e_tests::cluster::{Cluster, Options};
use testkit::kafka::Brokers;
use testkit::redis::Redis;

/// Pause between two looks whether all processes are there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Every process has pools of connections of its own.
const POSTGRES_SETTINGS: [&str; 1] = ["max_connections=1000"];
/// Kafka's topics are named as in production.
const TOPIC_PREFIX: &str = "";
/// What whoever starts it may say to every process of it.
const PASSED_ON: [&str; 2] = ["LOG_FILTER", "OTLP_ENDPOINT"];
/// Where each first replica listens if nothing else does.
const DOCUMENTED: [u16; 6] = [50_051, 50_052, 50_053, 50_054, 50_055, 8080];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<()> {
    let [replicas, brokers, environment] = arguments else {
        bail!("run `cargo xtask cluster`, which builds and finds what this needs");
    };
    let (replicas, brokers): (usize, usize) = (replicas.parse()?, brokers.parse()?);
    println!("starting PostgreSQL, Redis and Kafka ({brokers} broker(s))");
    let postgres = testkit::Cluster::start_with(&POSTGRES_SETTINGS).await;
    let redis = Redis::start().await;
    let kafka = Brokers::start(brokers).await;
    let copies = u32::try_from(brokers)?;
    let said = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
    let options = Options {
        topic_prefix: TOPIC_PREFIX.to_owned(),
        replication: (copies, copies.div_ceil(2)),
        redis: Some(redis.url()),
        variables: PASSED_ON.into_iter().filter_map(said).collect(),
        default_ports: DOCUMENTED.iter().all(|port| is_free(*port)),
        ..Options::new(postgres.url(), kafka.bootstrap()).replicas(replicas)
    };
    println!("starting {replicas} of each service");
    let stopped = tokio::signal::ctrl_c();
    tokio::pin!(stopped);
    let mut cluster = tokio::select! {
        started = Cluster::start(&options) => started?,
        _ = &mut stopped => return Ok(()),
    };
    let environment = Path::new(environment);
    write(environment, &cluster).with_context(|| format!("cannot write {}", environment.display()))?;
    print_places(&cluster, &postgres.url(), &kafka.bootstrap(), &redis.url(), environment);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Some(said) = cluster.casualty()? {
            println!("{said}\nThe others go on.");
        }
    }
    println!("\nstopping");
    fs::remove_file(environment).ok();
    // The servers go after this, with their values.
    cluster.shut_down().await
}

fn print_places(cluster: &Cluster, postgres: &str, kafka: &str, redis: &str, environment: &Path) {
    println!("\n{}", cluster.describe());
    println!("  postgres     {postgres}\n  kafka        {kafka}\n  redis        {redis}");
    println!("  logs         {}", cluster.folder().display());
    println!("\nThe operator's commands work on it with the variables of {0}:\n", environment.display());
    println!("  . {}; target/debug/shop demo; target/debug/shop audit\n", environment.display());
    println!("Ctrl-C stops everything and removes its data.");
}

/// A shell's export of every variable; nobody else may read it.
fn write(path: &Path, cluster: &Cluster) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    fs::remove_file(path).ok();
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    for (name, value) in cluster.environment() {
        writeln!(file, "export {name}='{value}'")?;
    }
    Ok(())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
