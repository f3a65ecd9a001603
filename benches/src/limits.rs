//! What the same machine reaches without us: pgbench on plain tables, in the same run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use sqlx::{Connection, Executor, PgConnection};

use crate::Environment;
use crate::ledger::{self, fresh_database};
use crate::load::MEASURED;

/// Transactions of pgbench.
pub struct Limits {
    /// One row of the events' size a transaction, 32 clients.
    pub insert: f64,
    /// The same with one client: its latency in milliseconds.
    pub insert_alone_ms: f64,
    /// Read 20 rows and append one, 32 clients, in plain SQL.
    pub cycle: f64,
}

/// Streams and events for the read-decide-append limit, as in our own measurement.
const STREAMS: i64 = 10_000;
const PER_STREAM: i64 = 20;

pub async fn measure(environment: &Environment) -> anyhow::Result<Limits> {
    let url = fresh_database(&environment.server, "bench_limits").await?;
    let mut connection = PgConnection::connect(&url).await?;
    let (data, metadata) = (literal(&ledger::sample_data()), literal(ledger::SAMPLE_METADATA));
    let schema = format!(
        "CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream uuid NOT NULL,
             version bigint NOT NULL, data jsonb NOT NULL, metadata jsonb NOT NULL, UNIQUE (stream, version));
         CREATE TABLE streams (n bigint PRIMARY KEY, stream uuid NOT NULL);
         INSERT INTO streams SELECT n, gen_random_uuid() FROM generate_series(1, {STREAMS}) n;
         INSERT INTO plain (stream, version, data, metadata)
             SELECT stream, v, {data}, {metadata} FROM streams, generate_series(1, {PER_STREAM}) v;
         VACUUM ANALYZE plain;"
    );
    for statement in schema.split_inclusive(';') {
        connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await?;
    }
    let insert = format!(
        "INSERT INTO plain (stream, version, data, metadata) VALUES (gen_random_uuid(), 1, {data}, {metadata});\n"
    );
    // The version comes from a sequence: two clients on one stream do not fail, which only helps the limit.
    connection.execute("CREATE SEQUENCE versions START 1000").await?;
    let cycle = format!(
        "\\set n random(1, {STREAMS})\n\
         SELECT stream FROM streams WHERE n = :n \\gset\n\
         SELECT version, data FROM plain WHERE stream = :stream::uuid ORDER BY version LIMIT {PER_STREAM};\n\
         INSERT INTO plain (stream, version, data, metadata) \
         VALUES (:stream::uuid, nextval('versions'), {data}, {metadata});\n"
    );
    let bin = &environment.postgres_bin;
    let (insert_many, _) = pgbench(bin, &url, &insert, crate::CLIENTS)?;
    let (_, insert_alone_ms) = pgbench(bin, &url, &insert, 1)?;
    let (cycle, _) = pgbench(bin, &url, &cycle, crate::CLIENTS)?;
    Ok(Limits { insert: insert_many, insert_alone_ms, cycle })
}

/// JSON as an SQL literal.
fn literal(json: &str) -> String {
    format!("'{}'", json.replace('\'', "''"))
}

/// Runs a script; returns transactions per second and the average latency in milliseconds.
fn pgbench(bin: &Path, url: &str, script: &str, clients: usize) -> anyhow::Result<(f64, f64)> {
    let file = std::env::temp_dir().join(format!("storeline-bench-{}.sql", std::process::id()));
    std::fs::write(&file, script)?;
    let output = Command::new(bin.join("pgbench"))
        .args(["-n", "-M", "prepared", "-j", "2"])
        .args(["-c", &clients.to_string(), "-T", &MEASURED.as_secs().to_string()])
        .arg("-f")
        .arg(&file)
        .arg(url)
        .output()
        .context("pgbench cannot be started")?;
    std::fs::remove_file(&file)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench: {text}{}", String::from_utf8_lossy(&output.stderr));
    let number = |name: &str| {
        let line = text.lines().find(|line| line.contains(name))?;
        line.split(['=', ' ']).filter_map(|word| word.parse::<f64>().ok()).next()
    };
    Ok((
        number("tps = ").context("pgbench printed no tps")?,
        number("latency average").context("pgbench printed no latency")?,
    ))
}
