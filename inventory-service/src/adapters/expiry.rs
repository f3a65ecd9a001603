//! Timers that give reservations back. They are a projection of the log: one is set when goods are held, and
//! taken back when the reservation is pinned or ends. One that fires too late changes nothing, and a pin looks
//! at the time itself, so nothing depends on a timer being punctual.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::tasks::{self, NewTask, Task, TaskHandler, TaskOutcome, TaskQueue};
use eventsourcing::{ExecuteError, HandlerError, Message, Projection, RecordedEvent};
use sqlx::PgConnection;

use crate::application::Reservations;
use crate::domain::OrderId;
use crate::domain::operations::ReservationRefused;
use crate::domain::reservation::{Reservation, ReservationError, ReservationEvent};

/// The timers' queue.
pub const QUEUE: &str = "inventory.reservation-expiry";

/// How long timers wait for others to be set with. Reservations are held for minutes, and one that is pinned or
/// ends before that has no timer to set.
pub const LINGER: Duration = Duration::from_millis(200);
/// First pause after a failed run; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps the timers in step with the log.
pub struct ReservationTimers {
    pub queue: TaskQueue,
}

impl Projection for ReservationTimers {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "inventory.reservation-timers"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    /// Only a reservation that is still held at the end of a page needs a timer.
    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        page: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut timers: HashMap<&str, Option<NewTask>> = HashMap::new();
        for event in page {
            match event.decode::<Reservation>()? {
                Some(ReservationEvent::StockReserved { expires_at, .. }) => {
                    timers.insert(event.stream_id.key(), Some(timer(event, expires_at)));
                }
                Some(
                    ReservationEvent::ReservationPinned {}
                    | ReservationEvent::StockReleased {}
                    | ReservationEvent::ReservationExpired {}
                    | ReservationEvent::StockCommitted {},
                ) => {
                    timers.insert(event.stream_id.key(), None);
                }
                // These come before a timer is set, after it was taken back, or change nothing.
                Some(
                    ReservationEvent::StockReservationRejected(_)
                    | ReservationEvent::ReservationPinRejected { .. }
                    | ReservationEvent::StockRestocked {}
                    | ReservationEvent::RequestAnswered { .. },
                )
                | None => {}
            }
        }
        let keys: Vec<String> = timers.keys().map(|&key| key.to_owned()).collect();
        let timers: Vec<NewTask> = timers.into_values().flatten().collect();
        self.queue.replace(connection, &keys, &timers).await?;
        Ok(())
    }

    fn committed(&self) {
        self.queue.committed();
    }
}

fn timer(event: &RecordedEvent, expires_at: DateTime<Utc>) -> NewTask {
    NewTask {
        id: event.event_id,
        key: event.stream_id.key().to_owned(),
        payload: Default::default(),
        metadata: event.metadata(),
        due_at: expires_at,
    }
}

/// Carries the timers out.
pub struct ExpireReservations {
    reservations: Reservations,
}

impl ExpireReservations {
    pub fn new(reservations: Reservations) -> Self {
        Self { reservations }
    }
}

impl TaskHandler for ExpireReservations {
    async fn run(&self, task: &Task) -> TaskOutcome {
        let Ok(order_id) = OrderId::parse(&task.key) else {
            tracing::error!(task = %task.id, "a timer's key is no order id; it is dropped");
            return TaskOutcome::Done;
        };
        // Each run is a command of its own, since the answer depends on the time; expiring twice is harmless.
        let context = task.context(task.attempts.unsigned_abs());
        match self.reservations.expire(order_id, context).await {
            Ok(_) => TaskOutcome::Done,
            Err(ExecuteError::Rejected { rejection, .. }) => not_yet(&rejection),
            Err(error) => tasks::retry(&error.into(), task.attempts, FIRST_PAUSE, LONGEST_PAUSE),
        }
    }
}

/// The database's clock may be ahead of this process's; anything else is a fault that stays visible as a retry.
fn not_yet(refused: &ReservationRefused) -> TaskOutcome {
    let after = match refused {
        ReservationRefused::Reservation(ReservationError::NotDue { expires_at }) => {
            (*expires_at - Utc::now()).to_std().unwrap_or_default()
        }
        fault => {
            tracing::error!(error = %fault, "a reservation cannot expire");
            LONGEST_PAUSE
        }
    };
    TaskOutcome::Retry { after, error: refused.to_string() }
}
