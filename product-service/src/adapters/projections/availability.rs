//! Follows what inventory publishes of each SKU: whether there is any.

use contracts::shop::inventory::v1::InventoryEvent;
use contracts::shop::inventory::v1::inventory_event::Event;
use eventsourcing::{HandlerError, IntegrationEvent, Projection};
use prost::Message;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Changes;
use crate::application::{CachedChange, ProductCache};
use crate::domain::ProductId;

/// The table `availability`.
pub struct Availability {
    changes: Changes,
}

impl Availability {
    pub fn new(cache: ProductCache) -> Self {
        Self { changes: Changes::new(cache) }
    }
}

impl Projection for Availability {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        "product.availability"
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        message: &IntegrationEvent,
    ) -> Result<(), HandlerError> {
        let event = InventoryEvent::decode(message.data.as_slice())
            .map_err(|error| HandlerError::Poison(format!("not an inventory event: {error}")))?;
        // Events that a newer inventory adds are none of ours.
        let Some(Event::StockAvailabilityChanged(changed)) = event.event else { return Ok(()) };
        let products: Vec<(Uuid,)> = sqlx::query_as(
            "WITH known AS (INSERT INTO availability (sku, in_stock) VALUES ($1, $2) \
                            ON CONFLICT (sku) DO UPDATE SET in_stock = excluded.in_stock) \
             SELECT product_id FROM variants WHERE sku = $1",
        )
        .bind(&changed.sku)
        .bind(changed.in_stock)
        .fetch_all(connection)
        .await?;
        let products = products.into_iter().map(|(id,)| ProductId::from(id));
        self.changes.note(products, CachedChange::Stock(message.position));
        Ok(())
    }

    fn committed(&self) {
        self.changes.committed();
    }
}
