//! What the same machine reaches without us: pgbench on the plain table, in the same run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::databases::{Database, Template, sql};
use crate::event::{Deposit, METADATA, SPREAD, account};
use crate::figures::Unit;
use crate::load::quantile;
use crate::run::{Run, Scratch};
use crate::sketch::Sketch;
use crate::store::Store;

/// Rows of one transaction in the batch limit.
const BATCH: usize = 200;

/// What pgbench does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// One row a transaction, one client: its median latency.
    InsertAlone,
    /// One row a transaction, 32 clients.
    Insert,
    /// 200 rows a transaction over one connection, in rows a second.
    InsertBatch,
    /// Read an account's 20 rows and append one, 32 clients.
    Cycle,
}

impl Limit {
    /// The name of its figure.
    pub fn figure(self) -> &'static str {
        match self {
            Self::InsertAlone => "limit/insert, 1 client, p50",
            Self::Insert => "limit/insert, 32 clients",
            Self::InsertBatch => "limit/insert 200 rows, 1 client",
            Self::Cycle => "limit/read 20 and insert, 32 clients",
        }
    }

    fn script(self, accounts: u64) -> String {
        let (data, metadata) = (sql(&Deposit::after(0, account(0), 0).json()), sql(METADATA));
        let into = "INSERT INTO events (stream_id, version, type, data, metadata)";
        match self {
            Self::InsertAlone | Self::Insert => {
                format!("{into} VALUES (gen_random_uuid(), 1, 'Deposited', {data}, {metadata});\n")
            }
            Self::InsertBatch => format!(
                "{into} SELECT gen_random_uuid(), 1, 'Deposited', {data}, {metadata} \
                 FROM generate_series(1, {BATCH});\n"
            ),
            Self::Cycle => {
                // The version is a random one: two clients on one account do not fail, which only helps the limit.
                let stream =
                    "(lpad(to_hex(:stream::bigint), 8, '0') || '-0000-4000-8000-000000000000')::uuid";
                format!(
                    "\\set stream (random(0, {}) * {SPREAD}) % 4294967296\n\
                     \\set version random(1000, 2000000000)\n\
                     SELECT version, type, data, metadata FROM events WHERE stream_id = {stream} ORDER BY version;\n\
                     {into} VALUES ({stream}, :version, 'Deposited', {data}, {metadata});\n",
                    accounts - 1
                )
            }
        }
    }

    /// Measures it, unless this run has.
    ///
    /// # Errors
    /// When pgbench cannot be run or refuses its script.
    pub async fn measure(self, run: &mut Run<'_>) -> anyhow::Result<()> {
        if run.has(self.figure()) || !run.options().limits {
            return Ok(());
        }
        let template =
            if self == Self::Cycle { Sketch::seeded(run.options().accounts) } else { Template::Plain };
        let database = run.databases().fresh(template).await?;
        let (unit, value) = match self {
            Self::InsertAlone => (Unit::Milliseconds, self.pgbench(run, &database, 1).await?.1),
            Self::Insert | Self::Cycle => {
                (Unit::PerSecond, self.pgbench(run, &database, crate::CLIENTS).await?.0)
            }
            Self::InsertBatch => (Unit::PerSecond, self.pgbench(run, &database, 1).await?.0 * BATCH as f64),
        };
        run.record(self.figure(), unit, value);
        run.databases().remove(database).await
    }

    /// Transactions a second, and the median latency in milliseconds of a single client's.
    async fn pgbench(self, run: &Run<'_>, database: &Database, clients: usize) -> anyhow::Result<(f64, f64)> {
        let (folder, times) = (run.scratch()?, run.times());
        std::fs::write(folder.path().join(SCRIPT), self.script(run.options().accounts))?;
        let mut pgbench = Pgbench { program: run.postgres_bin().join("pgbench"), folder, database, clients };
        if times.warm_up >= LEAST_WARM_UP {
            pgbench.call(times.warm_up, false).await?;
        }
        let text = pgbench.call(times.measured, clients == 1).await?;
        let latency = if clients == 1 { median_of_logs(pgbench.folder.path())? } else { f64::NAN };
        Ok((transactions_per_second(&text)?, latency))
    }
}

/// pgbench knows whole seconds alone, so a much shorter warm-up is left out.
const LEAST_WARM_UP: Duration = Duration::from_millis(300);
const SCRIPT: &str = "limit.sql";

struct Pgbench<'a> {
    program: PathBuf,
    folder: Scratch,
    database: &'a Database,
    clients: usize,
}

impl Pgbench<'_> {
    /// Returns what it printed. `log` has it write down every latency.
    async fn call(&mut self, duration: Duration, log: bool) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(["-n", "-M", "prepared", "-j", "2", "-c", &self.clients.to_string()])
            // Whole seconds are all that it knows.
            .args(["-T", &duration.as_secs_f64().ceil().to_string(), "-f", SCRIPT])
            .args(log.then_some("-l"))
            .arg(&self.database.url)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("pgbench cannot be started")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench: {}", errors.lines().next().unwrap_or("no reason given"));
        Ok(text)
    }
}

fn transactions_per_second(text: &str) -> anyhow::Result<f64> {
    let line = text.lines().find(|line| line.starts_with("tps = ")).context("pgbench printed no tps")?;
    let number = line.split(' ').nth(2).context("pgbench printed no number of tps")?;
    Ok(number.parse()?)
}

/// The median of the latencies that pgbench wrote down, one transaction a line, in microseconds in the third column.
fn median_of_logs(folder: &Path) -> anyhow::Result<f64> {
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pgbench_log")) {
            let text = std::fs::read_to_string(&path)?;
            let columns = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok());
            latencies.extend(columns.map(Duration::from_micros));
        }
    }
    ensure!(!latencies.is_empty(), "pgbench wrote down no latencies");
    latencies.sort_unstable();
    Ok(quantile(&latencies, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_in_what_pgbench_prints() {
        let text = "number of transactions actually processed: 10\ntps = 123.456789 (without initial connection time)\n";
        assert_eq!(transactions_per_second(text).unwrap(), 123.456789);
        assert!(transactions_per_second("latency average = 1 ms").is_err());
    }
}
