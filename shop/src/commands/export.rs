//! `shop export`: writes the catalogue as it is at one moment, in the format that `shop import` reads. A file is
//! complete or not there: it is written beside its place and put there at the end.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use contracts::shop::product::v1 as product;
use indicatif::{ProgressBar, ProgressStyle};
use product::product_service_client::ProductServiceClient;
use product_service::import::ProductWriter;
use product_service::import::limits::MAX_ROWS;
use tonic::Streaming;
use tonic_types::StatusExt;

use crate::config::Location;
use crate::running::{OperatorChannel, RunningShop, explain};

/// Longest time that an export waits for the read model, which follows a large import by minutes.
const CATCH_UP: Duration = Duration::from_secs(10 * 60);
/// Pause before the shop is asked again; it has waited some seconds itself.
const PAUSE: Duration = Duration::from_secs(1);
/// The reason by which the shop says that its read model lacks something of the log.
const BEHIND: &str = "READ_MODEL_BEHIND";
/// Largest message that is taken: the shop sends products by the megabyte, and a single one may be larger.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The CSV file to write, `-` for standard output.
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// What was written.
struct Written {
    products: u64,
    rows: u64,
    position: String,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    if arguments.file.as_os_str() == "-" {
        write(&shop, BufWriter::new(std::io::stdout()), &ProgressBar::hidden()).await?;
        return Ok(0);
    }
    let target = Target::beside(&arguments.file)?;
    let bar = progress_bar();
    let written = write(&shop, BufWriter::new(&target.file), &bar).await;
    bar.finish_and_clear();
    let Written { products, rows, position } = written?;
    target.put(&arguments.file)?;
    println!("{products} products in {rows} rows, as of position {position}.");
    if rows > MAX_ROWS {
        println!("An import takes at most {MAX_ROWS} rows: split the file before it is imported.");
    }
    Ok(0)
}

/// Writes the whole catalogue.
async fn write(shop: &RunningShop<'_>, output: impl Write, bar: &ProgressBar) -> anyhow::Result<Written> {
    let client = ProductServiceClient::new(shop.channel("product").await?);
    let mut client = client.max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut pages = begin(&mut client, bar).await?;
    let mut writer = ProductWriter::new(output)?;
    let mut written = Written { products: 0, rows: 0, position: String::new() };
    let mut expected = None;
    while let Some(page) = pages.message().await.map_err(|status| explain(&status))? {
        let total = *expected.get_or_insert(u64::try_from(page.total_size).unwrap_or_default());
        for product in &page.products {
            writer.write(product)?;
        }
        written.products += page.products.len() as u64;
        written.position = page.position;
        bar.set_length(total);
        bar.set_position(written.products);
    }
    if expected != Some(written.products) {
        bail!("the shop broke off after {} products: export again", written.products);
    }
    written.rows = writer.rows();
    writer.finish()?.flush().context("the file cannot be written")?;
    Ok(written)
}

/// Asks for the catalogue, and again as long as the read model is behind the log.
async fn begin(
    client: &mut ProductServiceClient<OperatorChannel>,
    bar: &ProgressBar,
) -> anyhow::Result<Streaming<product::ExportProductsResponse>> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let refused = match client.export_products(product::ExportProductsRequest::default()).await {
            Ok(pages) => return Ok(pages.into_inner()),
            Err(status) => status,
        };
        let is_behind = refused.get_error_details().error_info().is_some_and(|info| info.reason == BEHIND);
        if !is_behind || begun.elapsed() > CATCH_UP {
            return Err(explain(&refused));
        }
        if !told {
            let waits = "Waits for the read model, which is behind the log, as after a large import.";
            // Not to standard output, which may be the file.
            bar.suspend(|| writeln!(std::io::stderr(), "{waits}"))?;
            told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A file that is not in its place yet. It goes when it is dropped before.
struct Target {
    file: File,
    path: PathBuf,
}

impl Target {
    fn beside(path: &Path) -> anyhow::Result<Self> {
        let mut name = path.file_name().context("a file has a name")?.to_owned();
        name.push(".part");
        let path = path.with_file_name(name);
        let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { file, path })
    }

    /// Replaces what is in its place.
    fn put(self, place: &Path) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("{} cannot be written", self.path.display()))?;
        std::fs::rename(&self.path, place).with_context(|| format!("{} cannot be written", place.display()))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // After it was put in its place there is none of this name.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Progress goes to standard error, and only to a person.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}%  {pos}/{len} products  {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
