//! Timers that give reservations back. They are a projection of the log: one is set when goods are held, and
//! taken back when the reservation is pinned or ends. One that fires too late changes nothing, and a pin looks
//! at the time itself, so nothing depends on a timer being punctual.

use chrono::Utc;
use eventsourcing::tasks::timers::{self, Set, Timing};
use eventsourcing::tasks::{Task, TaskHandler, TaskOutcome};
use eventsourcing::{ExecuteError, HandlerError, RecordedEvent};

use crate::application::Reservations;
use crate::domain::OrderId;
use crate::domain::operations::ReservationRefused;
use crate::domain::reservation::{Reservation, ReservationError, ReservationEvent};

/// The timers' queue.
pub const QUEUE: &str = "inventory.reservation-expiry";

/// A timer's key is the order, whose reservation it is.
pub struct ExpiryTiming;

impl Timing for ExpiryTiming {
    const NAME: &'static str = "inventory.reservation-timers";

    fn of(event: &RecordedEvent) -> Result<Vec<(String, Set)>, HandlerError> {
        let set = match event.decode::<Reservation>()? {
            Some(ReservationEvent::StockReserved { expires_at, .. }) => {
                Set::At(expires_at, Default::default())
            }
            Some(
                ReservationEvent::ReservationPinned {}
                | ReservationEvent::StockReleased {}
                | ReservationEvent::ReservationExpired {}
                | ReservationEvent::StockCommitted {},
            ) => Set::Back,
            // These come before a timer is set, after it was taken back, or change nothing.
            Some(
                ReservationEvent::StockReservationRejected(_)
                | ReservationEvent::ReservationPinRejected { .. }
                | ReservationEvent::StockRestocked {}
                | ReservationEvent::RequestAnswered { .. },
            )
            | None => return Ok(Vec::new()),
        };
        Ok(vec![(event.stream_id.key().to_owned(), set)])
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
            Err(error) => timers::retry(&error.into(), task.attempts),
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
            timers::LONGEST_PAUSE
        }
    };
    TaskOutcome::Retry { after, error: refused.to_string() }
}
