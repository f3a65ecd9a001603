//! Timers that let scheduled prices take effect. They are a projection of the log: one is set when a price is
//! scheduled, and taken back when it is withdrawn or in effect. A timer that was missed while nobody ran fires after
//! the start; one that fires twice, or for a price that came to pass otherwise, changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::tasks::{self, NewTask, Task, TaskHandler, TaskOutcome, TaskQueue};
use eventsourcing::{ExecuteError, HandlerError, Message, Projection, RecordedEvent};
use sqlx::PgConnection;

use crate::application::Catalogue;
use crate::domain::product::{Product, ProductError, ProductEvent};
use crate::domain::{ProductId, ScheduleId};

/// The timers' queue.
pub const QUEUE: &str = "product.price-schedule";
/// How long timers wait for others to be set with.
pub const LINGER: Duration = Duration::from_millis(200);
/// First pause after a failed run; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps the timers in step with the log. A timer's key is the id of its scheduled price, its payload the product.
pub struct PriceTimers {
    pub queue: TaskQueue,
}

impl Projection for PriceTimers {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "product.price-timers"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    /// Only a price that is still to come at the end of a page needs a timer.
    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        page: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut timers: HashMap<ScheduleId, Option<NewTask>> = HashMap::new();
        for event in page {
            match event.decode::<Product>()? {
                Some(ProductEvent::PriceChangeScheduled { schedule_id, effective_at, .. }) => {
                    timers.insert(schedule_id, Some(timer(event, schedule_id, effective_at)));
                }
                Some(ProductEvent::ScheduledPricesWithdrawn { schedules, .. }) => {
                    timers.extend(schedules.into_iter().map(|schedule_id| (schedule_id, None)));
                }
                Some(ProductEvent::ScheduledPriceTookEffect { schedule_id, .. }) => {
                    timers.insert(schedule_id, None);
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
                | None => {}
            }
        }
        if timers.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = timers.keys().map(ToString::to_string).collect();
        let timers: Vec<NewTask> = timers.into_values().flatten().collect();
        self.queue.replace(connection, &keys, &timers).await?;
        Ok(())
    }

    fn committed(&self) {
        self.queue.committed();
    }
}

fn timer(event: &RecordedEvent, schedule_id: ScheduleId, effective_at: DateTime<Utc>) -> NewTask {
    NewTask {
        id: event.event_id,
        key: schedule_id.to_string(),
        payload: event.stream_id.key().into(),
        metadata: event.metadata(),
        due_at: effective_at,
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
            Err(error) => tasks::retry(&error.into(), task.attempts, FIRST_PAUSE, LONGEST_PAUSE),
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
            LONGEST_PAUSE
        }
    };
    TaskOutcome::Retry { after, error: refused.to_string() }
}
