//! Changes of products that people who run a shop ask for.

use chrono::Utc;
use eventsourcing::{CommandContext, CommandProcessor, Committed, Decide, ExecuteError};
use uuid::Uuid;

use crate::domain::details::Details;
use crate::domain::operations::{
    self, AddVariants, Changed, CreateProduct, SchedulePrice, Scheduled, WantedHandle,
};
use crate::domain::product::{Product, ProductCommand, ProductError, ScheduledPrice};
use crate::domain::{Assortment, ProductId, ScheduleId};

/// Creates and changes products.
#[derive(Clone)]
pub struct Catalogue {
    processor: CommandProcessor,
}

/// A product to be.
#[derive(Clone, Debug)]
pub struct Creation {
    pub handle: WantedHandle,
    pub details: Details,
    pub assortment: Assortment,
    pub publish: bool,
}

/// A change of one product.
#[derive(Clone, Debug)]
pub struct Change {
    pub product_id: ProductId,
    pub command: ProductCommand,
    /// Refuse unless the product has this version now.
    pub expected_version: Option<u64>,
}

/// The product with its new version.
type Outcome = Result<Committed<Changed>, ExecuteError<ProductError>>;

impl Catalogue {
    pub fn new(processor: CommandProcessor) -> Self {
        Self { processor }
    }

    /// Adds a product under a new id. A repeat of the same request gets the first one's.
    pub async fn create(&self, creation: Creation, context: CommandContext) -> Outcome {
        let Creation { handle, details, assortment, publish } = creation;
        let product_id = Uuid::now_v7().into();
        let operation = CreateProduct { product_id, handle, details, assortment, publish };
        self.processor.execute(operation, context).await
    }

    /// Adds variants whose SKUs are new to the shop.
    pub async fn add_variants(
        &self,
        product_id: ProductId,
        assortment: Assortment,
        expected_version: Option<u64>,
        context: CommandContext,
    ) -> Outcome {
        let operation = AddVariants { product_id, assortment, expected_version };
        self.processor.execute(operation, context).await
    }

    /// Sets a price that takes effect by itself, under a new id.
    pub async fn schedule_price(
        &self,
        product_id: ProductId,
        scheduled: ScheduledPrice,
        expected_version: Option<u64>,
        context: CommandContext,
    ) -> Result<Committed<Scheduled>, ExecuteError<ProductError>> {
        let (schedule_id, now) = (Uuid::now_v7().into(), Utc::now());
        let operation = SchedulePrice { product_id, schedule_id, scheduled, now, expected_version };
        self.processor.execute(operation, context).await
    }

    /// Lets a scheduled price take effect, if its time has come and nothing became of it yet.
    pub async fn take_effect(
        &self,
        product_id: ProductId,
        schedule_id: ScheduleId,
        context: CommandContext,
    ) -> Outcome {
        let command = ProductCommand::TakeEffect { schedule_id, now: Utc::now() };
        self.change(Change { product_id, command, expected_version: None }, context).await
    }

    /// Carries out a change that claims neither SKUs nor a handle.
    pub async fn change(&self, change: Change, context: CommandContext) -> Outcome {
        let Change { product_id, command, expected_version } = change;
        let stream = operations::product_stream(product_id);
        let operation = Decide::<Product> { stream, command, expected_version };
        let Committed { reply, position, replayed } = self.processor.execute(operation, context).await?;
        Ok(Committed { reply: Changed { product_id, version: reply }, position, replayed })
    }
}
