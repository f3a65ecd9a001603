//! What writers notice of a read model that is made anew: the same load alone, and while one rebuild follows another. That
//! readers notice nothing is a matter of tests and not measured.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use tokio::process::Command;

use crate::event_log::CLIENTS;
use crate::figures::Unit;
use crate::load::{Measured, closed_loop};
use crate::run::Run;
use crate::shop::{Data, Shop, product};

/// The model that this load writes.
const MODEL: &str = "product.read-model";
/// Products that are there before, so that there is something to make anew.
const HISTORY: usize = 3_000;

/// Products created over REST, alone and beside rebuilds of their read model.
pub async fn rebuild(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (program, data) = (run.shop()?, Data::new()?);
    let shop = Arc::new(Shop::start(program, &data).await?);
    let numbers = Arc::new(AtomicUsize::new(0));
    let history = futures::stream::iter(0..HISTORY).map(|_| create(&shop, &numbers));
    history.buffer_unordered(CLIENTS).try_collect::<Vec<()>>().await?;

    let alone = write(run, &shop, &numbers).await?;
    let beside = tokio::select! {
        measured = write(run, &shop, &numbers) => measured?,
        ended = rebuild_again_and_again(program, &data) => return ended,
    };
    // It may have come to its end just now.
    command(program, &data, &["--abandon"]).await?;
    for (name, measured) in [("alone", alone), ("beside rebuilds", beside)] {
        run.record(format!("rebuild/writes {name}"), Unit::PerSecond, measured.per_second);
        run.record(format!("rebuild/writes {name}, p99"), Unit::Milliseconds, measured.quantile(0.99));
    }
    Arc::into_inner(shop).context("a product is still being created")?.stop().await
}

async fn write(run: &Run<'_>, shop: &Arc<Shop>, numbers: &Arc<AtomicUsize>) -> anyhow::Result<Measured> {
    let (shop, numbers) = (Arc::clone(shop), Arc::clone(numbers));
    closed_loop(run.times(), CLIENTS, move |_, _| {
        let (shop, numbers) = (Arc::clone(&shop), Arc::clone(&numbers));
        async move { create(&shop, &numbers).await }
    })
    .await
}

async fn create(shop: &Shop, numbers: &AtomicUsize) -> anyhow::Result<()> {
    shop.operate("/v1/products", &product(numbers.fetch_add(1, Ordering::Relaxed))).await?;
    Ok(())
}

/// Ends with an error only.
async fn rebuild_again_and_again(program: &Path, data: &Data) -> anyhow::Result<()> {
    while command(program, data, &[]).await? {}
    bail!("a rebuild failed")
}

/// Whether it went well.
async fn command(program: &Path, data: &Data, arguments: &[&str]) -> anyhow::Result<bool> {
    let mut command = Command::new(program);
    command.args(["rebuild", MODEL]).args(arguments).env("STORELINE_DATA", data.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    Ok(command.status().await?.success())
}
