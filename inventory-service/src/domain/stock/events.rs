//! What happened to a SKU's stock. Released variants are never edited; their stored forms are in `tests/golden`.

use eventsourcing::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::domain::values::{Adjustment, Note, OrderId, Quantity};

/// A fact about one SKU's stock. The SKU is the key of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StockEvent {
    StockReceived {
        quantity: Quantity,
        reference: Note,
    },
    StockAdjusted {
        delta: Adjustment,
        reason: Note,
    },
    PiecesReserved {
        order_id: OrderId,
        quantity: Quantity,
    },
    PiecesReleased {
        order_id: OrderId,
        quantity: Quantity,
    },
    PiecesCommitted {
        order_id: OrderId,
        quantity: Quantity,
    },
    PiecesRestocked {
        order_id: OrderId,
        quantity: Quantity,
    },
    /// Fewer pieces are there than are promised.
    ShortfallOpened {
        missing: i64,
    },
    /// All promised pieces are there again.
    ShortfallClosed {},
    /// The available pieces became none, or stopped being none.
    AvailabilityChanged {
        in_stock: bool,
    },
}

impl DomainEvent for StockEvent {}
