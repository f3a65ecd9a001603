//! `shop import`: brings the catalogue to what a product CSV says, over the product service's API, and receives
//! the quantities of the file once. Reading the format is the product service's work (`product_service::import`).

mod read;
mod refusal;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use contracts::shop::inventory::v1 as inventory;
use contracts::shop::product::v1 as product;
use eventsourcing::Position;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use inventory::inventory_service_client::InventoryServiceClient;
use product::product_service_client::ProductServiceClient;
use product_service::import::{
    Currency, DEFAULT_CURRENCY, ImportOptions, ImportedProduct, ImportedVariant, to_request,
};
use serde_json::json;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::config::Location;
use crate::running::{OperatorChannel, RunningShop, explain};
use read::{Item, Progress};
use refusal::{Refusal, ShopRefusal, answers_one_product};

/// Products that are imported at the same time.
const IN_FLIGHT: usize = 16;
/// Refused products that are printed with their reasons, as text; further ones are counted. JSON has them all.
const MAX_REFUSALS_PRINTED: u64 = 200;
/// How often a product is tried while the shop is too busy for it or cannot reach its database.
const MAX_ATTEMPTS: u32 = 5;
/// How long an import waits between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);
/// The reference on receipts of stock.
const REFERENCE: &str = "import";

#[derive(Debug, Args)]
pub struct Arguments {
    /// The CSV file, `-` for standard input.
    file: PathBuf,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// The currency of prices that the file gives no currency for.
    #[arg(long, default_value_t = DEFAULT_CURRENCY)]
    currency: Currency,
    /// Receive the quantities of the file for every SKU that has never had stock.
    #[arg(long, conflicts_with = "dry_run")]
    with_stock: bool,
    /// Print JSON: a line for every product that changed or was refused, and a summary at the end, which says in
    /// `complete` whether the whole file was gone through.
    #[arg(long)]
    json: bool,
}

/// How an import says what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Text,
    Json,
    Silent,
}

/// What an import did.
#[derive(Default)]
struct Counts {
    created: u64,
    updated: u64,
    unchanged: u64,
    /// Whole, or in some of its stock; then it is among the others too.
    refused: u64,
    stock_received: u64,
    /// How far the catalogue's log has come with it.
    reached: Option<Position>,
}

/// Everything that the products of one run need.
#[derive(Clone)]
struct Importer {
    products: ProductServiceClient<OperatorChannel>,
    inventory: InventoryServiceClient<OperatorChannel>,
    run: Uuid,
    dry_run: bool,
    with_stock: bool,
}

/// What became of one product.
struct Imported {
    handle: String,
    /// None when it is refused.
    reply: Option<product::ImportProductResponse>,
    stock_received: u64,
    refusals: Vec<Refusal>,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    let (input, size) = open(&arguments.file)?;
    let importer = Importer::new(&shop, arguments.dry_run, arguments.with_stock).await?;
    let output = if arguments.json { Output::Json } else { Output::Text };
    let bar = progress_bar(size, output);
    let options = ImportOptions { default_currency: arguments.currency };
    let mut counts = Counts::default();
    let ended = importer.import(input, options, &bar, output, &mut counts).await;
    bar.finish_and_clear();
    summarize(&counts, &arguments, ended.is_ok());
    ended?;
    Ok(u8::from(counts.refused > 0))
}

/// Imports a catalogue that is known to be right, with its stock.
/// Returns the position to wait for before any of it is ordered, as its token.
pub(super) async fn catalogue(shop: &RunningShop, csv: &'static [u8], quiet: bool) -> anyhow::Result<String> {
    let importer = Importer::new(shop, false, true).await?;
    let bar = ProgressBar::hidden();
    let mut counts = Counts::default();
    importer.import(Box::new(csv), ImportOptions::default(), &bar, Output::Silent, &mut counts).await?;
    if counts.refused > 0 {
        bail!("{} products of the sample catalogue were refused", counts.refused);
    }
    let Counts { created, updated, unchanged, reached, .. } = counts;
    if !quiet {
        println!("Sample catalogue: {created} products created, {updated} updated, {unchanged} unchanged.\n");
    }
    Ok(reached.map(|position| position.to_string()).unwrap_or_default())
}

impl Importer {
    async fn new(shop: &RunningShop, dry_run: bool, with_stock: bool) -> anyhow::Result<Self> {
        Ok(Self {
            products: ProductServiceClient::new(shop.channel("product").await?),
            inventory: InventoryServiceClient::new(shop.channel("inventory").await?),
            run: Uuid::now_v7(),
            dry_run,
            with_stock,
        })
    }

    /// Imports product by product, in the order of the file. A product that is refused is reported and counted.
    ///
    /// # Errors
    /// When the file cannot be read any further, or the shop does not answer for one product: with the line to go
    /// on from. `counts` holds what was done before.
    async fn import(
        self,
        input: Box<dyn Read + Send>,
        options: ImportOptions,
        bar: &ProgressBar,
        output: Output,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        let progress = Arc::new(Progress::default());
        let items = read::items(input, options, progress.clone());
        let importer = &self;
        // In the file's order, so that the first product that cannot be imported has only finished ones before it.
        let mut results = items
            .map(|item| async move {
                match item? {
                    Item::Product(product) => importer.one(&product).await,
                    Item::Refused(refused) => Ok(Imported::refused(Refusal::ByFile(refused))),
                }
            })
            .buffered(IN_FLIGHT);
        while let Some(result) = results.next().await {
            bar.set_position(progress.bytes());
            counts.count(&result?, bar, output);
        }
        Ok(())
    }

    async fn one(&self, product: &ImportedProduct) -> anyhow::Result<Imported> {
        let ends_here = || {
            format!(
                "the import ends at product {:?}, line {}: all products before it are done. Import the file again \
                 to go on from there, what is done is found unchanged",
                product.handle, product.first_line
            )
        };
        let request = product::ImportProductRequest {
            request_id: format!("{} {}", self.run, product.first_line),
            dry_run: self.dry_run,
            ..to_request(product)
        };
        let reply = attempts(async || {
            let mut products = self.products.clone();
            products.import_product(request.clone()).await
        });
        let reply = match reply.await {
            Ok(reply) => reply.into_inner(),
            Err(status) if answers_one_product(&status) => {
                return Ok(Imported::refused(Refusal::ByShop(ShopRefusal::of_product(product, &status))));
            }
            Err(status) => return Err(explain(&status)).with_context(ends_here),
        };
        let mut imported = Imported {
            handle: product.handle.clone(),
            reply: Some(reply),
            stock_received: 0,
            refusals: Vec::new(),
        };
        for variant in product.variants.iter().filter(|_| self.with_stock) {
            match attempts(async || self.receive(variant).await).await {
                Ok(received) => imported.stock_received += received,
                Err(status) if answers_one_product(&status) => {
                    let refusal = ShopRefusal::of_stock(product, variant.line, &status);
                    imported.refusals.push(Refusal::ByShop(refusal));
                }
                Err(status) => return Err(explain(&status)).with_context(ends_here),
            }
        }
        Ok(imported)
    }

    /// Receives the quantity of a variant that has never had stock. Returns how much.
    async fn receive(&self, variant: &ImportedVariant) -> Result<u64, Status> {
        let Some(quantity) = variant.quantity.filter(|quantity| *quantity > 0) else { return Ok(0) };
        let mut inventory = self.inventory.clone();
        let known = inventory::GetStockRequest { sku: variant.sku.clone(), ..Default::default() };
        match inventory.get_stock(known).await {
            Ok(_) => return Ok(0),
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status),
        }
        // Two imports at the same moment have the same id, so it is received once.
        let request = inventory::ReceiveStockRequest {
            request_id: format!("import {}", variant.sku),
            sku: variant.sku.clone(),
            quantity: quantity.into(),
            reference: REFERENCE.to_owned(),
        };
        inventory.receive_stock(request).await?;
        Ok(quantity.into())
    }
}

/// Makes a call again that the shop could not take at that moment. Its request id makes that safe.
async fn attempts<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let mut attempt = 1;
    loop {
        match call().await {
            Err(status)
                if attempt < MAX_ATTEMPTS && matches!(status.code(), Code::Unavailable | Code::Aborted) =>
            {
                attempt += 1;
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            result => return result,
        }
    }
}

impl Imported {
    fn refused(refusal: Refusal) -> Self {
        let handle = refusal.handle().to_owned();
        Self { handle, reply: None, stock_received: 0, refusals: vec![refusal] }
    }
}

impl Counts {
    fn count(&mut self, imported: &Imported, bar: &ProgressBar, output: Output) {
        self.stock_received += imported.stock_received;
        if let Some(reply) = &imported.reply {
            self.count_reply(&imported.handle, reply, bar, output);
        }
        if !imported.refusals.is_empty() {
            self.refused += 1;
        }
        for refusal in &imported.refusals {
            report_refusal(refusal, self.refused, bar, output);
        }
    }

    fn count_reply(
        &mut self,
        handle: &str,
        reply: &product::ImportProductResponse,
        bar: &ProgressBar,
        output: Output,
    ) {
        use product::ImportOutcome;
        if let Ok(position) = reply.position.parse::<Position>()
            && self.reached.as_ref().is_none_or(|reached| reached.number < position.number)
        {
            self.reached = Some(position);
        }
        let outcome = reply.outcome();
        *match outcome {
            ImportOutcome::Created => &mut self.created,
            ImportOutcome::Updated => &mut self.updated,
            ImportOutcome::Unchanged | ImportOutcome::Unspecified => &mut self.unchanged,
        } += 1;
        if output == Output::Json && outcome != ImportOutcome::Unchanged {
            let line = json!({
                "handle": handle, "outcome": outcome.as_str_name(), "productId": reply.product_id,
                "changedFields": reply.changed_fields, "pricesChanged": reply.prices_changed,
                "variantsAdded": reply.variants_added, "notes": reply.notes,
            });
            println!("{line}");
        }
        if output == Output::Text {
            for note in &reply.notes {
                bar.suspend(|| println!("{handle}: {note}"));
            }
        }
    }
}

fn open(path: &PathBuf) -> anyhow::Result<(Box<dyn Read + Send>, u64)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(std::io::stdin()), 0));
    }
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    Ok((Box::new(file), size))
}

/// Progress goes to standard error, and only to a person.
fn progress_bar(size: u64, output: Output) -> ProgressBar {
    if output != Output::Text || size == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}%  {bytes}/{total_bytes}  {eta} left");
    ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A refused product is said whatever the output: it is missing afterwards. `number` counts the refused ones.
fn report_refusal(refusal: &Refusal, number: u64, bar: &ProgressBar, output: Output) {
    if output == Output::Json {
        println!("{}", json!({ "handle": refusal.handle(), "outcome": "REFUSED", "refused": refusal }));
    } else if number <= MAX_REFUSALS_PRINTED {
        bar.suspend(|| println!("{refusal}"));
    }
}

fn summarize(counts: &Counts, arguments: &Arguments, complete: bool) {
    let Counts { created, updated, unchanged, refused, stock_received, .. } = counts;
    if arguments.json {
        let line = json!({
            "created": created, "updated": updated, "unchanged": unchanged, "refused": refused,
            "stockReceived": stock_received, "dryRun": arguments.dry_run, "complete": complete,
        });
        println!("{line}");
        return;
    }
    if let Some(more @ 1..) = refused.checked_sub(MAX_REFUSALS_PRINTED) {
        println!("{more} more products are refused; `--json` prints them all.");
    }
    let would = if arguments.dry_run { "would be " } else { "" };
    println!(
        "{created} products {would}created, {updated} {would}updated, {unchanged} unchanged, {refused} refused."
    );
    if arguments.with_stock {
        println!("{stock_received} pieces received.");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Calls that fail with `code` before the one numbered `good`. Returns how many were made, and how it ended.
    async fn calls(code: Code, good: u32) -> (u32, Result<(), Code>) {
        let made = AtomicU32::new(0);
        let result = attempts(async || {
            let number = made.fetch_add(1, Ordering::Relaxed) + 1;
            if number < good { Err(Status::new(code, "")) } else { Ok(()) }
        });
        let result = result.await.map_err(|status| status.code());
        (made.load(Ordering::Relaxed), result)
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_busy_shop_turns_away_is_tried_again_a_few_times_and_nothing_else_is() {
        for code in [Code::Unavailable, Code::Aborted] {
            assert_eq!(calls(code, MAX_ATTEMPTS).await, (MAX_ATTEMPTS, Ok(())));
            assert_eq!(calls(code, u32::MAX).await, (MAX_ATTEMPTS, Err(code)));
        }
        for code in [Code::FailedPrecondition, Code::PermissionDenied, Code::Internal] {
            assert_eq!(calls(code, u32::MAX).await, (1, Err(code)));
        }
    }
}
