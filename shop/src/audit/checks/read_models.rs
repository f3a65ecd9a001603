//! Read models against the fold of their events. A table and the checkpoint of its projection are read in one
//! snapshot, and the fold stops at that checkpoint: a table that lags is right, one that differs is not.

use std::collections::HashSet;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use chrono::{DateTime, Utc};
use eventsourcing::StreamId;
use futures::TryStreamExt;
use inventory_service::domain::reservation::ReservationStatus;
use order_service::domain::order::{Phase, Status};
use payment_service::application::payments::RefundState;
use payment_service::domain::payment::RefundStatus;
use product_service::adapters::projections::{ComparedDocument, compare_documents, miscounted};
use product_service::application::status_name;
use saga_orchestrator::application::{SagaId, SagaView};
use saga_orchestrator::domain::Step;
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use crate::audit::AuditError;
use crate::audit::cut::{Cut, Log, Snapshot};
use crate::audit::facts::Facts;
use crate::audit::facts::catalogue::{self, Fingerprint};
use crate::audit::facts::{goods, orders, payments, sagas};
use crate::audit::finding::Finding;

/// A comparison of a table with what it should show.
pub struct Compared<'a, K, E> {
    finding: &'a mut Finding,
    what: &'static str,
    excused: E,
    seen: HashSet<K>,
}

impl<'a, K: Eq + Hash + Display, E: Fn(&K) -> bool> Compared<'a, K, E> {
    /// `what` names a row. Those that `excused` names wait behind a parked message and may differ.
    pub fn new(finding: &'a mut Finding, what: &'static str, excused: E) -> Self {
        Self { finding, what, excused, seen: HashSet::new() }
    }

    /// A row of the table, and what it should be.
    pub fn row<T: PartialEq + Debug>(&mut self, key: K, expected: Option<T>, shown: T) {
        let holds = (self.excused)(&key) || expected.as_ref() == Some(&shown);
        let what = self.what;
        self.finding.judge(holds, || match expected {
            Some(expected) => format!("{what} {key}: the table has {shown:?}, the events give {expected:?}"),
            None => format!("{what} {key}: the table has it, the events do not"),
        });
        self.seen.insert(key);
    }

    /// Everything that the table should have shown.
    pub fn finish(self, expected: impl Iterator<Item = K>) {
        let Self { finding, what, excused, seen } = self;
        for key in expected.filter(|key| !seen.contains(key) && !excused(key)) {
            finding.judge(false, || format!("{what} {key}: missing in the table"));
        }
    }
}

/// An error of a query on a log's snapshot.
pub fn failed(log: Log) -> impl FnOnce(sqlx::Error) -> AuditError {
    move |source| AuditError::Database { log, source }
}

/// All read models.
pub async fn check(cut: &mut Cut, facts: &Facts) -> Result<Vec<Finding>, AuditError> {
    let [product, inventory, order, payment, saga] = &mut cut.snapshots.0;
    let [search, older] = search(product).await.map_err(failed(Log::Product))?;
    Ok(vec![
        products(product, facts).await.map_err(failed(Log::Product))?,
        variants(product, facts).await.map_err(failed(Log::Product))?,
        scheduled_prices(product, facts).await.map_err(failed(Log::Product))?,
        availability(product, facts).await.map_err(failed(Log::Product))?,
        search,
        older,
        stock(inventory, facts).await.map_err(failed(Log::Inventory))?,
        reservations(inventory, facts).await.map_err(failed(Log::Inventory))?,
        order_rows(order, facts).await.map_err(failed(Log::Order))?,
        payment_rows(payment, facts).await.map_err(failed(Log::Payment))?,
        refunds(payment, facts).await.map_err(failed(Log::Payment))?,
        saga_rows(saga, facts).await.map_err(failed(Log::Saga))?,
    ])
}

/// Keys of a category whose messages are parked.
fn parked(snapshot: &Snapshot, subscription: &str, category: &str) -> HashSet<String> {
    let keys = snapshot.parked_keys(subscription);
    keys.filter_map(|key| key.strip_prefix(category)?.strip_prefix('-')).map(str::to_owned).collect()
}

fn finding(check: &str) -> Finding {
    Finding::invariant(check, "the table is the fold of the events up to its projection's checkpoint")
}

async fn products(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-products");
    let parked = parked(snapshot, catalogue::READ_MODEL, "product");
    let products = &facts.catalogue.products;
    let mut table = Compared::new(&mut finding, "product", |id: &Uuid| parked.contains(&id.to_string()));
    let mut rows =
        sqlx::query("SELECT product_id, version, status, name, variant_count, scheduled_count FROM products")
            .fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let id: Uuid = row.try_get(0)?;
        let counts: [i32; 2] = [row.try_get(4)?, row.try_get(5)?];
        let shown: (i64, &str, Fingerprint, _) =
            (row.try_get(1)?, row.try_get(2)?, Fingerprint::of(row.try_get(3)?), counts);
        let expected = products.at_checkpoint(&id).map(|product| {
            let counts = [product.variants, product.scheduled];
            (product.version.cast_signed(), status_name(product.status), product.name, counts)
        });
        table.row(id, expected, shown);
    }
    table.finish(products.all_at_checkpoint().map(|(id, _)| *id));
    drop(rows);
    Ok(finding)
}

async fn variants(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-variants");
    let parked = parked(snapshot, catalogue::READ_MODEL, "product");
    let variants = &facts.catalogue.variants;
    let is_parked = |sku: &String| variants.get(sku).is_some_and(|v| parked.contains(&v.product.to_string()));
    let mut table = Compared::new(&mut finding, "SKU", is_parked);
    let mut rows =
        sqlx::query("SELECT sku, product_id, price, currency FROM variants").fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let sku: String = row.try_get(0)?;
        let shown: (Uuid, i64, &str) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let expected = variants.at_checkpoint(&sku).map(|v| (v.product, v.price, v.currency));
        table.row(sku, expected, shown);
    }
    table.finish(variants.all_at_checkpoint().map(|(sku, _)| sku.clone()));
    drop(rows);
    Ok(finding)
}

async fn scheduled_prices(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-scheduled-prices");
    let parked = parked(snapshot, catalogue::READ_MODEL, "product");
    let schedules = &facts.catalogue.schedules;
    let is_parked =
        |id: &Uuid| schedules.get(id).is_some_and(|s| parked.contains(&s.sold.product.to_string()));
    let mut table = Compared::new(&mut finding, "scheduled price", is_parked);
    let sql = "SELECT schedule_id, product_id, sku, price, currency, effective_at FROM scheduled_prices";
    let mut rows = sqlx::query(sql).fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let id: Uuid = row.try_get(0)?;
        let shown: (Uuid, &str, i64, &str, DateTime<Utc>) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        let expected = schedules.at_checkpoint(&id).filter(|schedule| schedule.pending);
        let expected =
            expected.map(|s| (s.sold.product, s.sku.as_str(), s.sold.price, s.sold.currency, s.effective_at));
        table.row(id, expected, shown);
    }
    table.finish(schedules.all_at_checkpoint().filter(|(_, s)| s.pending).map(|(id, _)| *id));
    drop(rows);
    Ok(finding)
}

async fn availability(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-availability");
    let parked = parked(snapshot, goods::AVAILABILITY, "stock");
    let announced = &facts.goods.availability;
    let mut table = Compared::new(&mut finding, "SKU", |sku: &String| parked.contains(sku));
    let mut rows = sqlx::query("SELECT sku, in_stock FROM availability").fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let sku: String = row.try_get(0)?;
        let shown: bool = row.try_get(1)?;
        let expected = announced.get(&sku).copied();
        table.row(sku, expected, shown);
    }
    table.finish(announced.keys().cloned());
    drop(rows);
    Ok(finding)
}

/// What search knows of each product, against the rows that it is made of; and its counts against what it knows.
async fn search(snapshot: &mut Snapshot) -> Result<[Finding; 2], sqlx::Error> {
    let rule = "search knows every product as the other tables have it, and counts what it knows";
    let mut finding = Finding::invariant("read-model-search", rule);
    let rule = "no document of search is of an older version; the product service is making those anew";
    let mut older = Finding::notice("search-documents-older", rule);
    let mut after = Uuid::nil();
    loop {
        let compared = compare_documents(snapshot.connection(), after).await?;
        let Some((last, _)) = compared.last() else { break };
        after = *last;
        for (id, document) in compared {
            let differs = || format!("product {id}: search has another document than its rows give");
            finding.judge(document != ComparedDocument::Differs, differs);
            older.judge(document != ComparedDocument::Older, || format!("product {id}"));
        }
    }
    for (what, differing) in miscounted(snapshot.connection()).await? {
        finding.judge(differing == 0, || format!("{differing} counts of {what} differ from the documents"));
    }
    Ok([finding, older])
}

async fn stock(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-stock");
    let parked = parked(snapshot, goods::READ_MODEL, "stock");
    let goods = &facts.goods;
    let mut table = Compared::new(&mut finding, "SKU", |sku: &String| parked.contains(sku));
    let mut rows = sqlx::query(
        "SELECT sku, version, received, restocked, adjusted, reserved, committed, available, shortfall_open \
           FROM stock_levels",
    )
    .fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let sku: String = row.try_get(0)?;
        let shown: [i64; 8] = [
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
            row.try_get(4)?,
            row.try_get(5)?,
            row.try_get(6)?,
            row.try_get(7)?,
            i64::from(row.try_get::<bool, _>(8)?),
        ];
        let expected = goods.find(&sku).and_then(|index| goods.stock.at_checkpoint(&index)).map(|stock| {
            let s = &stock.state;
            [
                stock.version.cast_signed(),
                s.received,
                s.restocked,
                s.adjusted,
                s.reserved,
                s.committed,
                s.available(),
                i64::from(s.shortfall_open),
            ]
        });
        table.row(sku, expected, shown);
    }
    let known = goods.skus().filter(|(_, index)| goods.stock.at_checkpoint(index).is_some());
    table.finish(known.map(|(sku, _)| sku.to_owned()));
    drop(rows);
    Ok(finding)
}

async fn reservations(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-reservations");
    let parked = parked(snapshot, goods::READ_MODEL, "reservation");
    let goods = &facts.goods;
    let mut table = Compared::new(&mut finding, "order", |id: &Uuid| parked.contains(&id.to_string()));
    let mut rows =
        sqlx::query("SELECT order_id, status, lines FROM reservations").fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let id: Uuid = row.try_get(0)?;
        let lines: Json<Vec<inventory_service::domain::Line>> = row.try_get(2)?;
        let lines = lines.0.iter().map(|line| (goods.find(line.sku.as_str()), line.quantity.get()));
        let shown: (&str, Vec<_>) = (row.try_get(1)?, lines.collect());
        let expected = goods.reservations.at_checkpoint(&id).map(|reservation| {
            let lines = reservation.lines.iter().map(|(sku, quantity)| (Some(*sku), *quantity));
            (reservation.status.as_str(), lines.collect())
        });
        table.row(id, expected, shown);
    }
    // A reservation of which only refusals to pin are known is none that could be shown.
    let known = goods.reservations.all_at_checkpoint();
    let known = known.filter(|(_, reservation)| reservation.status != ReservationStatus::Unknown);
    table.finish(known.map(|(id, _)| *id));
    drop(rows);
    Ok(finding)
}

async fn order_rows(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-orders");
    let parked = parked(snapshot, orders::READ_MODEL, "order");
    let known = &facts.orders.known;
    let mut table = Compared::new(&mut finding, "order", |id: &Uuid| parked.contains(&id.to_string()));
    let mut rows = sqlx::query(
        "SELECT order_id, version, status, total, currency, reason, cancellation_requested FROM orders",
    )
    .fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let id: Uuid = row.try_get(0)?;
        let shown: (i64, &str, i64, &str, Option<&str>, bool) = (
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
            row.try_get(4)?,
            row.try_get(5)?,
            row.try_get(6)?,
        );
        let expected = known.at_checkpoint(&id).and_then(|order| {
            let (phase, total): (&Phase, _) = (&order.state.phase, order.total.as_ref()?);
            Some((
                order.version.cast_signed(),
                Status::of(phase)?.name(),
                total.minor_units,
                total.currency.code(),
                phase.reason().map(|reason| reason.as_str()),
                order.state.cancellation.is_some(),
            ))
        });
        table.row(id, expected, shown);
    }
    table.finish(known.all_at_checkpoint().map(|(id, _)| *id));
    drop(rows);
    Ok(finding)
}

async fn payment_rows(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-payments");
    let parked = parked(snapshot, payments::READ_MODEL, "payment");
    let known = &facts.payments.known;
    let mut table = Compared::new(&mut finding, "order", |id: &Uuid| parked.contains(&id.to_string()));
    let mut rows =
        sqlx::query("SELECT order_id, version, status, currency, amount, captured, refunded FROM payments")
            .fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let id: Uuid = row.try_get(0)?;
        let shown: (i64, Option<&str>, Option<&str>, [Option<i64>; 3]) = (
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
            [row.try_get(4)?, row.try_get(5)?, row.try_get(6)?],
        );
        let expected = known.at_checkpoint(&id).map(|payment| {
            let state = &payment.state;
            let sums = [state.amount, state.captured(), state.refunded()];
            (
                payment.version.cast_signed(),
                state.status().map(|status| status.name()),
                state.amount.as_ref().map(|amount| amount.currency.as_str()),
                sums.map(|money| money.map(|money| money.minor_units)),
            )
        });
        table.row(id, expected, shown);
    }
    table.finish(known.all_at_checkpoint().map(|(id, _)| *id));
    drop(rows);
    Ok(finding)
}

async fn refunds(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-refunds");
    let parked = parked(snapshot, payments::READ_MODEL, "payment");
    let known = &facts.payments.known;
    let is_parked = |refund: &String| parked.iter().any(|order| refund.starts_with(order.as_str()));
    let mut table = Compared::new(&mut finding, "refund", is_parked);
    let mut rows =
        sqlx::query("SELECT order_id, refund_id, amount, status FROM refunds").fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let (order, id): (Uuid, &str) = (row.try_get(0)?, row.try_get(1)?);
        let shown: (Option<i64>, &str) = (row.try_get(2)?, row.try_get(3)?);
        let payment = known.at_checkpoint(&order);
        let refund = payment.and_then(|p| p.state.refunds.iter().find(|(known, _)| known.as_str() == id));
        let expected = refund.map(|(_, refund)| {
            let status = match refund.status {
                RefundStatus::Pending => RefundState::Pending,
                RefundStatus::Succeeded => RefundState::Succeeded,
                RefundStatus::Failed { .. } => RefundState::Failed,
            };
            (refund.amount.map(|amount| amount.minor_units), status.name())
        });
        table.row(format!("{order} {id}"), expected, shown);
    }
    let all = known.all_at_checkpoint();
    let all =
        all.flat_map(|(order, p)| p.state.refunds.keys().map(move |id| format!("{order} {}", id.as_str())));
    table.finish(all);
    drop(rows);
    Ok(finding)
}

async fn saga_rows(snapshot: &mut Snapshot, facts: &Facts) -> Result<Finding, sqlx::Error> {
    let mut finding = finding("read-model-sagas");
    let known = &facts.sagas.known;
    let parked: HashSet<String> = snapshot.parked_keys(sagas::READ_MODEL).map(str::to_owned).collect();
    let mut table = Compared::new(&mut finding, "saga", |id: &String| parked.contains(id));
    let mut rows = sqlx::query("SELECT saga_id, version, status, open_step, attempts, definition FROM sagas")
        .fetch(snapshot.connection());
    while let Some(row) = rows.try_next().await? {
        let id: String = row.try_get(0)?;
        let shown: (i64, &str, Option<&str>, i32, i32) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        let saga = SagaId::of_stream(&StreamId::from_name(id.as_str()));
        let facts = saga.and_then(|SagaId { kind, order_id }| known.at_checkpoint(&(kind, order_id.0)));
        let view = facts.and_then(|facts| SagaView::of(&facts.saga, facts.version, DateTime::UNIX_EPOCH));
        let expected = view.map(|view| {
            (
                view.version.cast_signed(),
                view.status.as_str(),
                view.open_step.map(Step::name),
                view.attempts.cast_signed(),
                view.definition.cast_signed(),
            )
        });
        table.row(id, expected, shown);
    }
    table.finish(known.all_at_checkpoint().map(|(key, _)| sagas::stream(*key)));
    drop(rows);
    Ok(finding)
}
