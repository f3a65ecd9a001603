//! The catalogue: SKUs that are unique in the shop, and what other services copied of it.

use std::collections::HashSet;

use futures::TryStreamExt;
use product_service::adapters::price_timers;
use sqlx::Row;
use uuid::Uuid;

use super::read_models::{Compared, failed};
use crate::audit::AuditError;
use crate::audit::cut::{Cut, Log};
use crate::audit::facts::Facts;
use crate::audit::facts::catalogue::{COPY, CopiedProduct, CopiedVariant, Fingerprint, TIMERS};
use crate::audit::finding::Finding;

/// A SKU belongs to one product, which has claimed it.
pub fn skus(facts: &Facts) -> Finding {
    let mut finding =
        Finding::invariant("catalogue-skus", "a SKU belongs to one product, and that product has claimed it");
    let catalogue = &facts.catalogue;
    for (sku, variant) in catalogue.variants.iter() {
        let claimed = catalogue.claims.get(sku) == Some(&variant.product);
        finding.judge(claimed, || format!("SKU {sku} of product {} is not its claim", variant.product));
    }
    for (sku, product) in &catalogue.taken_twice {
        finding.fail(|| format!("SKU {sku} was given again, to product {product}"));
    }
    finding
}

/// What is scheduled comes to pass some day, because a timer is set for it.
pub fn timers(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding = Finding::invariant("price-timers", "a scheduled price that is to come has a timer");
    let snapshot = &cut.snapshots[Log::Product];
    for (id, schedule) in facts.catalogue.schedules.iter() {
        let key = format!("product-{}", schedule.sold.product);
        if schedule.pending && snapshot.has_handled(TIMERS, &key, schedule.since) {
            let set = snapshot.has_task(price_timers::QUEUE, &id.to_string());
            finding
                .judge(set, || format!("scheduled price {id} of SKU {}: never takes effect", schedule.sku));
        }
    }
    finding
}

/// The order service sells what the product service published, at its price.
pub async fn copy(cut: &mut Cut, facts: &Facts) -> Result<Finding, AuditError> {
    let mut finding = Finding::invariant(
        "catalogue-copy",
        "the order service's catalogue is the fold of what was published, up to its checkpoint",
    );
    copied_products(cut, facts, &mut finding).await.map_err(failed(Log::Order))?;
    copied_variants(cut, facts, &mut finding).await.map_err(failed(Log::Order))?;
    Ok(finding)
}

async fn copied_products(cut: &mut Cut, facts: &Facts, finding: &mut Finding) -> Result<(), sqlx::Error> {
    let copied = &facts.catalogue.copy.products;
    let parked = parked(cut);
    let mut seen = Compared::new(finding, "product", |id: &Uuid| parked.contains(id));
    let mut rows = sqlx::query("SELECT product_id, name, discontinued FROM catalogue_products")
        .fetch(cut.snapshots[Log::Order].connection());
    while let Some(row) = rows.try_next().await? {
        let id: String = row.try_get(0)?;
        let shown = CopiedProduct { name: Fingerprint::of(row.try_get(1)?), discontinued: row.try_get(2)? };
        let id = Uuid::try_parse(&id).unwrap_or_default();
        seen.row(id, copied.get(&id), &shown);
    }
    seen.finish(copied.keys().copied());
    Ok(())
}

async fn copied_variants(cut: &mut Cut, facts: &Facts, finding: &mut Finding) -> Result<(), sqlx::Error> {
    let copied = &facts.catalogue.copy.variants;
    let parked = parked(cut);
    let is_parked = |sku: &String| copied.get(sku).is_some_and(|v| parked.contains(&v.sold.product));
    let mut seen = Compared::new(finding, "SKU", is_parked);
    let mut rows = sqlx::query("SELECT sku, product_id, title, unit_price, currency FROM catalogue_variants")
        .fetch(cut.snapshots[Log::Order].connection());
    while let Some(row) = rows.try_next().await? {
        let sku: String = row.try_get(0)?;
        let shown: (String, Fingerprint, i64, &str) =
            (row.try_get(1)?, Fingerprint::of(row.try_get(2)?), row.try_get(3)?, row.try_get(4)?);
        let expected = copied.get(&sku).map(|CopiedVariant { title, sold }| {
            (sold.product.to_string(), *title, sold.price, sold.currency)
        });
        seen.row(sku, expected, shown);
    }
    seen.finish(copied.keys().cloned());
    Ok(())
}

/// Products whose events the order service could not handle.
fn parked(cut: &Cut) -> HashSet<Uuid> {
    let keys = cut.snapshots[Log::Order].parked_keys(COPY);
    keys.filter_map(|key| Uuid::try_parse(key.strip_prefix("product-")?).ok()).collect()
}
