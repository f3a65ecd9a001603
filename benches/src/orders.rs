//! Orders over REST against the whole shop, everything on this machine: how many are confirmed in a second, and how long
//! an order takes from being placed to its confirmation, alone and at half the maximal rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use serde::Deserialize;
use sqlx::types::chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::figures::Unit;
use crate::http::Connections;
use crate::load::{Measured, Times, closed_loop, paced_loop, quantile};
use crate::run::Run;
use crate::shop::{Data, SKUS, Shop, sku};

/// Numbers of clients in the closed loops.
pub const CLIENTS: [usize; 2] = [32, 64];
/// How long one order may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Confirmed orders a second with many clients, one client's time to its confirmation, and that of orders that come at
/// half the maximal rate.
pub async fn orders(run: &mut Run<'_>) -> anyhow::Result<()> {
    let data = Data::new()?;
    let shop = Shop::start(run.shop()?, &data).await?;
    run.record("orders/start, new database", Unit::Seconds, shop.start.as_secs_f64());
    run.record("orders/memory at the start", Unit::Mebibytes, shop.resident_mib()?);
    shop.stock().await?;
    alone(run, &shop.rest, "orders").await?;
    let mut highest = 0.0_f64;
    for clients in CLIENTS {
        let measured = many(run.times(), &shop.rest, clients).await?;
        run.record(format!("orders/{clients} clients"), Unit::PerSecond, measured.per_second);
        run.record(format!("orders/{clients} clients, p50"), Unit::Milliseconds, measured.quantile(0.5));
        run.record(format!("orders/{clients} clients, p99"), Unit::Milliseconds, measured.quantile(0.99));
        highest = highest.max(measured.per_second);
    }
    let paced = paced(run.times(), &shop.rest, highest / 2.0).await?;
    run.record("orders/half rate, p50", Unit::Milliseconds, paced.quantile(0.5));
    run.record("orders/half rate, p99", Unit::Milliseconds, paced.quantile(0.99));
    run.record("orders/memory after the load", Unit::Mebibytes, shop.resident_mib()?);
    shop.stop().await
}

/// So many clients, each of whom orders again when the order before is confirmed.
pub async fn many(times: Times, rest: &Arc<Connections>, clients: usize) -> anyhow::Result<Measured> {
    let rest = Arc::clone(rest);
    closed_loop(times, clients, move |client, round| {
        let rest = Arc::clone(&rest);
        async move { order(&rest, client + round as usize).await.map(drop) }
    })
    .await
}

/// So many orders a second, whatever becomes of the earlier ones.
pub async fn paced(times: Times, rest: &Arc<Connections>, per_second: f64) -> anyhow::Result<Measured> {
    paced_loop(times, per_second, |number| {
        let rest = Arc::clone(rest);
        async move { order(&rest, number as usize).await.map(drop) }
    })
    .await
}

/// One client's orders, one after another: figures begin with `name`.
pub async fn alone(run: &mut Run<'_>, rest: &Arc<Connections>, name: &str) -> anyhow::Result<()> {
    let orders = Arc::new(Mutex::new(Vec::new()));
    let (rest, keep) = (Arc::clone(rest), orders.clone());
    closed_loop(run.times(), 1, move |_, round| {
        let (rest, keep) = (Arc::clone(&rest), keep.clone());
        async move {
            let confirmed = order(&rest, round as usize).await?;
            keep.lock().await.push(confirmed);
            Ok(())
        }
    })
    .await?;
    let orders = orders.lock().await;
    // Those of the warm-up are the first quarter.
    let orders = &orders[orders.len() / 4..];
    let sorted = |of: fn(&Confirmed) -> Duration| {
        let mut times: Vec<Duration> = orders.iter().map(of).collect();
        times.sort_unstable();
        times
    };
    let (seen, in_log) = (sorted(|order| order.seen), sorted(|order| order.in_log));
    run.record(format!("{name}/1 client, p50"), Unit::Milliseconds, quantile(&seen, 0.5));
    run.record(format!("{name}/1 client, p99"), Unit::Milliseconds, quantile(&seen, 0.99));
    run.record(format!("{name}/1 client, in the log, p50"), Unit::Milliseconds, quantile(&in_log, 0.5));
    Ok(())
}

/// How long an order took.
pub struct Confirmed {
    pub id: String,
    /// From sending it to seeing its confirmation in its event stream.
    seen: Duration,
    /// From the record of its placement in the log to the record of its confirmation.
    in_log: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    order: PlacedOrder,
    access_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlacedOrder {
    order_id: String,
}

/// Places an order and follows it to its confirmation.
pub async fn order(rest: &Connections, number: usize) -> anyhow::Result<Confirmed> {
    tokio::time::timeout(PATIENCE, place_and_follow(rest, number))
        .await
        .context("an order is not confirmed")?
}

async fn place_and_follow(rest: &Connections, number: usize) -> anyhow::Result<Confirmed> {
    let mut connection = rest.take().await?;
    let begun = Instant::now();
    let body = format!(
        r#"{{"requestId":"{}","lines":[{{"sku":"{}","quantity":"1"}}],"paymentToken":"tok_success","contact":{{"email":"bench@customer.example","shippingAddress":{{"recipient":"B. Ench","lines":["1 Sample Street"],"postalCode":"12345","city":"Springfield","countryCode":"DE"}}}}}}"#,
        Uuid::now_v7(),
        sku(number % SKUS)
    );
    let placed = connection.call(Method::POST, "/v1/orders", None, body.into()).await?;
    let placed: Placed = serde_json::from_slice(&placed)?;
    let path = format!("/v1/orders/{}/events", placed.order.order_id);
    let response = connection.send(Method::GET, &path, Some(&placed.access_token), Bytes::new()).await?;
    let status = response.status();
    ensure!(status.is_success(), "{path}: {status}");
    let (mut body, mut history) = (response.into_body(), History::default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        history.read(&data)?;
        if let Some(in_log) = history.placed_to_confirmed() {
            let seen = begun.elapsed();
            // The rest of the stream is for the connection and not for the client.
            while let Some(frame) = body.frame().await {
                frame?;
            }
            connection.put_back();
            return Ok(Confirmed { id: placed.order.order_id, seen, in_log });
        }
    }
    bail!("the event stream of an order ended without a confirmation")
}

/// What an order's event stream has said so far.
#[derive(Default)]
struct History {
    unread: Vec<u8>,
    placed: Option<DateTime<Utc>>,
    confirmed: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Message {
    entry: Option<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    event: String,
    at: DateTime<Utc>,
}

impl History {
    /// Takes a piece of the stream, which may end within a line.
    fn read(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        self.unread.extend_from_slice(piece);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let Some(json) = line.strip_prefix(b"data:") else { continue };
            let Some(entry) = serde_json::from_slice::<Message>(json)?.entry else { continue };
            match entry.event.as_str() {
                "OrderPlaced" => self.placed = Some(entry.at),
                "OrderConfirmed" => self.confirmed = Some(entry.at),
                other => bail!("an order came to {other}"),
            }
        }
        Ok(())
    }

    fn placed_to_confirmed(&self) -> Option<Duration> {
        (self.confirmed? - self.placed?).to_std().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_read_in_whatever_pieces_it_comes() {
        let stream = b": open\nretry: 1000\n\nevent: message\n\
            data: {\"cursor\":\"v1\",\"entry\":{\"event\":\"OrderPlaced\",\"at\":\"2026-01-01T00:00:00.5Z\"}}\nid: v1\n\n\
            data: {\"entry\":{\"event\":\"OrderConfirmed\",\"at\":\"2026-01-01T00:00:00.525Z\"},\"last\":true}\n\n\
            event: end\ndata: {}\n\n";
        for size in [1, 7, stream.len()] {
            let mut history = History::default();
            for piece in stream.chunks(size) {
                history.read(piece).unwrap();
            }
            assert_eq!(history.placed_to_confirmed(), Some(Duration::from_millis(25)));
        }
    }

    #[test]
    fn an_order_that_is_rejected_is_an_error() {
        let line = b"data: {\"entry\":{\"event\":\"OrderRejected\",\"at\":\"2026-01-01T00:00:00Z\"}}\n";
        assert!(History::default().read(line).is_err());
    }
}
