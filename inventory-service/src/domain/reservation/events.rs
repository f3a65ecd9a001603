//! What happened to a reservation. Released variants are never edited; their stored forms are in `tests/golden`.

use chrono::{DateTime, Utc};
use eventsourcing::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::domain::values::{OrderLines, Quantity, Sku};

/// A fact about one order's reservation. The order's id is the key of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReservationEvent {
    /// Every line is held.
    StockReserved {
        lines: OrderLines,
        expires_at: DateTime<Utc>,
    },
    /// Nothing is held.
    StockReservationRejected(Rejection),
    ReservationPinned {},
    ReservationPinRejected {
        reason: PinRefusal,
    },
    /// Nothing is held any more, and nothing will be.
    StockReleased {},
    /// The same, because its time was up.
    ReservationExpired {},
    StockCommitted {},
    StockRestocked {},
    /// A request found its work done and is told how that went.
    RequestAnswered {
        answer: Answer,
    },
}

impl DomainEvent for ReservationEvent {}

/// What a request that comes again is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Reserved {},
    ReservationRejected(Rejection),
    Pinned {},
    Released { expired: bool },
    Committed {},
    Restocked {},
}

/// Why nothing is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub reason: RejectionReason,
    /// The lines that cannot be had, when it is for them.
    pub lacking: Vec<LackingLine>,
}

/// A line that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LackingLine {
    pub sku: Sku,
    pub requested: Quantity,
    /// Never below zero, whatever the shortfall.
    pub available: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RejectionReason {
    InsufficientStock,
    UnknownSku,
    ReleasedBefore,
    InvalidLines,
}

impl RejectionReason {
    /// The name by which clients know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InsufficientStock => "INSUFFICIENT_STOCK",
            Self::UnknownSku => "UNKNOWN_SKU",
            Self::ReleasedBefore => "RELEASED_BEFORE",
            Self::InvalidLines => "INVALID_LINES",
        }
    }
}

/// Why a reservation cannot be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PinRefusal {
    ReservationExpired,
    ReservationReleased,
    UnknownReservation,
}

impl PinRefusal {
    /// The name by which clients know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReservationExpired => "RESERVATION_EXPIRED",
            Self::ReservationReleased => "RESERVATION_RELEASED",
            Self::UnknownReservation => "UNKNOWN_RESERVATION",
        }
    }
}
