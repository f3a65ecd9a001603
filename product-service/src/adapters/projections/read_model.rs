//! The tables `products`, `variants`, `price_history` and `scheduled_prices`, and with them what search knows of each
//! product. They hold nothing that the log does not.

use std::collections::BTreeSet;

use eventsourcing::{HandlerError, Projection, RecordedEvent};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Changes, search};
use crate::application::{CATEGORY_SEPARATOR, CachedChange, ProductCache, status_name};
use crate::domain::details::Details;
use crate::domain::product::{Product, ProductEvent, ProductStatus, ScheduledPrice};
use crate::domain::{Currency, Handle, Price, ProductId, ScheduleId, Sku, Variant};

/// Keeps products, variants and their prices.
pub struct ReadModel {
    changes: Changes,
}

impl ReadModel {
    /// `cache` holds what is read from the tables.
    pub fn new(cache: ProductCache) -> Self {
        Self { changes: Changes::new(cache) }
    }
}

impl Projection for ReadModel {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        super::MODEL
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    /// One after another; then search learns what has become of each product.
    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        events: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut changed = BTreeSet::new();
        for event in events {
            changed.extend(self.apply_event(connection, event).await?);
        }
        let changed: Vec<Uuid> = changed.into_iter().collect();
        if !changed.is_empty() {
            search::refresh(connection, &changed).await?;
        }
        Ok(())
    }

    fn committed(&self) {
        self.changes.committed();
    }
}

impl ReadModel {
    /// The product whose rows it changed, if it is about one.
    async fn apply_event(
        &self,
        connection: &mut PgConnection,
        event: &RecordedEvent,
    ) -> Result<Option<Uuid>, HandlerError> {
        let Some(happened) = event.decode::<Product>()? else { return Ok(None) };
        let product_id = ProductId::parse(event.stream_id.key())
            .map_err(|error| HandlerError::Poison(format!("stream {}: the key {error}", event.stream_id)))?;
        let mut row = Row { connection, event, product_id };
        row.apply(happened).await?;
        self.changes.note([product_id], CachedChange::Product(event.position));
        Ok(Some(product_id.as_uuid()))
    }
}

/// The row of the product that an event belongs to.
struct Row<'a> {
    connection: &'a mut PgConnection,
    event: &'a RecordedEvent,
    product_id: ProductId,
}

impl Row<'_> {
    async fn apply(&mut self, happened: ProductEvent) -> Result<(), HandlerError> {
        match happened {
            ProductEvent::ProductCreated { handle, details, options, currency } => {
                self.create(&handle, details, options, currency).await
            }
            ProductEvent::VariantsAdded { variants, .. } => self.add_variants(&variants).await,
            ProductEvent::ProductPublished { .. } => {
                self.set("status", status_name(ProductStatus::Active)).await
            }
            // The offers are those of variants that are here already.
            ProductEvent::VariantsOffered { .. } => self.touch().await,
            ProductEvent::PriceChanged { sku, price, previous, reason, .. } => {
                self.change_price(&sku, price, previous, &reason).await
            }
            ProductEvent::ProductRenamed { name, .. } => self.set("name", name).await,
            ProductEvent::DescriptionChanged { description } => self.set("description", description).await,
            ProductEvent::BrandChanged { brand } => self.set("brand", brand).await,
            ProductEvent::ProductRecategorized { category_path } => {
                self.set("category", category_path.join(CATEGORY_SEPARATOR)).await?;
                self.set("category_path", Json(category_path)).await
            }
            ProductEvent::SupplierChanged { supplier } => self.set("supplier", supplier).await,
            ProductEvent::AttributesChanged { attributes } => self.set("attributes", Json(attributes)).await,
            ProductEvent::ProductRetagged { tags } => self.set("tags", Json(tags)).await,
            ProductEvent::ImagesChanged { images } => self.set("images", Json(images)).await,
            ProductEvent::ProductDiscontinued { .. } => {
                self.set("status", status_name(ProductStatus::Discontinued)).await
            }
            ProductEvent::ProductReinstated { on_sale, .. } => {
                let status = if on_sale { ProductStatus::Active } else { ProductStatus::Draft };
                self.set("status", status_name(status)).await
            }
            ProductEvent::PriceChangeScheduled { schedule_id, sku, price, effective_at, reason } => {
                let scheduled = ScheduledPrice { sku, price, effective_at, reason };
                self.schedule(schedule_id, scheduled).await
            }
            ProductEvent::ScheduledPricesWithdrawn { schedules, .. } => self.end_schedules(&schedules).await,
            ProductEvent::ScheduledPriceTookEffect { schedule_id, .. } => {
                self.end_schedules(&[schedule_id]).await
            }
        }
    }

    async fn create(
        &mut self,
        handle: &Handle,
        details: Details,
        options: Vec<String>,
        currency: Currency,
    ) -> Result<(), HandlerError> {
        sqlx::query(
            "INSERT INTO products (product_id, handle, name, description, brand, category_path, category, \
                 supplier, attributes, tags, images, status, options, currency, created_at, updated_at, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16)",
        )
        .bind(self.product_id.as_uuid())
        .bind(handle.as_str())
        .bind(details.name)
        .bind(details.description)
        .bind(details.brand)
        .bind(Json(&details.category_path))
        .bind(details.category_path.join(CATEGORY_SEPARATOR))
        .bind(details.supplier)
        .bind(Json(details.attributes))
        .bind(Json(details.tags))
        .bind(Json(details.images))
        .bind(status_name(ProductStatus::Draft))
        .bind(Json(options))
        .bind(currency.code())
        .bind(self.event.recorded_at)
        .bind(self.event.version.cast_signed())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn add_variants(&mut self, variants: &[Variant]) -> Result<(), HandlerError> {
        sqlx::query(
            "WITH product AS ( \
                 UPDATE products SET variant_count = variant_count + jsonb_array_length($2), \
                        updated_at = $3, version = $4 \
                  WHERE product_id = $1 RETURNING variant_count - jsonb_array_length($2) AS before), \
             added AS ( \
                 SELECT v.ordinal::integer AS place, v.variant ->> 'sku' AS sku, \
                        v.variant -> 'option_values' AS option_values, v.variant ->> 'barcode' AS barcode, \
                        (v.variant -> 'price' ->> 'minor_units')::bigint AS price, \
                        v.variant -> 'price' ->> 'currency' AS currency \
                   FROM jsonb_array_elements($2) WITH ORDINALITY AS v(variant, ordinal)), \
             stored AS ( \
                 INSERT INTO variants (sku, product_id, ordinal, option_values, price, currency, barcode) \
                 SELECT sku, $1, before + place, option_values, price, currency, barcode FROM added, product) \
             INSERT INTO price_history (product_id, position, ordinal, sku, price, currency, reason, changed_at) \
             SELECT $1, $5, place, sku, price, currency, '', $3 FROM added",
        )
        .bind(self.product_id.as_uuid())
        .bind(Json(variants))
        .bind(self.event.recorded_at)
        .bind(self.event.version.cast_signed())
        .bind(self.event.position)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn change_price(
        &mut self,
        sku: &Sku,
        price: Price,
        previous: Price,
        reason: &str,
    ) -> Result<(), HandlerError> {
        sqlx::query(
            "WITH variant AS (UPDATE variants SET price = $3 WHERE sku = $2) \
             INSERT INTO price_history \
                 (product_id, position, ordinal, sku, price, previous, currency, reason, changed_at) \
             VALUES ($1, $4, 0, $2, $3, $5, $6, $7, $8)",
        )
        .bind(self.product_id.as_uuid())
        .bind(sku.as_str())
        .bind(price.minor_units)
        .bind(self.event.position)
        .bind(previous.minor_units)
        .bind(price.currency.code())
        .bind(reason)
        .bind(self.event.recorded_at)
        .execute(&mut *self.connection)
        .await?;
        self.touch().await
    }

    async fn schedule(
        &mut self,
        schedule_id: ScheduleId,
        scheduled: ScheduledPrice,
    ) -> Result<(), HandlerError> {
        let ScheduledPrice { sku, price, effective_at, reason } = scheduled;
        sqlx::query(
            "WITH product AS ( \
                 UPDATE products SET scheduled_count = scheduled_count + 1, updated_at = $8, version = $9 \
                  WHERE product_id = $1) \
             INSERT INTO scheduled_prices \
                 (product_id, schedule_id, sku, price, currency, effective_at, reason) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.product_id.as_uuid())
        .bind(schedule_id.as_uuid())
        .bind(sku.as_str())
        .bind(price.minor_units)
        .bind(price.currency.code())
        .bind(effective_at)
        .bind(reason)
        .bind(self.event.recorded_at)
        .bind(self.event.version.cast_signed())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// What is in effect or withdrawn is not to come any more.
    async fn end_schedules(&mut self, schedules: &[ScheduleId]) -> Result<(), HandlerError> {
        let schedules: Vec<_> = schedules.iter().map(ScheduleId::as_uuid).collect();
        sqlx::query(
            "WITH ended AS ( \
                 DELETE FROM scheduled_prices WHERE product_id = $1 AND schedule_id = ANY($2) RETURNING 1) \
             UPDATE products SET scheduled_count = scheduled_count - (SELECT count(*) FROM ended)::integer, \
                    updated_at = $3, version = $4 \
              WHERE product_id = $1",
        )
        .bind(self.product_id.as_uuid())
        .bind(schedules)
        .bind(self.event.recorded_at)
        .bind(self.event.version.cast_signed())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// Every event moves the version, since the etag is made of it.
    async fn touch(&mut self) -> Result<(), HandlerError> {
        self.set("version", self.event.version.cast_signed()).await
    }

    async fn set<T>(&mut self, column: &'static str, value: T) -> Result<(), HandlerError>
    where
        T: for<'q> sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres> + Send + 'static,
    {
        let mut sql = QueryBuilder::<Postgres>::new("UPDATE products SET updated_at = ");
        sql.push_bind(self.event.recorded_at);
        if column != "version" {
            sql.push(", version = ").push_bind(self.event.version.cast_signed());
        }
        sql.push(", ").push(column).push(" = ").push_bind(value);
        sql.push(" WHERE product_id = ").push_bind(self.product_id.as_uuid());
        sql.build().execute(&mut *self.connection).await?;
        Ok(())
    }
}
