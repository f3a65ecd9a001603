//! The same work with other libraries, which live in a program of their own (benches/peers), so that nothing of them
//! reaches the product. Here it is called, and what it prints becomes figures.

use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use crate::databases::Database;
use crate::figures::Unit;
use crate::run::Run;

pub const LIBRARIES: [&str; 3] = ["postgres-es", "disintegrate", "esrs"];
const WORKS: [&str; 4] = ["w1", "w2", "w3", "w4"];

/// W1 to W4 with each library. One that fails is named, and the others go on.
pub async fn peers(run: &mut Run<'_>) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for library in LIBRARIES {
        if let Err(error) = fill(run, library).await {
            failures.push(format!("{library}: {error:#}"));
            continue;
        }
        for work in WORKS {
            if let Err(error) = measure(run, library, work).await {
                failures.push(format!("{library} {work}: {error:#}"));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!(failures.join("; ")) }
}

/// Has the library fill a database with its own means, once for all runs.
async fn fill(run: &Run<'_>, library: &'static str) -> anyhow::Result<()> {
    let mut filled = run.setup().peer_databases.lock().await;
    if !filled.contains_key(library) {
        let database = run.databases().empty(&library.replace('-', "_")).await?;
        call(run, library, "create", &database).await?;
        filled.insert(library, database);
    }
    Ok(())
}

async fn measure(run: &mut Run<'_>, library: &'static str, work: &str) -> anyhow::Result<()> {
    let database = {
        let filled = run.setup().peer_databases.lock().await;
        run.databases().copy_of(filled.get(library).context("it was filled")?, false).await?
    };
    let text = call(run, library, work, &database).await?;
    for line in text.lines() {
        let (name, value) = line.split_once('\t').with_context(|| format!("`{line}` is no figure"))?;
        run.record(format!("peer/{library}/{name}"), unit(name), value.parse()?);
    }
    run.databases().remove(database).await
}

fn unit(name: &str) -> Unit {
    match name {
        "append" | "command" | "hot" | "replay" | "full speed" => Unit::PerSecond,
        "delay p50" | "delay p99" => Unit::Milliseconds,
        _ => Unit::Count,
    }
}

async fn call(run: &Run<'_>, library: &str, work: &str, database: &Database) -> anyhow::Result<String> {
    let program = run.setup().peers.as_deref();
    let program = program.context("STORELINE_PEERS_BIN is not set: run `cargo xtask bench --peers`")?;
    let output = Command::new(program)
        .args([library, work, &database.url, &run.times().measured.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", errors.lines().next().unwrap_or("no reason given"));
    Ok(String::from_utf8(output.stdout)?)
}
