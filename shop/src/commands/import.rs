//! `shop import`: brings the catalogue to what a product CSV says, over the product service's API, and receives
//! the quantities of the file once. Reading the format is the product service's work (`product_service::import`).

mod read;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

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
    Currency, DEFAULT_CURRENCY, ImportOptions, ImportedProduct, ImportedVariant, RefusedProduct, to_request,
};
use serde_json::json;
use uuid::Uuid;

use crate::config::Location;
use crate::running::{OperatorChannel, RunningShop, explain};
use read::{Item, Progress};

/// Products that are imported at the same time.
const IN_FLIGHT: usize = 16;
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
    /// Print JSON: a line for every product that changed or was refused, and a summary at the end.
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
    reply: product::ImportProductResponse,
    stock_received: u64,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    let (input, size) = open(&arguments.file)?;
    let importer = Importer::new(&shop, arguments.dry_run, arguments.with_stock).await?;
    let output = if arguments.json { Output::Json } else { Output::Text };
    let bar = progress_bar(size, output);
    let options = ImportOptions { default_currency: arguments.currency };
    let counts = importer.import(input, options, &bar, output).await?;
    bar.finish_and_clear();
    summarize(&counts, &arguments);
    Ok(u8::from(counts.refused > 0))
}

/// Imports a catalogue that is known to be right, with its stock.
/// Returns the position to wait for before any of it is ordered, as its token.
pub(super) async fn catalogue(shop: &RunningShop, csv: &'static [u8], quiet: bool) -> anyhow::Result<String> {
    let importer = Importer::new(shop, false, true).await?;
    let bar = ProgressBar::hidden();
    let counts = importer.import(Box::new(csv), ImportOptions::default(), &bar, Output::Silent).await?;
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

    async fn import(
        self,
        input: Box<dyn Read + Send>,
        options: ImportOptions,
        bar: &ProgressBar,
        output: Output,
    ) -> anyhow::Result<Counts> {
        let progress = Arc::new(Progress::default());
        let items = read::items(input, options, progress.clone());
        let importer = &self;
        let mut results = items
            .map(|item| async move {
                match item? {
                    Item::Product(product) => Ok(Ok(importer.one(*product).await?)),
                    Item::Refused(refused) => anyhow::Ok(Err(refused)),
                }
            })
            .buffer_unordered(IN_FLIGHT);
        let mut counts = Counts::default();
        while let Some(result) = results.next().await {
            bar.set_position(progress.bytes());
            match result? {
                Ok(imported) => counts.count(&imported, bar, output),
                Err(refused) => {
                    counts.refused += 1;
                    report_refused(&refused, bar, output)?;
                }
            }
        }
        Ok(counts)
    }

    async fn one(&self, product: ImportedProduct) -> anyhow::Result<Imported> {
        let request = product::ImportProductRequest {
            request_id: format!("{} {}", self.run, product.first_line),
            dry_run: self.dry_run,
            ..to_request(&product)
        };
        let handle = product.handle.clone();
        let reply = self.products.clone().import_product(request).await;
        let reply = reply.map_err(|s| explain(&s)).with_context(|| format!("product {handle}"))?.into_inner();
        let mut stock_received = 0;
        if self.with_stock {
            for variant in &product.variants {
                stock_received += self.receive(variant).await.with_context(|| format!("product {handle}"))?;
            }
        }
        Ok(Imported { handle, reply, stock_received })
    }

    /// Receives the quantity of a variant that has never had stock. Returns how much.
    async fn receive(&self, variant: &ImportedVariant) -> anyhow::Result<u64> {
        let Some(quantity) = variant.quantity.filter(|quantity| *quantity > 0) else { return Ok(0) };
        let mut inventory = self.inventory.clone();
        let known = inventory::GetStockRequest { sku: variant.sku.clone(), ..Default::default() };
        match inventory.get_stock(known).await {
            Ok(_) => return Ok(0),
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(explain(&status)),
        }
        // Two imports at the same moment have the same id, so it is received once.
        let request = inventory::ReceiveStockRequest {
            request_id: format!("import {}", variant.sku),
            sku: variant.sku.clone(),
            quantity: quantity.into(),
            reference: REFERENCE.to_owned(),
        };
        inventory.receive_stock(request).await.map_err(|status| explain(&status))?;
        Ok(quantity.into())
    }
}

impl Counts {
    fn count(&mut self, imported: &Imported, bar: &ProgressBar, output: Output) {
        use product::ImportOutcome;
        self.stock_received += imported.stock_received;
        if let Ok(position) = imported.reply.position.parse::<Position>()
            && self.reached.as_ref().is_none_or(|reached| reached.number < position.number)
        {
            self.reached = Some(position);
        }
        let outcome = imported.reply.outcome();
        *match outcome {
            ImportOutcome::Created => &mut self.created,
            ImportOutcome::Updated => &mut self.updated,
            ImportOutcome::Unchanged | ImportOutcome::Unspecified => &mut self.unchanged,
        } += 1;
        let reply = &imported.reply;
        if output == Output::Json && outcome != ImportOutcome::Unchanged {
            let line = json!({
                "handle": imported.handle, "outcome": outcome.as_str_name(), "productId": reply.product_id,
                "changedFields": reply.changed_fields, "pricesChanged": reply.prices_changed,
                "variantsAdded": reply.variants_added, "notes": reply.notes,
            });
            println!("{line}");
        }
        if output == Output::Text {
            for note in &reply.notes {
                bar.suspend(|| println!("{}: {note}", imported.handle));
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

fn report_refused(refused: &RefusedProduct, bar: &ProgressBar, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", json!({ "handle": refused.handle, "outcome": "REFUSED", "refused": refused }));
        return Ok(());
    }
    // A refused product is said whatever the output: it is missing afterwards.
    bar.suspend(|| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{refused}")?;
        for error in &refused.errors {
            writeln!(out, "  {error}")?;
        }
        Ok(())
    })
}

fn summarize(counts: &Counts, arguments: &Arguments) {
    let Counts { created, updated, unchanged, refused, stock_received, .. } = counts;
    if arguments.json {
        let line = json!({
            "created": created, "updated": updated, "unchanged": unchanged, "refused": refused,
            "stockReceived": stock_received, "dryRun": arguments.dry_run,
        });
        println!("{line}");
        return;
    }
    let would = if arguments.dry_run { "would be " } else { "" };
    println!(
        "{created} products {would}created, {updated} {would}updated, {unchanged} unchanged, {refused} refused."
    );
    if arguments.with_stock {
        println!("{stock_received} pieces received.");
    }
}
