//! `shop import`: brings the catalogue to what a product CSV says, over the product service's API, and receives
//! the quantities of the file once. Reading the format is the product service's work (`product_service::import`).

mod journal;
mod line;
mod read;
mod refusal;
mod report;

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use contracts::shop::inventory::v1 as inventory;
use contracts::shop::product::v1 as product;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use inventory::inventory_service_client::InventoryServiceClient;
use product::product_service_client::ProductServiceClient;
use product_service::import::{Currency, DEFAULT_CURRENCY, FileError, ImportOptions, ImportedVariant};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::config::Location;
use crate::data_folder::DataFolder;
use crate::running::{OperatorChannel, RunningShop, explain};
use journal::{Journal, Key};
use line::Line;
use read::{Item, Product, Progress};
use refusal::{Refusal, ShopRefusal, answers_one_product};
use report::{Counts, Imported, Output, Report};

/// Products that are imported at the same time: some more than the shop takes of one stream, so that it never waits for
/// the next.
const IN_FLIGHT: usize = 384;
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
    /// Begin at the first row, also when an import of this file was interrupted and could go on.
    #[arg(long)]
    from_start: bool,
    /// Print JSON: a line for every product that changed or was refused, and a summary at the end, which says in
    /// `complete` whether the whole file was gone through.
    #[arg(long)]
    json: bool,
}

/// Everything that the products of one run need.
#[derive(Clone)]
struct Importer {
    products: Line,
    inventory: InventoryServiceClient<OperatorChannel>,
    run: Uuid,
    dry_run: bool,
    with_stock: bool,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    let mut source = Source::open(&arguments.file)?;
    let mut importer = Importer::new(&shop, arguments.dry_run, arguments.with_stock).await?;
    let journal = match &mut source {
        Source::File(file, _) if !arguments.dry_run => {
            let key = Key::of(file, arguments.currency, arguments.with_stock)?;
            let folder = match &location.cluster {
                None => DataFolder::attach(&location.data)?,
                Some(cluster) => DataFolder::beside(location.data.join(cluster.name()))?,
            };
            let before = Journal::find(&folder, &key).filter(|_| !arguments.from_start);
            let before = match before {
                Some(before) if importer.shop_has(&before.reached).await => Some(before),
                _ => None,
            };
            Some(Journal::begin(folder, key, before).await?)
        }
        _ => None,
    };
    let output = if arguments.json { Output::Json } else { Output::Text };
    let options = ImportOptions { default_currency: arguments.currency };
    let before = journal.as_ref().map(|journal| journal.progress().clone());
    let counted = before.as_ref().map(|before| before.counts).unwrap_or_default();
    let bar = progress_bar(source.size(), output);
    let mut report = Report::new(counted, arguments.dry_run, output, bar);
    if let Some(before) = before {
        importer.run = before.run;
        if before.line > 0 {
            report.say_resumed(&arguments.file, before.line);
        }
    }
    let ended = importer.import(source.into_reader(), options, journal, &mut report).await;
    report.summarize(arguments.with_stock, ended.is_ok());
    ended?;
    Ok(u8::from(report.counts.refused > 0))
}

/// Imports a catalogue that is known to be right, with its stock.
/// Returns the position to wait for before any of it is ordered, as its token.
pub(super) async fn catalogue(
    shop: &RunningShop<'_>,
    csv: &'static [u8],
    quiet: bool,
) -> anyhow::Result<String> {
    let importer = Importer::new(shop, false, true).await?;
    let mut report = Report::new(Counts::default(), false, Output::Silent, ProgressBar::hidden());
    importer.import(Box::new(csv), ImportOptions::default(), None, &mut report).await?;
    let Counts { created, updated, unchanged, refused, .. } = report.counts;
    if refused > 0 {
        bail!("{refused} products of the sample catalogue were refused");
    }
    if !quiet {
        println!("Sample catalogue: {created} products created, {updated} updated, {unchanged} unchanged.\n");
    }
    Ok(report.reached.map(|position| position.to_string()).unwrap_or_default())
}

impl Importer {
    async fn new(shop: &RunningShop<'_>, dry_run: bool, with_stock: bool) -> anyhow::Result<Self> {
        Ok(Self {
            products: Line::new(ProductServiceClient::new(shop.channel("product").await?)),
            inventory: InventoryServiceClient::new(shop.channel("inventory").await?),
            run: Uuid::now_v7(),
            dry_run,
            with_stock,
        })
    }

    /// Whether the shop's catalogue has come as far as this position, so that what was imported up to it is there: not
    /// if it was restored from before, or is another one.
    async fn shop_has(&self, position: &str) -> bool {
        let request = product::ListProductsRequest {
            page_size: 1,
            min_position: position.to_owned(),
            ..Default::default()
        };
        // After a crash the read model may take its time to come as far as the log.
        let read = attempts(async || self.products.client().list_products(request.clone()).await);
        read.await.is_ok()
    }

    /// Imports product by product, in the order of the file. A product that is refused is reported and counted.
    ///
    /// # Errors
    /// When the file cannot be read any further, or the shop does not answer for one product: with the line to go
    /// on from. `report` has what was done before.
    async fn import(
        self,
        input: Box<dyn Read + Send>,
        options: ImportOptions,
        mut journal: Option<Journal>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let ended = self.import_all(input, options, &mut journal, report).await;
        if let Some(journal) = journal {
            match &ended {
                Err(error) if !error.is::<FileError>() => journal.keep(report.reached.as_ref()).await?,
                // A file that cannot be read any further is not gone on with, another one may be made of it.
                _ => journal.remove()?,
            }
        }
        ended
    }

    async fn import_all(
        &self,
        input: Box<dyn Read + Send>,
        options: ImportOptions,
        journal: &mut Option<Journal>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let progress = Arc::new(Progress::default());
        let done = journal.as_ref().map_or(0, |journal| journal.progress().line);
        let items = read::items(input, options, done, progress.clone());
        // In the file's order, so that the first product that cannot be imported has only finished ones before it.
        let mut results = items
            .map(|item| async move {
                match item? {
                    Item::Product(product) => self.one(*product).await,
                    Item::Refused(refused) => Ok(Imported::refused(Refusal::ByFile(refused))),
                }
            })
            .buffered(IN_FLIGHT);
        while let Some(result) = results.next().await {
            report.read(progress.bytes());
            let imported = result?;
            report.add(&imported);
            if let Some(journal) = journal {
                journal.note(imported.last_line, report.counts, report.reached.as_ref()).await?;
            }
        }
        Ok(())
    }

    async fn one(&self, product: Product) -> anyhow::Result<Imported> {
        let Product { read, mut request, .. } = product;
        let ends_here = || {
            format!(
                "the import ends at product {:?}, line {}: all products before it are done. Import the file again \
                 to go on from there",
                read.handle, read.first_line
            )
        };
        request.request_id = format!("{} {}", self.run, read.first_line);
        request.validate_only = self.dry_run;
        let reply = match attempts(async || self.products.import(request.clone()).await).await {
            Ok(reply) => reply,
            Err(status) if answers_one_product(&status) => {
                return Ok(Imported::refused(Refusal::ByShop(ShopRefusal::of_product(&read, &status))));
            }
            Err(status) => return Err(explain(&status)).with_context(ends_here),
        };
        let mut imported = Imported {
            handle: read.handle.clone(),
            last_line: read.last_line,
            reply: Some(reply),
            stock_received: 0,
            refusals: Vec::new(),
        };
        for variant in read.variants.iter().filter(|_| self.with_stock) {
            match attempts(async || self.receive(variant).await).await {
                Ok(received) => imported.stock_received += received,
                Err(status) if answers_one_product(&status) => {
                    let refusal = ShopRefusal::of_stock(&read, variant.line, &status);
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

/// What is read.
enum Source {
    /// Something that can be read twice, and how long it is.
    File(File, u64),
    Stream(Box<dyn Read + Send>),
}

impl Source {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stream(Box::new(std::io::stdin())));
        }
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        let metadata = file.metadata().with_context(|| format!("{} cannot be read", path.display()))?;
        if metadata.is_file() {
            Ok(Self::File(file, metadata.len()))
        } else {
            Ok(Self::Stream(Box::new(file)))
        }
    }

    /// In bytes; 0 when it is not known.
    fn size(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Stream(_) => 0,
        }
    }

    fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::File(file, _) => Box::new(file),
            Self::Stream(stream) => stream,
        }
    }
}

/// Progress goes to standard error, and only to a person.
fn progress_bar(size: u64, output: Output) -> ProgressBar {
    if output != Output::Text || size == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}%  {bytes}/{total_bytes}  {eta} left");
    ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
