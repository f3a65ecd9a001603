//! `shop demo`: orders of every outcome, placed over REST and followed live. It only uses what any client of
//! the shop can use, and fails unless every order ends as its script says.

mod script;

use std::time::Duration;

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
    let rest = RestClient::new(shop.addresses.http)?;
    let quiet = arguments.json;
    import::catalogue(&shop, CATALOGUE, quiet).await.context("importing the sample catalogue")?;

    let mut outcomes = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for (place, order) in script::ORDERS.iter().enumerate() {
        let (rest, operator) = (rest.clone(), shop.operator_token.clone());
        running.spawn(async move { (place, play(&rest, &operator, order, quiet).await) });
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

/// Plays one order from the goods' arrival to its end.
async fn play(
    rest: &RestClient,
    operator: &str,
    order: &'static Order,
    quiet: bool,
) -> anyhow::Result<Outcome> {
    let quantity = match order.quantity {
        Quantity::Of(pieces) => {
            let receive = json!({ "quantity": RECEIVED.to_string(), "reference": "demo" });
            let path = format!("/v1/stock/{}:receive", order.sku);
            let key = Uuid::now_v7().to_string();
            rest.post(&path, &receive).bearer(operator).idempotency_key(&key).send().await?;
            pieces
        }
        Quantity::MoreThanThereIs => available(rest, operator, order.sku).await? + 1,
    };

    let placed = place(rest, order, quantity).await?;
    let order_id = text(&placed["order"]["orderId"])?;
    let token = text(&placed["accessToken"])?;
    say(quiet, order, &format!("placed as {order_id}, {quantity} x {}", order.sku));

    let mut timeline = Vec::new();
    let followed = follow(rest, order, &order_id, &token, &mut timeline, quiet);
    let mut problem = match tokio::time::timeout(PATIENCE, followed).await {
        Ok(followed) => followed.err().map(|error| format!("{error:#}")),
        Err(_) => Some(format!("not at its end after {PATIENCE:?}")),
    };
    let end = rest.get(&format!("/v1/orders/{order_id}")).bearer(&token).send().await?;
    let status = text(&end["order"]["status"])?;
    let reason = end["order"]["reason"].as_str().unwrap_or_default().to_owned();
    if problem.is_none() {
        problem = check(rest, operator, order, &order_id, &status).await.err().map(|e| format!("{e:#}"));
    }
    Ok(Outcome { order, order_id, status, reason, timeline, problem })
}

async fn available(rest: &RestClient, operator: &str, sku: &str) -> anyhow::Result<i64> {
    let stock = rest.get(&format!("/v1/stock/{sku}")).bearer(operator).send().await?;
    int(&stock["stock"]["available"]).context("the stock has no number")
}

/// Places the order twice with the same key, as an impatient shopper does: it is one order.
async fn place(rest: &RestClient, order: &Order, quantity: i64) -> anyhow::Result<Value> {
    let body = json!({
        "lines": [{ "sku": order.sku, "quantity": quantity.to_string() }],
        "paymentToken": order.payment_token,
        "contact": {
            "email": "ada@customer.example",
            "shippingAddress": {
                "recipient": "Ada Example", "lines": ["1 Sample Street"],
                "postalCode": "12345", "city": "Springfield", "countryCode": "DE"
            },
            "deliveryNote": "The bell is broken, please knock."
        }
    });
    let key = Uuid::now_v7().to_string();
    let placing = || rest.post("/v1/orders", &body).idempotency_key(&key).send();
    let (first, second) = tokio::try_join!(placing(), placing())?;
    ensure!(first["order"]["orderId"] == second["order"]["orderId"], "a double click made two orders");
    Ok(first)
}

/// Follows the order to its end, asking for its cancellation where the script says so.
async fn follow(
    rest: &RestClient,
    order: &Order,
    order_id: &str,
    token: &str,
    timeline: &mut Vec<String>,
    quiet: bool,
) -> anyhow::Result<()> {
    if order.cancel == Cancel::AtOnce {
        cancel(rest, order_id, token).await?;
    }
    let mut cancelled = order.cancel != Cancel::OnceConfirmed;
    loop {
        let mut events = rest.watch_order(order_id, token).await?;
        timeline.clear();
        while let Some(event) = events.next().await? {
            let entry = &event["entry"];
            let reason = entry["reason"].as_str().filter(|reason| !reason.is_empty());
            let event = text(&entry["event"])?;
            let line = format!(
                "{}  {event}{}",
                entry["at"].as_str().unwrap_or_default(),
                reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
            );
            say(quiet, order, &event);
            timeline.push(line);
        }
        if cancelled {
            return Ok(());
        }
        cancel(rest, order_id, token).await?;
        cancelled = true;
    }
}

async fn cancel(rest: &RestClient, order_id: &str, token: &str) -> anyhow::Result<()> {
    let body = json!({ "reason": "CHANGED_MY_MIND" });
    let key = Uuid::now_v7().to_string();
    let call = rest.post(&format!("/v1/orders/{order_id}:cancel"), &body);
    call.bearer(token).idempotency_key(&key).send().await.map(drop)
}

/// The order's end is the one in the script, and the money agrees.
async fn check(
    rest: &RestClient,
    operator: &str,
    order: &Order,
    order_id: &str,
    status: &str,
) -> anyhow::Result<()> {
    ensure!(status == order.expected.status(), "it is {status} and not {}", order.expected.status());
    let payment = rest.get(&format!("/v1/payments/{order_id}")).bearer(operator).send().await;
    let (captured, refunded) = match &payment {
        Ok(reply) => (
            int(&reply["payment"]["captured"]["minorUnits"]).unwrap_or(0),
            int(&reply["payment"]["refunded"]["minorUnits"]).unwrap_or(0),
        ),
        // No payment was ever asked for.
        Err(_) => (0, 0),
    };
    match order.expected {
        Expected::Confirmed => ensure!(captured > 0 && refunded == 0, "captured {captured}, refunded {refunded}"),
        Expected::ConfirmedForFree | Expected::Rejected => {
            ensure!(captured == 0, "captured {captured} although nothing is owed");
        }
        Expected::CancelledAndRefunded => {
            ensure!(captured > 0 && refunded == captured, "captured {captured}, refunded {refunded}");
        }
        Expected::Cancelled => ensure!(captured == refunded, "captured {captured}, refunded {refunded}"),
    }
    Ok(())
}

fn say(quiet: bool, order: &Order, what: &str) {
    if !quiet {
        println!("{:<34} {what}", order.name);
    }
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
