//! The rules that a request to a reservation can break. None of them is for lack of stock or time: those are
//! answers that somebody waits for, and therefore events.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ReservationStatus;

/// A request that no correct sender makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReservationError {
    #[error("other lines are reserved for this order")]
    OtherLinesReserved,
    #[error("the goods are sold and cannot be released")]
    AlreadyCommitted,
    #[error("nothing is held that could be sold: the reservation is {}", status.as_str())]
    NothingHeld { status: ReservationStatus },
    #[error("no goods were sold that could be taken back: the reservation is {}", status.as_str())]
    NotCommitted { status: ReservationStatus },
    #[error("the reservation is held until {expires_at}")]
    NotDue { expires_at: DateTime<Utc> },
}
