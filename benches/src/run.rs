//! One run of the chosen workloads: what they measure with, and the figures they have measured so far. A workload that
//! fails is named and the others go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use futures::future::LocalBoxFuture;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::databases::{Database, Databases};
use crate::figures::{Figure, Figures, Unit};
use crate::load::Times;
use crate::options::Options;
use crate::shop::Data;

/// How long one workload may take in one run before it counts as failed, without its measured time.
const PATIENCE: Duration = Duration::from_secs(900);
/// The same with `--long`.
const LONG_PATIENCE: Duration = Duration::from_secs(3_600);

/// What all runs of this process share.
pub struct Setup {
    pub options: Options,
    pub databases: Databases,
    /// The folder of pgbench.
    pub postgres_bin: PathBuf,
    /// The shop's program, where it is known.
    pub shop: Option<PathBuf>,
    /// The program with the other libraries, where it is known.
    pub peers: Option<PathBuf>,
    /// Databases that other libraries have filled, by the library's name.
    pub peer_databases: Mutex<BTreeMap<&'static str, Database>>,
    /// Shops whose logs were filled, by the power of ten.
    pub grown_shops: Mutex<BTreeMap<u32, Data>>,
    /// Shops whose catalogues were filled, by the power of ten.
    pub catalogues: Mutex<BTreeMap<u32, Data>>,
}

/// A named piece of work that yields figures.
pub struct Workload {
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    pub run: for<'r> fn(&'r mut Run<'_>) -> LocalBoxFuture<'r, anyhow::Result<()>>,
}

/// One run.
pub struct Run<'a> {
    setup: &'a Setup,
    /// From 0.
    number: usize,
    figures: Figures,
}

impl<'a> Run<'a> {
    pub fn new(setup: &'a Setup, number: usize) -> Self {
        Self { setup, number, figures: Figures::new() }
    }

    /// Runs the workloads one after another. Returns the figures, and what failed with its reason.
    pub async fn all(mut self, workloads: &[&Workload]) -> (Figures, Vec<String>) {
        let mut failures = Vec::new();
        let patience = if self.setup.options.long { LONG_PATIENCE } else { PATIENCE };
        for workload in workloads {
            let ended = tokio::time::timeout(patience, (workload.run)(&mut self)).await;
            let ended = ended.unwrap_or_else(|_| Err(anyhow::anyhow!("no end within {patience:?}")));
            if let Err(error) = ended {
                println!("{} FAILED: {error:#}", workload.name);
                failures.push(format!("{} (run {}): {error:#}", workload.name, self.number + 1));
            }
        }
        (self.figures, failures)
    }

    /// Keeps a figure, and shows it.
    pub fn record(&mut self, name: impl Into<String>, unit: Unit, value: f64) {
        let (name, figure) = (name.into(), Figure { unit, value });
        println!("  {name:<48} {figure:>14}");
        self.figures.insert(name, figure);
    }

    pub fn has(&self, name: &str) -> bool {
        self.figures.contains_key(name)
    }

    pub fn databases(&self) -> &'a Databases {
        &self.setup.databases
    }

    pub fn options(&self) -> &'a Options {
        &self.setup.options
    }

    pub fn times(&self) -> Times {
        self.setup.options.times()
    }

    pub fn postgres_bin(&self) -> &'a Path {
        &self.setup.postgres_bin
    }

    /// # Errors
    /// When nobody said where it is.
    pub fn shop(&self) -> anyhow::Result<&'a Path> {
        self.setup.shop.as_deref().context("STORELINE_SHOP_BIN is not set: run `cargo xtask bench`")
    }

    pub fn setup(&self) -> &'a Setup {
        self.setup
    }

    /// Whether the sketch goes first: every other run, so that neither side always has the colder machine.
    pub fn floor_first(&self) -> bool {
        self.number % 2 == 1
    }

    /// A folder for files, gone when it is dropped.
    pub fn scratch(&self) -> anyhow::Result<Scratch> {
        Scratch::new()
    }
}

/// A folder for files, gone when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("storeline-bench-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind in the folder for temporary files hurts nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
