//! The whole shop as a process of its own, as a user starts it: all services, its own PostgreSQL with durable settings,
//! on free ports of the loopback. Here it is started, stopped, stocked and asked for its memory.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tokio::process::{Child, Command};

use crate::http::Connections;
use crate::run::Scratch;

/// How long the shop may take to its first answer: it may have to initialise a database.
const START: Duration = Duration::from_secs(300);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(60);
/// Pause between two looks at whether it serves.
const LOOK: Duration = Duration::from_millis(5);
/// Products that are sold.
pub const SKUS: usize = 50;
/// Pieces of each.
const PIECES: u64 = 1_000_000;
/// The services, each with a database `storeline_NAME`.
pub const SERVICES: [&str; 5] = ["product", "inventory", "order", "payment", "saga"];

/// A data folder of the shop. When it is dropped, a PostgreSQL that runs in it is stopped and the folder is removed.
pub struct Data(Scratch);

impl Data {
    pub fn new() -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        // PostgreSQL runs as another account when we are root, and has to get into its folder below.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))?;
        Ok(Self(scratch))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn postmaster(&self) -> PathBuf {
        self.path().join("postgres/postmaster.pid")
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let Ok(text) = std::fs::read_to_string(self.postmaster()) else { return };
        let Some(process) = text.lines().next() else { return };
        // Whoever cannot be stopped keeps its folder in memory; there is nobody left to tell.
        let _ = std::process::Command::new("kill").args(["-INT", process]).status();
        let begun = Instant::now();
        while self.postmaster().exists() && begun.elapsed() < STOP {
            std::thread::sleep(LOOK);
        }
    }
}

/// A running shop. It is killed when it is dropped without [`Shop::stop`]; its PostgreSQL ends with the data folder.
pub struct Shop {
    process: Child,
    data: PathBuf,
    pub addresses: Addresses,
    pub rest: Arc<Connections>,
    operator: String,
    /// From the call of the program to its readiness.
    pub start: Duration,
}

/// The most memory that a running process ever had, in MiB.
pub fn peak_mib(process: u32) -> anyhow::Result<f64> {
    mib(process, "VmHWM:")
}

fn mib(process: u32, which: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with(which)).context("no such line")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024.0)
}

/// Where it listens.
#[derive(Debug, Deserialize)]
pub struct Addresses {
    pub http: String,
    pub grpc: BTreeMap<String, String>,
}

impl Shop {
    /// Starts it on a data folder, new or used.
    ///
    /// # Errors
    /// When the program is missing or does not serve in time.
    pub async fn start(program: &Path, data: &Data) -> anyhow::Result<Self> {
        let data = data.path();
        let written = data.join("addresses.json");
        // The one of an earlier start would be taken for this one's.
        let _ = std::fs::remove_file(&written);
        let mut command = Command::new(program);
        command
            .arg("serve")
            .env("STORELINE_DATA", data)
            .env("LOG_FILTER", "error")
            .env_remove("DATABASE_URL");
        for name in ["HTTP", "ADMIN"] {
            command.env(format!("STORELINE_{name}"), "127.0.0.1:0");
        }
        for service in SERVICES {
            command.env(format!("STORELINE_GRPC_{}", service.to_uppercase()), "127.0.0.1:0");
        }
        let begun = Instant::now();
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let addresses: Addresses = loop {
            if let Some(addresses) =
                std::fs::read(&written).ok().and_then(|text| serde_json::from_slice(&text).ok())
            {
                break addresses;
            }
            if let Some(status) = process.try_wait()? {
                bail!("the shop ended at its start: {status}");
            }
            ensure!(begun.elapsed() < START, "the shop does not serve within {START:?}");
            tokio::time::sleep(LOOK).await;
        };
        let start = begun.elapsed();
        let operator = std::fs::read_to_string(data.join("operator.token"))?.trim().to_owned();
        let rest = Arc::new(Connections::to(&addresses.http));
        Ok(Self { process, data: data.to_owned(), addresses, rest, operator, start })
    }

    /// Calls as the operator.
    pub async fn operate(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        operate(&self.rest, &self.operator, path, body).await
    }

    /// Gets as anybody.
    pub async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        get(&self.rest, path).await
    }

    /// Adds [`SKUS`] products with plenty of stock, and waits until they can be ordered. Returns the products' ids.
    pub async fn stock(&self) -> anyhow::Result<Vec<String>> {
        stock(&self.rest, &self.operator).await
    }

    /// Memory of the shop's own process, without its PostgreSQL, in MiB.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        mib(self.process.id().context("the shop has ended")?, "VmRSS:")
    }

    /// The most that it ever was.
    pub fn peak_mib(&self) -> anyhow::Result<f64> {
        peak_mib(self.process.id().context("the shop has ended")?)
    }

    /// Connects to one service's database as its superuser.
    pub async fn database(&self, service: &str) -> anyhow::Result<PgConnection> {
        Ok(self.server(service)?.connect().await?)
    }

    /// So many connections to it.
    pub async fn pool(&self, service: &str, connections: u32) -> anyhow::Result<PgPool> {
        let pool = PgPoolOptions::new().min_connections(connections).max_connections(connections);
        Ok(pool.connect_with(self.server(service)?).await?)
    }

    fn server(&self, service: &str) -> anyhow::Result<PgConnectOptions> {
        let pid_file = std::fs::read_to_string(self.data.join("postgres/postmaster.pid"))?;
        let port = pid_file.lines().nth(3).context("no port in postmaster.pid")?.parse()?;
        let password = std::fs::read_to_string(self.data.join("postgres-admin.password"))?;
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username("storeline_admin")
            .password(password.trim())
            .database(&format!("storeline_{service}"));
        Ok(options)
    }

    /// Kills it, and leaves its PostgreSQL running, which the next start takes over.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Stops it as Ctrl-C does.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let process = self.process.id().context("the shop has ended already")?;
        let killed = Command::new("kill").arg(process.to_string()).status().await?;
        ensure!(killed.success(), "the shop cannot be told to stop");
        let status =
            tokio::time::timeout(STOP, self.process.wait()).await.context("the shop does not stop")??;
        ensure!(status.success(), "the shop did not stop cleanly: {status}");
        Ok(())
    }
}

async fn operate(rest: &Connections, operator: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let mut connection = rest.take().await?;
    let answer = connection.call(Method::POST, path, Some(operator), body.to_string().into()).await?;
    connection.put_back();
    Ok(serde_json::from_slice(&answer)?)
}

async fn get(rest: &Connections, path: &str) -> anyhow::Result<Bytes> {
    let mut connection = rest.take().await?;
    let answer = connection.call(Method::GET, path, None, Bytes::new()).await?;
    connection.put_back();
    Ok(answer)
}

/// Adds [`SKUS`] products with plenty of stock, wherever the shop runs, and waits until the catalogue shows them. Returns
/// the products' ids.
pub async fn stock(rest: &Connections, operator: &str) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut position = String::new();
    for number in 0..SKUS {
        let created = operate(rest, operator, "/v1/products", &product(number)).await?;
        ids.push(created["product"]["productId"].as_str().context("no product id")?.to_owned());
        created["position"].as_str().context("no position")?.clone_into(&mut position);
        let path = format!("/v1/stock/{}:receive", sku(number));
        operate(rest, operator, &path, &json!({ "quantity": PIECES.to_string() })).await?;
    }
    // Whoever lists with the position waits until the catalogue has come so far.
    get(rest, &format!("/v1/products?minPosition={position}")).await?;
    Ok(ids)
}

/// The SKU of a product.
pub fn sku(number: usize) -> String {
    format!("BENCH-{number}")
}

/// A product of some 600 bytes of JSON.
pub fn product(number: usize) -> Value {
    json!({
        "name": format!("Bench product {number}"),
        "description": "A plain white cup of stoneware, glazed twice, 0.3 l, made to be dropped",
        "brand": "Bench",
        "categoryPath": ["Home", "Kitchen", "Cups"],
        "supplier": "Ceramics Ltd",
        "attributes": { "material": "stoneware", "care": "dishwasher" },
        "tags": ["new", "white"],
        "variants": [{ "sku": sku(number), "price": { "currencyCode": "EUR", "minorUnits": "1000" } }],
    })
}
