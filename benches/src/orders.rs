//! Confirmed orders per second: the whole shop, over REST, everything on this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::load::closed_loop;
use crate::{CLIENTS, Environment, figure};

/// How long the shop may take to its first answer: it may have to initialise a database.
const START: Duration = Duration::from_secs(60);
const SKUS: usize = 50;

pub async fn run(environment: &Environment) -> anyhow::Result<()> {
    let shop = Shop::start(&environment.shop).await?;
    for sku in 0..SKUS {
        let product = json!({
            "name": format!("Bench product {sku}"), "brand": "Bench",
            "variants": [{ "sku": format!("BENCH-{sku}"), "price": { "currencyCode": "EUR", "minorUnits": "1000" } }],
        });
        shop.post("/v1/products", &product, true).await?;
        let receive = json!({ "quantity": "1000000" });
        shop.post(&format!("/v1/stock/BENCH-{sku}:receive"), &receive, true).await?;
    }
    for clients in [1, CLIENTS] {
        let client = shop.clone_client();
        let measured = closed_loop(clients, move |number, round| {
            let client = client.clone();
            async move { client.order((number + round as usize) % SKUS).await }
        })
        .await?;
        let what = format!("confirmed orders over REST, {clients} client(s)");
        figure(&what, &format!("{:.0}/s", measured.per_second));
        let (p50, p99) = (measured.quantile(0.5), measured.quantile(0.99));
        figure("  placed to confirmed, p50, p99", &format!("{p50:.1}, {p99:.1} ms"));
    }
    figure("  resident memory of the shop", &format!("{} MiB", shop.resident_mib()?));
    shop.stop()
}

struct Shop {
    process: Child,
    data: PathBuf,
    client: Client,
}

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    base: String,
    operator: String,
}

impl Shop {
    async fn start(binary: &Path) -> anyhow::Result<Self> {
        let data = std::env::temp_dir().join(format!("storeline-bench-{}", Uuid::new_v4()));
        let any = "127.0.0.1:0";
        let mut command = Command::new(binary);
        command.arg("serve").env("STORELINE_DATA", &data).env("LOG_FILTER", "warn").stdout(Stdio::null());
        for variable in
            ["HTTP", "ADMIN", "GRPC_PRODUCT", "GRPC_INVENTORY", "GRPC_ORDER", "GRPC_PAYMENT", "GRPC_SAGA"]
        {
            command.env(format!("STORELINE_{variable}"), any);
        }
        let process = command.spawn().with_context(|| format!("{} cannot be started", binary.display()))?;
        let begun = Instant::now();
        let addresses: Value = loop {
            if let Ok(text) = std::fs::read(data.join("addresses.json")) {
                break serde_json::from_slice(&text)?;
            }
            if begun.elapsed() > START {
                bail!("the shop does not serve within {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        figure("start of the shop, with a new database", &format!("{:.1} s", begun.elapsed().as_secs_f64()));
        // In a build of the whole workspace the client has TLS in it, and asks for this though it never uses it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client {
            http: reqwest::Client::builder().no_proxy().build()?,
            base: format!("http://{}", addresses["http"].as_str().context("the shop has no address")?),
            operator: std::fs::read_to_string(data.join("operator.token"))?.trim().to_owned(),
        };
        Ok(Self { process, data, client })
    }

    fn clone_client(&self) -> Client {
        self.client.clone()
    }

    async fn post(&self, path: &str, body: &Value, operator: bool) -> anyhow::Result<Value> {
        self.client.post(path, body, operator).await
    }

    fn resident_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib / 1024)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.process.id().to_string();
        Command::new("kill").arg(&pid).status()?;
        let status = self.process.wait()?;
        std::fs::remove_dir_all(&self.data)?;
        if !status.success() {
            bail!("the shop did not stop cleanly: {status}");
        }
        Ok(())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // After an error; a stopped process is not hurt by it.
        let _ = self.process.kill();
    }
}

impl Client {
    async fn post(&self, path: &str, body: &Value, operator: bool) -> anyhow::Result<Value> {
        let mut request =
            self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        if operator {
            request = request.bearer_auth(&self.operator);
        }
        let response = request.body(body.to_string()).send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("POST {path}: {status} {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Places an order and follows it to its confirmation.
    async fn order(&self, sku: usize) -> anyhow::Result<()> {
        let body = json!({
            "requestId": Uuid::now_v7().to_string(),
            "lines": [{ "sku": format!("BENCH-{sku}"), "quantity": "1" }],
            "paymentToken": "tok_success",
            "contact": { "email": "bench@customer.example", "shippingAddress": {
                "recipient": "B. Ench", "lines": ["1 Sample Street"], "postalCode": "12345", "city": "Springfield",
                "countryCode": "DE" } },
        });
        let placed = self.post("/v1/orders", &body, false).await?;
        let id = placed["order"]["orderId"].as_str().context("no order id")?;
        let token = placed["accessToken"].as_str().context("no access token")?;
        let url = format!("{}/v1/orders/{id}/events", self.base);
        let response = self.http.get(url).bearer_auth(token).send().await?.error_for_status()?;
        let (mut stream, mut text) = (response.bytes_stream(), String::new());
        while let Some(chunk) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        if !text.contains("OrderConfirmed") {
            bail!("the order was not confirmed: {text}");
        }
        Ok(())
    }
}
