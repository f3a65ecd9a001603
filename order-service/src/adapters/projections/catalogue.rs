//! The service's own copy of the catalogue, fed by what the product service publishes: which SKU belongs to
//! which product, what it costs, and whether it is still sold.
//!
//! Changes of products that were never published are passed over: a publication brings everything that counts
//! by then.

use contracts::shop::product::v1::product_event::Event;
use contracts::shop::product::v1::{ProductEvent, ProductPublished, SellableVariant};
use eventsourcing::{HandlerError, IntegrationEvent, Projection};
use prost::Message;
use sqlx::PgConnection;

use crate::domain::{Currency, Money, Sku};

pub struct CatalogueProjection;

impl Projection for CatalogueProjection {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        "order.catalogue"
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        message: &IntegrationEvent,
    ) -> Result<(), HandlerError> {
        let envelope =
            ProductEvent::decode(message.data.as_slice()).map_err(|e| HandlerError::Poison(e.to_string()))?;
        match envelope.event {
            Some(Event::ProductPublished(published)) => publish(connection, &published).await,
            Some(Event::VariantsAdded(added)) => add(connection, &added.product_id, &added.variants).await,
            Some(Event::PriceChanged(changed)) => {
                let price = price(changed.price)?;
                let sql = "UPDATE catalogue_variants SET currency = $3, unit_price = $4 \
                            WHERE sku = $1 AND product_id = $2";
                let update = sqlx::query(sql).bind(changed.sku).bind(changed.product_id);
                update.bind(price.currency.code()).bind(price.minor_units).execute(connection).await?;
                Ok(())
            }
            Some(Event::ProductRenamed(renamed)) => {
                let sql = "UPDATE catalogue_products SET name = $2 WHERE product_id = $1";
                sqlx::query(sql).bind(renamed.product_id).bind(renamed.name).execute(connection).await?;
                Ok(())
            }
            Some(Event::ProductDiscontinued(discontinued)) => {
                set_discontinued(connection, discontinued.product_id, true).await
            }
            Some(Event::ProductReinstated(reinstated)) => {
                set_discontinued(connection, reinstated.product_id, false).await
            }
            // An event of a newer product service, which this one need not know.
            None => Ok(()),
        }
    }
}

async fn set_discontinued(
    connection: &mut PgConnection,
    product_id: String,
    discontinued: bool,
) -> Result<(), HandlerError> {
    let sql = "UPDATE catalogue_products SET discontinued = $2 WHERE product_id = $1";
    sqlx::query(sql).bind(product_id).bind(discontinued).execute(connection).await?;
    Ok(())
}

async fn publish(connection: &mut PgConnection, published: &ProductPublished) -> Result<(), HandlerError> {
    let sql = "INSERT INTO catalogue_products (product_id, name) VALUES ($1, $2) \
               ON CONFLICT (product_id) DO UPDATE SET name = excluded.name, discontinued = false";
    sqlx::query(sql).bind(&published.product_id).bind(&published.name).execute(&mut *connection).await?;
    add(connection, &published.product_id, &published.variants).await
}

async fn add(
    connection: &mut PgConnection,
    product_id: &str,
    variants: &[SellableVariant],
) -> Result<(), HandlerError> {
    let (mut skus, mut titles, mut currencies, mut prices) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for variant in variants {
        let sku = Sku::parse(&variant.sku)
            .ok_or_else(|| HandlerError::Poison("a variant has no valid SKU".into()))?;
        let price = price(variant.price.clone())?;
        skus.push(sku.to_string());
        titles.push(variant.title.as_str());
        currencies.push(price.currency.code().to_owned());
        prices.push(price.minor_units);
    }
    sqlx::query(
        "INSERT INTO catalogue_variants (sku, product_id, title, currency, unit_price) \
         SELECT v.sku, p.product_id, v.title, v.currency, v.unit_price \
           FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) AS v(sku, title, currency, unit_price), \
                catalogue_products p \
          WHERE p.product_id = $1 \
         ON CONFLICT (sku) DO UPDATE SET product_id = excluded.product_id, title = excluded.title, \
                currency = excluded.currency, unit_price = excluded.unit_price",
    )
    .bind(product_id)
    .bind(skus)
    .bind(titles)
    .bind(currencies)
    .bind(prices)
    .execute(connection)
    .await?;
    Ok(())
}

fn price(price: Option<contracts::shop::r#type::v1::Money>) -> Result<Money, HandlerError> {
    let price = price.filter(|price| price.minor_units >= 0);
    let money =
        price.and_then(|price| Some(Money::new(price.minor_units, Currency::parse(&price.currency_code)?)));
    money.ok_or_else(|| HandlerError::Poison("a variant has no valid price".into()))
}
