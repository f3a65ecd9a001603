//! The rules that a request to a SKU's stock can break.

use serde::{Deserialize, Serialize};

/// A broken rule of one SKU's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StockError {
    #[error("no pieces of this SKU were ever received")]
    UnknownSku,
    #[error("only {available} pieces are available")]
    InsufficientStock { available: i64 },
    #[error("a stock cannot count that many pieces")]
    StockLimitReached,
    #[error("only {on_hand} pieces are there, more cannot be taken off")]
    MoreThanOnHand { on_hand: i64 },
    #[error("only {reserved} pieces are reserved")]
    NotReserved { reserved: i64 },
    #[error("only {committed} pieces are sold and not taken back")]
    NotCommitted { committed: i64 },
}
