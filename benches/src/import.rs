//! Catalogues of 100,000 rows into an empty shop and out again, by the shop's own command line: rows in a second, and the
//! most memory that the command and the shop's process took.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::figures::Unit;
use crate::run::Run;
use crate::shop::{Data, Shop, peak_mib};

/// Rows of each file.
const ROWS: usize = 100_000;
/// Shapes of a file by their rows in a product: the slow one, in which each row is a product of its own, and one with
/// variants.
pub const SHAPES: [(&str, usize); 2] = [("1 row a product", 1), ("5 rows a product", 5)];
/// Pause between two looks at the command's memory.
const LOOK: Duration = Duration::from_millis(20);

/// The first import, a repetition that changes nothing, a dry run of it, and an export.
pub async fn import(run: &mut Run<'_>) -> anyhow::Result<()> {
    for (shape, rows) in SHAPES {
        let scratch = run.scratch()?;
        let file = scratch.path().join("catalogue.csv");
        std::fs::write(&file, catalogue(rows)?)?;
        let data = Data::new()?;
        let program = run.shop()?;
        let shop = Shop::start(program, &data).await?;
        let file = file.to_str().context("the path is no text")?;
        let out = scratch.path().join("exported.csv");
        let out = out.to_str().context("the path is no text")?;
        for (name, arguments) in [
            ("first", &["import", file][..]),
            ("again", &["import", file]),
            ("dry run", &["import", "--dry-run", file]),
            ("export", &["export", out]),
        ] {
            let (took, peak) = command(program, &data, arguments).await?;
            let name = if name == "export" { name.to_owned() } else { format!("import/{name}") };
            run.record(format!("{name}, {shape}"), Unit::PerSecond, ROWS as f64 / took.as_secs_f64());
            run.record(format!("{name}, {shape}, memory of the command"), Unit::Mebibytes, peak);
        }
        run.record(format!("import/{shape}, memory of the shop"), Unit::Mebibytes, shop.peak_mib()?);
        shop.stop().await?;
    }
    Ok(())
}

/// A file with so many rows a product.
fn catalogue(rows: usize) -> anyhow::Result<String> {
    let mut text =
        String::from("Handle,Title,Body (HTML),Vendor,Tags,Option1 Name,Option1 Value,SKU,Price,Status\n");
    for n in 0..ROWS {
        let (product, variant) = (n / rows, n % rows);
        if variant == 0 {
            write!(
                text,
                "p-{product},Product {product},\"<p>Number {product}, one of many that nobody needs.</p>\",Vendor,\
                 \"a, b\",Size,"
            )?;
        } else {
            write!(text, "p-{product},,,,,,")?;
        }
        writeln!(text, "{variant},SKU-{n},{}.50,{}", n % 90, if variant == 0 { "active" } else { "" })?;
    }
    Ok(text)
}

/// Runs a command of the shop. Returns how long it took, and the most memory that it had, in MiB.
async fn command(program: &Path, data: &Data, arguments: &[&str]) -> anyhow::Result<(Duration, f64)> {
    let mut command = Command::new(program);
    command.args(arguments).env("STORELINE_DATA", data.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let mut process = command.kill_on_drop(true).spawn()?;
    let mut peak = 0.0_f64;
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        // It may end between the two.
        peak = process.id().and_then(|id| peak_mib(id).ok()).map_or(peak, |mib| mib.max(peak));
        tokio::time::sleep(LOOK).await;
    };
    ensure!(status.success(), "{arguments:?}: {status}");
    Ok((begun.elapsed(), peak))
}
