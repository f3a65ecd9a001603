//! Orders against the shop as separate programs with Kafka between them, beside the all-in-one in the same run: the same
//! load, machine, and durability. The programs, PostgreSQL, Kafka and Redis are those of `cargo xtask cluster`, one of
//! each.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};

use crate::figures::Unit;
use crate::http::Connections;
use crate::orders::{CLIENTS, many, order, paced};
use crate::run::{Run, Scratch};
use crate::shop::{Data, SKUS, Shop, stock};

/// Our figures begin with the one, and those of the all-in-one with the other.
pub const CLUSTER: &str = "cluster";
pub const ALL_IN_ONE: &str = "cluster/all-in-one";
/// How long servers and programs may take to be ready.
const START: Duration = Duration::from_secs(600);
/// How long they may take to end.
const STOP: Duration = Duration::from_secs(180);
/// How long it may take until everybody has heard of everything that is on sale.
const STOCKED: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Confirmed orders a second of both, and the time to a confirmation at half of each one's rate.
pub async fn cluster(run: &mut Run<'_>) -> anyhow::Result<()> {
    // In turn, so that neither always has the colder machine.
    if run.floor_first() {
        all_in_one(run).await?;
        separate(run).await
    } else {
        separate(run).await?;
        all_in_one(run).await
    }
}

async fn all_in_one(run: &mut Run<'_>) -> anyhow::Result<()> {
    let data = Data::new()?;
    let shop = Shop::start(run.shop()?, &data).await?;
    shop.stock().await?;
    measure(run, &shop.rest, ALL_IN_ONE).await?;
    shop.stop().await
}

async fn separate(run: &mut Run<'_>) -> anyhow::Result<()> {
    let cluster = Cluster::start(&run.shop()?.with_file_name("cluster")).await?;
    run.record(format!("{CLUSTER}/start, with its servers"), Unit::Seconds, cluster.start.as_secs_f64());
    stock(&cluster.rest, &cluster.operator).await?;
    measure(run, &cluster.rest, CLUSTER).await?;
    cluster.stop().await
}

async fn measure(run: &mut Run<'_>, rest: &Arc<Connections>, name: &str) -> anyhow::Result<()> {
    everything_is_sold(rest).await?;
    let mut highest = 0.0_f64;
    for clients in CLIENTS {
        let measured = many(run.times(), rest, clients).await?;
        run.record(figure(name, clients), Unit::PerSecond, measured.per_second);
        highest = highest.max(measured.per_second);
    }
    let paced = paced(run.times(), rest, highest / 2.0).await?;
    run.record(half_rate(name, "p50"), Unit::Milliseconds, paced.quantile(0.5));
    run.record(half_rate(name, "p99"), Unit::Milliseconds, paced.quantile(0.99));
    Ok(())
}

/// The figure of confirmed orders with so many clients.
pub fn figure(name: &str, clients: usize) -> String {
    format!("{name}/{clients} clients")
}

/// The figure of the time to a confirmation at half the rate.
pub fn half_rate(name: &str, quantile: &str) -> String {
    format!("{name}/half rate, {quantile}")
}

/// Sells one of each. The service of orders hears of products by way of their feed, and refuses what it does not know.
async fn everything_is_sold(rest: &Connections) -> anyhow::Result<()> {
    let begun = Instant::now();
    for number in 0..SKUS {
        while let Err(error) = order(rest, number).await {
            if begun.elapsed() > STOCKED {
                return Err(error.context("what is on sale cannot be bought"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// The programs and their servers. They end with this value; in order with [`Cluster::stop`].
struct Cluster {
    process: Child,
    rest: Arc<Connections>,
    operator: String,
    /// From the call of the program until all programs are ready.
    start: Duration,
    _folder: Scratch,
}

impl Cluster {
    /// `program` is the one that `cargo xtask cluster` runs, with the others beside it.
    async fn start(program: &Path) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let written = folder.path().join("cluster.env");
        let begun = Instant::now();
        let mut process = Command::new(program)
            .args(["1", "1"])
            .arg(&written)
            .env("LOG_FILTER", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started: run `cargo xtask bench`", program.display()))?;
        let environment = loop {
            let text = std::fs::read_to_string(&written).unwrap_or_default();
            if let Some(found) = Environment::read(&text) {
                break found;
            }
            if let Some(status) = process.try_wait()? {
                bail!("the cluster ended at its start: {status}");
            }
            ensure!(begun.elapsed() < START, "the cluster does not serve within {START:?}");
            tokio::time::sleep(LOOK).await;
        };
        let rest = Arc::new(Connections::to(&environment.gateway));
        Ok(Self { process, rest, operator: environment.operator, start: begun.elapsed(), _folder: folder })
    }

    /// Stops it as Ctrl-C does.
    async fn stop(mut self) -> anyhow::Result<()> {
        let process = self.process.id().context("the cluster has ended already")?;
        let told = Command::new("kill").args(["-INT", &process.to_string()]).status().await?;
        ensure!(told.success(), "the cluster cannot be told to stop");
        let ended = tokio::time::timeout(STOP, self.process.wait()).await;
        let status = ended.context("the cluster does not stop")??;
        ensure!(status.success(), "the cluster did not stop cleanly: {status}");
        Ok(())
    }
}

/// What the program says once everything is ready, as exports for a shell.
#[derive(Debug, PartialEq, Eq)]
struct Environment {
    /// `host:port` of REST.
    gateway: String,
    operator: String,
}

impl Environment {
    /// `None` while it is not all there.
    fn read(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let begin = format!("export {name}='");
            text.lines().find_map(|line| line.strip_prefix(&begin)?.strip_suffix('\''))
        };
        let gateway = value("STORELINE_GATEWAY_URL")?.strip_prefix("http://")?.to_owned();
        Some(Self { gateway, operator: value("STORELINE_OPERATOR_TOKEN")?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_once_it_is_whole() {
        let whole =
            "export STORELINE_GATEWAY_URL='http://127.0.0.1:8080'\nexport STORELINE_OPERATOR_TOKEN='abc'\n";
        let read = Environment::read(whole);
        let expected = Environment { gateway: "127.0.0.1:8080".to_owned(), operator: "abc".to_owned() };
        assert_eq!(read, Some(expected));
        for early in [0, 20, whole.len() - 3] {
            assert_eq!(Environment::read(&whole[..early]), None);
        }
    }
}
