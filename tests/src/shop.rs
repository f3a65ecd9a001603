//! A shop process: started, stopped, killed and started again on the same data, with its log kept for whoever has to
//! find out why a test failed. At most [`SHOPS_AT_ONCE`] run at a time, since the machine may have two cores.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::ready;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use testkit::eventually;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::{Api, Scratch, logs};

/// Shops that run side by side in one test process.
pub const SHOPS_AT_ONCE: usize = 2;
/// The first start makes a database cluster, and the machine may be busy.
const START_DEADLINE: Duration = Duration::from_secs(300);
/// A clean stop answers what is under way and stops PostgreSQL.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// The binary under test; `cargo xtask test` sets it.
const SHOP_BIN: &str = "STORELINE_SHOP_BIN";
/// PostgreSQL's own word on where it runs, within the data folder.
const POSTMASTER: &str = "postgres/postmaster.pid";
/// What the shop says of where it listens.
const ADDRESSES: &str = "addresses.json";

static SLOTS: Semaphore = Semaphore::const_new(SHOPS_AT_ONCE);
static SHARED: OnceCell<Shop> = OnceCell::const_new();

/// Where a shop shall listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Wherever something is free.
    Free,
    /// Where the documentation says, without telling the shop.
    Default,
}

/// A running shop, or one between two runs.
#[derive(Debug)]
pub struct Shop {
    scratch: Scratch,
    settings: BTreeMap<&'static str, String>,
    child: Option<Child>,
    addresses: Addresses,
    _slot: SemaphorePermit<'static>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Addresses {
    http: String,
    admin: String,
    grpc: BTreeMap<String, String>,
}

impl Shop {
    /// A shop of its own for one test, on free ports.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub async fn start() -> Self {
        Self::start_with(Ports::Free, &[]).await
    }

    /// A shop of its own, listening at `ports`, with these variables set.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub async fn start_with(ports: Ports, variables: &[(&'static str, &str)]) -> Self {
        let slot = SLOTS.acquire().await.expect("the semaphore is never closed");
        let mut settings = settings(ports);
        settings.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut shop = Self {
            scratch: Scratch::new(),
            settings,
            child: None,
            addresses: Addresses::default(),
            _slot: slot,
        };
        shop.restart().await;
        shop
    }

    /// The shop that all tests use that do not stop it; each works with products of its own.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub async fn shared() -> &'static Self {
        let shop = SHARED.get_or_init(Self::start).await;
        logs::show_on_panic(shop.log_path());
        shop
    }

    /// Starts the stopped or killed shop again on its data.
    ///
    /// # Panics
    /// When it runs, or does not serve in time.
    pub async fn restart(&mut self) {
        let started = self.try_restart().await;
        started.unwrap_or_else(|status| panic!("the shop ended at its start: {status}"));
    }

    /// The same for a shop that may die before it serves. Then its PostgreSQL stays.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// When it runs, or neither serves nor ends in time.
    pub async fn try_restart(&mut self) -> Result<(), ExitStatus> {
        assert!(self.child.is_none(), "the shop runs already");
        logs::show_on_panic(self.log_path());
        let addresses = self.data().join(ADDRESSES);
        fs::remove_file(&addresses).ok();
        let log =
            File::options().create(true).append(true).open(self.log_path()).expect("the log can be written");
        let mut child = self
            .command()
            .arg("serve")
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the shop's binary runs");
        self.scratch.watch(child.id());
        let started = eventually("the shop serves", START_DEADLINE, || {
            if let Some(status) = child.try_wait().expect("the child is ours") {
                return ready(Some(Err(status)));
            }
            let text = fs::read_to_string(&addresses).unwrap_or_default();
            ready(serde_json::from_str(&text).ok().map(Ok))
        })
        .await;
        if started.is_err() {
            self.scratch.unwatch();
        }
        self.addresses = started?;
        self.child = Some(child);
        Ok(())
    }

    /// kill -9. Its PostgreSQL stays.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the shop runs");
        child.kill().expect("the child is ours");
        child.wait().expect("the child is ours");
        self.scratch.unwatch();
    }

    /// Sets a variable for the next start, or takes it back.
    pub fn set(&mut self, variable: &'static str, value: Option<&str>) {
        match value {
            Some(value) => drop(self.settings.insert(variable, value.to_owned())),
            None => drop(self.settings.remove(variable)),
        }
    }

    /// Waits until it has died by itself, and returns how. Its PostgreSQL stays.
    ///
    /// # Panics
    /// When it does not run, or goes on for longer than `deadline`.
    pub async fn died(&mut self, deadline: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("the shop runs");
        let status =
            eventually("the shop dies", deadline, || ready(child.try_wait().expect("the child is ours")))
                .await;
        self.scratch.unwatch();
        status
    }

    /// Asks it to stop, and returns how it ended.
    ///
    /// # Panics
    /// When it does not run, or does not end in time.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the shop runs");
        let signalled = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(signalled.expect("kill runs").success(), "the shop was gone already");
        let status = eventually("the shop stops", STOP_DEADLINE, || {
            ready(child.try_wait().expect("the child is ours"))
        })
        .await;
        self.scratch.unwatch();
        status
    }

    /// A client of its REST side.
    pub fn api(&self) -> Api {
        Api::new(&self.addresses.http, self.secret("operator.token"))
    }

    /// `host:port` of the REST side.
    pub fn http(&self) -> &str {
        &self.addresses.http
    }

    /// `host:port` of the metrics.
    pub fn admin(&self) -> &str {
        &self.addresses.admin
    }

    /// `host:port` of each gRPC server by the service's short name.
    pub fn grpc(&self) -> &BTreeMap<String, String> {
        &self.addresses.grpc
    }

    /// Memory of the process that is in use, in KiB; None where the system does not tell.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resident_memory(&self) -> Option<u64> {
        let pid = self.child.as_ref().expect("the shop runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    }

    /// Whether a PostgreSQL runs on the data folder `data`.
    pub fn has_database_running(data: &Path) -> bool {
        data.join(POSTMASTER).exists()
    }

    /// The number of its PostgreSQL's process.
    ///
    /// # Panics
    /// When there is none.
    pub fn database_pid(&self) -> String {
        let text = fs::read_to_string(self.data().join(POSTMASTER)).expect("PostgreSQL runs");
        text.lines().next().expect("the first line is its number").to_owned()
    }

    /// A secret of its data folder.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn secret(&self, name: &str) -> String {
        let path = self.data().join(name);
        let secret = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        secret.trim().to_owned()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.scratch.data("data")
    }

    /// The folder around the data folder, which the shop is started in.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Everything that it has written to its standard output and error, over all starts.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).expect("the log can be read")).into_owned()
    }

    /// The shop's program with this shop's settings, ready for arguments.
    ///
    /// # Panics
    /// When the binary has not been built.
    pub fn command(&self) -> Command {
        let mut command = program();
        command
            .envs(&self.settings)
            .env("STORELINE_DATA", self.data())
            .current_dir(self.scratch.path())
            .stdin(Stdio::null());
        command
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("shop.log")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        logs::forget(&self.log_path());
    }
}

fn settings(ports: Ports) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::from([("LOG_FILTER", "info".to_owned())]);
    if ports == Ports::Free {
        settings.extend(LISTENERS.into_iter().map(|name| (name, "127.0.0.1:0".to_owned())));
    }
    settings
}

/// The settings that name addresses to listen at.
const LISTENERS: [&str; 7] = [
    "STORELINE_HTTP",
    "STORELINE_GRPC_PRODUCT",
    "STORELINE_GRPC_INVENTORY",
    "STORELINE_GRPC_ORDER",
    "STORELINE_GRPC_PAYMENT",
    "STORELINE_GRPC_SAGA",
    "STORELINE_ADMIN",
];

/// What the shop gets of the environment of whoever runs the tests: where programs and caches are, and no settings.
pub(crate) const KEPT: [&str; 5] = ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "POSTGRES_BIN"];

/// The binary under test.
fn program() -> Command {
    let path = sibling("shop");
    assert!(
        path.is_file(),
        "there is no shop at {}: run `cargo build -p shop` first, or `cargo xtask test`, or name it in {SHOP_BIN}",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear();
    command.envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}

/// A program that is built beside the shop's.
pub(crate) fn sibling(name: &str) -> PathBuf {
    let shop = std::env::var_os(SHOP_BIN)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/shop"), PathBuf::from);
    if name == "shop" { shop } else { shop.with_file_name(name) }
}
