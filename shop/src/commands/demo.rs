//! `shop demo`: orders of every outcome, placed over REST and followed live. It only uses what any client of
//! the shop can use, and fails unless every order ends as its script says.

mod script;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::import;
use crate::config::Location;
use crate::rest::RestClient;
use crate::running::RunningShop;
use script::{Cancel, Expected, Order, Quantity};

/// The sample catalogue is part of the program.
const CATALOGUE: &[u8] = include_bytes!("../../sample/catalogue.csv");
/// How long an order may take to its end. The slowest scripted payment answers after seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the view of payments may take to show what an ended order owes, and the pause between two looks.
const VIEW_PATIENCE: Duration = Duration::from_secs(10);
const VIEW_PAUSE: Duration = Duration::from_millis(50);
/// Pieces received for every order that is meant to succeed, so that the demo can be repeated.
const RECEIVED: i64 = 10;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON, one order a line.
    #[arg(long)]
    json: bool,
}

/// What became of one scripted order.
struct Outcome {
    order: &'static Order,
    order_id: String,
    status: String,
    reason: String,
    timeline: Vec<String>,
    problem: Option<String>,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let shop = RunningShop::find(location)?;
    let rest = RestClient::new(shop.rest()?);
    let quiet = arguments.json;
    let catalogue =
        import::catalogue(&shop, CATALOGUE, quiet).await.context("importing the sample catalogue")?;

    let mut outcomes = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for (place, order) in script::ORDERS.iter().enumerate() {
        let player = Player {
            rest: rest.clone(),
            operator: shop.operator_token.expose().to_owned(),
            catalogue: catalogue.clone(),
            order,
            quiet,
        };
        running.spawn(async move { (place, player.play().await) });
    }
    while let Some(played) = running.join_next().await {
        outcomes.push(played?);
    }
    outcomes.sort_by_key(|(place, _)| *place);

    let mut failed = 0;
    for (place, outcome) in outcomes {
        let name = script::ORDERS[place].name;
        let outcome = outcome.with_context(|| format!("the order `{name}`"))?;
        failed += usize::from(outcome.problem.is_some());
        report(&outcome, arguments.json);
    }
    let all = script::ORDERS.len();
    if failed > 0 {
        bail!("{failed} of {all} orders did not end as their script says");
    }
    if !arguments.json {
        println!("All {all} orders ended as their scripts say. Check the books with: shop audit");
    }
    Ok(0)
}

/// Plays one order of the script.
struct Player {
    rest: RestClient,
    /// The operator's token.
    operator: String,
    /// The position of the catalogue's log that prices must have come to.
    catalogue: String,
    order: &'static Order,
    quiet: bool,
}

impl Player {
    /// From the goods' arrival to the order's end.
    async fn play(&self) -> anyhow::Result<Outcome> {
        let order = self.order;
        let quantity = match order.quantity {
            Quantity::Of(pieces) => {
                self.receive(RECEIVED).await?;
                pieces
            }
            Quantity::MoreThanThereIs => {
                // What the import has brought need not be shown yet; behind a piece of one's own it is.
                let position = self.receive(1).await?;
                self.available(&position).await? + 1
            }
        };
        let placed = self.place(quantity).await?;
        let order_id = text(&placed["order"]["orderId"])?;
        let token = text(&placed["accessToken"])?;
        self.say(&format!("placed as {order_id}, {quantity} x {}", order.sku));

        let mut timeline = Vec::new();
        let followed = self.follow(&order_id, &token, &mut timeline);
        let mut problem = match tokio::time::timeout(PATIENCE, followed).await {
            Ok(followed) => followed.err().map(|error| format!("{error:#}")),
            Err(_) => Some(format!("not at its end after {PATIENCE:?}")),
        };
        let end = self.rest.get(&format!("/v1/orders/{order_id}")).bearer(&token).send().await?;
        let status = text(&end["order"]["status"])?;
        let reason = end["order"]["reason"].as_str().unwrap_or_default().to_owned();
        if problem.is_none() {
            problem = self.check(&order_id, &status).await.err().map(|e| format!("{e:#}"));
        }
        Ok(Outcome { order, order_id, status, reason, timeline, problem })
    }

    /// Receives goods. Returns the position from which on they are there.
    async fn receive(&self, pieces: i64) -> anyhow::Result<String> {
        let receive = json!({ "quantity": pieces.to_string(), "reference": "demo" });
        let call = self.rest.post(&format!("/v1/stock/{}:receive", self.order.sku), &receive);
        let received = call.bearer(&self.operator).idempotency_key(&fresh_key()).send().await?;
        text(&received["position"])
    }

    async fn available(&self, position: &str) -> anyhow::Result<i64> {
        let call = self.rest.get(&format!("/v1/stock/{}?minPosition={position}", self.order.sku));
        let stock = call.bearer(&self.operator).send().await?;
        int(&stock["stock"]["available"]).context("the stock has no number")
    }

    /// Places the order twice with the same key, as an impatient shopper does: it is one order.
    async fn place(&self, quantity: i64) -> anyhow::Result<Value> {
        let body = json!({
            "lines": [{ "sku": self.order.sku, "quantity": quantity.to_string() }],
            "paymentToken": self.order.payment_token,
            "contact": {
                "email": "ada@customer.example",
                "shippingAddress": {
                    "recipient": "Ada Example", "lines": ["1 Sample Street"],
                    "postalCode": "12345", "city": "Springfield", "countryCode": "DE"
                },
                "deliveryNote": "The bell is broken, please knock."
            },
            "minPosition": self.catalogue,
        });
        let key = fresh_key();
        let placing = || self.rest.post("/v1/orders", &body).idempotency_key(&key).send();
        let (first, second) = tokio::try_join!(placing(), placing())?;
        ensure!(first["order"]["orderId"] == second["order"]["orderId"], "a double click made two orders");
        Ok(first)
    }

    /// Follows the order to its end, asking for its cancellation where the script says so.
    async fn follow(&self, order_id: &str, token: &str, timeline: &mut Vec<String>) -> anyhow::Result<()> {
        match self.order.cancel {
            Cancel::Never => self.watch(order_id, token, timeline).await,
            Cancel::AtOnce => {
                self.cancel(order_id, token).await?;
                self.watch(order_id, token, timeline).await
            }
            Cancel::OnceConfirmed => {
                self.watch(order_id, token, timeline).await?;
                self.cancel(order_id, token).await?;
                self.watch(order_id, token, timeline).await
            }
        }
    }

    async fn watch(&self, order_id: &str, token: &str, timeline: &mut Vec<String>) -> anyhow::Result<()> {
        let mut events = self.rest.watch_order(order_id, token).await?;
        let told = std::mem::take(timeline).len();
        while let Some(event) = events.next().await? {
            let entry = &event["entry"];
            // The stream's last words are no entry.
            let Some(name) = entry["event"].as_str() else { continue };
            let reason = entry["reason"].as_str().filter(|reason| !reason.is_empty());
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            timeline.push(format!("{}  {name}{reason}", entry["at"].as_str().unwrap_or_default()));
            // A second watch begins with what the first has told.
            if timeline.len() > told {
                self.say(&format!("{name}{reason}"));
            }
        }
        Ok(())
    }

    async fn cancel(&self, order_id: &str, token: &str) -> anyhow::Result<()> {
        let body = json!({ "reason": "CHANGED_MY_MIND" });
        let call = self.rest.post(&format!("/v1/orders/{order_id}:cancel"), &body);
        call.bearer(token).idempotency_key(&fresh_key()).send().await.map(drop)
    }

    /// The order's end is the one in the script, and the money agrees.
    async fn check(&self, order_id: &str, status: &str) -> anyhow::Result<()> {
        let expected = self.order.expected;
        ensure!(status == expected.status(), "it is {status} and not {}", expected.status());
        // The view of payments is another service's, and follows by and by.
        let asked = Instant::now();
        loop {
            let disagreement = match self.disagreement(order_id).await {
                None => return Ok(()),
                Some(disagreement) => disagreement,
            };
            ensure!(asked.elapsed() < VIEW_PATIENCE, disagreement);
            tokio::time::sleep(VIEW_PAUSE).await;
        }
    }

    /// How the order's payment differs from what its end owes; nothing when it does not.
    async fn disagreement(&self, order_id: &str) -> Option<String> {
        let call = self.rest.get(&format!("/v1/payments/{order_id}"));
        let payment = call.bearer(&self.operator).send().await;
        let amount = |name: &str| match &payment {
            Ok(reply) => int(&reply["payment"][name]["minorUnits"]).unwrap_or(0),
            // No payment was ever asked for.
            Err(_) => 0,
        };
        let (captured, refunded) = (amount("captured"), amount("refunded"));
        let agrees = match self.order.expected {
            Expected::Confirmed => captured > 0 && refunded == 0,
            Expected::ConfirmedForFree | Expected::Rejected => captured == 0,
            Expected::CancelledAndRefunded => captured > 0 && refunded == captured,
            Expected::Cancelled => refunded == captured,
        };
        (!agrees).then(|| format!("captured {captured}, refunded {refunded}"))
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            println!("{:<34} {what}", self.order.name);
        }
    }
}

fn fresh_key() -> String {
    Uuid::now_v7().to_string()
}

fn report(outcome: &Outcome, json: bool) {
    if json {
        let line = json!({
            "name": outcome.order.name, "orderId": outcome.order_id, "status": outcome.status,
            "reason": outcome.reason, "asScripted": outcome.problem.is_none(), "problem": outcome.problem,
            "timeline": outcome.timeline,
        });
        println!("{line}");
        return;
    }
    let mark = if outcome.problem.is_none() { "ok" } else { "WRONG" };
    let reason = if outcome.reason.is_empty() { String::new() } else { format!(" ({})", outcome.reason) };
    println!("\n[{mark}] {}: {}{reason}  {}", outcome.order.name, outcome.status, outcome.order_id);
    outcome.timeline.iter().for_each(|line| println!("     {line}"));
    if let Some(problem) = &outcome.problem {
        println!("     {problem}");
    }
}

/// A 64-bit number, which canonical JSON writes as a string.
fn int(value: &Value) -> Option<i64> {
    value.as_str().and_then(|text| text.parse().ok()).or(value.as_i64())
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).context("the answer lacks a text")
}
