//! The one place where this service's errors become statuses.

use service_runtime::status::{failed_precondition, not_found};
use tonic::Status;

use crate::domain::stock::StockError;

/// A broken rule of a SKU's stock.
pub(super) fn of_stock_error(sku: &str, error: StockError) -> Status {
    let detail = error.to_string();
    match error {
        StockError::UnknownSku => unknown_sku(sku),
        StockError::InsufficientStock { available } => {
            failed_precondition("INSUFFICIENT_STOCK", detail, [("available", available.to_string())])
        }
        StockError::StockLimitReached => failed_precondition("STOCK_LIMIT_REACHED", detail, []),
        StockError::MoreThanOnHand { on_hand } => {
            failed_precondition("MORE_THAN_ON_HAND", detail, [("onHand", on_hand.to_string())])
        }
        StockError::NotReserved { reserved } => {
            failed_precondition("NOT_RESERVED", detail, [("reserved", reserved.to_string())])
        }
        StockError::NotCommitted { committed } => {
            failed_precondition("NOT_COMMITTED", detail, [("committed", committed.to_string())])
        }
    }
}

pub(super) fn unknown_sku(sku: &str) -> Status {
    not_found("UNKNOWN_SKU", "stock", sku)
}

pub(super) fn unknown_reservation(order_id: &str) -> Status {
    not_found("UNKNOWN_RESERVATION", "reservation", order_id)
}
