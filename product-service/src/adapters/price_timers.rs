//! Timers that let scheduled prices take effect. They are a projection of the log: one is set when a price is
//! scheduled, and taken back when it is withdrawn or in effect. A timer that was missed while nobody ran fires after
//! the start; one that fires twice, or for a price that came to pass otherwise, changes nothing.

use chrono::Utc;
use eventsourcing::tasks::timers::{self, Set, Timing};
use eventsourcing::tasks::{Task, TaskHandler, TaskOutcome};
use eventsourcing::{ExecuteError, HandlerError, RecordedEvent};

use crate::application::Catalogue;
use crate::domain::product::{Product, ProductError, ProductEvent};
use crate::domain::{ProductId, ScheduleId};

/// The timers' queue.
pub const QUEUE: &str = "product.price-schedule";
/// A timer's key is the id of its scheduled price, its payload the product.
pub struct PriceTiming;

impl Timing for PriceTiming {
    const NAME: &'static str = "product.price-timers";

    fn of(event: &RecordedEvent) -> Result<Vec<(String, Set)>, HandlerError> {
        Ok(match event.decode::<Product>()? {
            Some(ProductEvent::PriceChangeScheduled { schedule_id, effective_at, .. }) => {
                vec![(schedule_id.to_string(), Set::At(effective_at, event.stream_id.key().into()))]
            }
            Some(ProductEvent::ScheduledPricesWithdrawn { schedules, .. }) => {
                schedules.into_iter().map(|schedule_id| (schedule_id.to_string(), Set::Back)).collect()
            }
            Some(ProductEvent::ScheduledPriceTookEffect { schedule_id, .. }) => {
                vec![(schedule_id.to_string(), Set::Back)]
            }
            Some(
                ProductEvent::ProductCreated { .. }
                | ProductEvent::VariantsAdded { .. }
                | ProductEvent::ProductPublished { .. }
                | ProductEvent::VariantsOffered { .. }
                | ProductEvent::PriceChanged { .. }
                | ProductEvent::ProductRenamed { .. }
                | ProductEvent::DescriptionChanged { .. }
                | ProductEvent::BrandChanged { .. }
                | ProductEvent::ProductRecategorized { .. }
                | ProductEvent::SupplierChanged { .. }
                | ProductEvent::AttributesChanged { .. }
                | ProductEvent::ProductRetagged { .. }
                | ProductEvent::ImagesChanged { .. }
                | ProductEvent::ProductDiscontinued { .. }
                | ProductEvent::ProductReinstated { .. },
            )
            | None => Vec::new(),
        })
    }
}

/// Carries the timers out.
pub struct TakeEffect {
    catalogue: Catalogue,
}

impl TakeEffect {
    pub fn new(catalogue: Catalogue) -> Self {
        Self { catalogue }
    }
}

impl TaskHandler for TakeEffect {
    async fn run(&self, task: &Task) -> TaskOutcome {
        let product_id = task.payload.as_str().and_then(|id| ProductId::parse(id).ok());
        let Some((product_id, schedule_id)) = product_id.zip(ScheduleId::parse(&task.key).ok()) else {
            tracing::error!(task = %task.id, "a timer names no product and scheduled price; it is dropped");
            return TaskOutcome::Done;
        };
        // Each run is a command of its own, since the answer depends on the time; to take effect twice is harmless.
        let context = task.context(task.attempts.unsigned_abs());
        match self.catalogue.take_effect(product_id, schedule_id, context).await {
            Ok(_) => TaskOutcome::Done,
            Err(ExecuteError::Rejected { rejection, .. }) => not_yet(&rejection),
            Err(error) => timers::retry(&error.into(), task.attempts),
        }
    }
}

/// The database's clock may be ahead of this process's; anything else is a fault that stays visible as a retry.
fn not_yet(refused: &ProductError) -> TaskOutcome {
    let after = match refused {
        ProductError::ScheduleNotDue { effective_at } => {
            (*effective_at - Utc::now()).to_std().unwrap_or_default()
        }
        fault => {
            tracing::error!(error = %fault, "a scheduled price cannot take effect");
            timers::LONGEST_PAUSE
        }
    };
    TaskOutcome::Retry { after, error: refused.to_string() }
}
