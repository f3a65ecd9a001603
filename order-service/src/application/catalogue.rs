//! What an order depends on and does not decide itself: prices, from the service's own copy of the catalogue,
//! and how many orders the customer has open. One query brings all of it.

use eventsourcing::SubscriptionHandle;
use sqlx::{PgPool, Row};

use super::StoreError;
use crate::domain::order::Offer;
use crate::domain::{Currency, CustomerId, Money, Sku};

/// Reads the copy of the catalogue.
#[derive(Clone)]
pub struct Catalogue {
    pool: PgPool,
    prices: SubscriptionHandle,
}

/// The facts for one order.
pub struct Facts {
    /// One for each SKU that was asked for, in that order.
    pub offers: Vec<Offer>,
    /// Pending orders of the customer, counted up to the limit.
    ///
    /// The count comes from the read model: somebody who sends many orders at the same moment may get a few
    /// more through. It bounds what one customer piles up, not what happens within milliseconds.
    pub open_orders: u32,
}

impl Catalogue {
    pub fn new(pool: PgPool, prices: SubscriptionHandle) -> Self {
        Self { pool, prices }
    }

    /// What keeps the copy up to date.
    pub fn prices(&self) -> &SubscriptionHandle {
        &self.prices
    }

    /// What the catalogue says about these SKUs, and what the customer has open, up to `most_open`.
    pub async fn facts(
        &self,
        skus: &[Sku],
        customer: Option<&CustomerId>,
        most_open: u32,
    ) -> Result<Facts, StoreError> {
        let rows = sqlx::query(
            "SELECT v.title, v.currency, v.unit_price, v.name, v.discontinued, \
                    (SELECT count(*) FROM (SELECT 1 FROM orders o \
                                            WHERE o.customer_id = $2 AND o.status = 'pending' LIMIT $3) open) \
               FROM unnest($1::text[]) WITH ORDINALITY AS wanted(sku, line) \
               LEFT JOIN LATERAL (SELECT variant.*, product.name, product.discontinued \
                                    FROM catalogue_variants variant \
                                    JOIN catalogue_products product USING (product_id) \
                                   WHERE variant.sku = wanted.sku LIMIT 1) v ON true \
              ORDER BY wanted.line",
        )
        .bind(skus.iter().map(Sku::as_str).collect::<Vec<_>>())
        .bind(customer.map(CustomerId::as_str))
        .bind(i64::from(most_open))
        .fetch_all(&self.pool)
        .await?;
        let open_orders = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(5))?;
        let offers = rows.iter().map(offer).collect::<Result<_, StoreError>>()?;
        Ok(Facts { offers, open_orders: u32::try_from(open_orders).unwrap_or(u32::MAX) })
    }
}

fn offer(row: &sqlx::postgres::PgRow) -> Result<Offer, StoreError> {
    let Some(name) = row.try_get::<Option<String>, _>(3)? else { return Ok(Offer::Unknown) };
    if row.try_get(4)? {
        return Ok(Offer::Discontinued);
    }
    let title: String = row.try_get(0)?;
    let code: String = row.try_get(1)?;
    let currency =
        Currency::parse(&code).ok_or_else(|| StoreError::Fault("a price without currency".into()))?;
    let name = if title.is_empty() { name } else { format!("{name} ({title})") };
    Ok(Offer::Sold { name, unit_price: Money::new(row.try_get(2)?, currency) })
}
