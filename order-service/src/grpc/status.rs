//! The one place where this service's errors become statuses.

use eventsourcing::HandlerError;
use service_runtime::status::{
    self, RETRY_AFTER, failed_precondition, not_found, of_execute_error, position_not_reached, reason,
    resource_exhausted, unavailable,
};
use tonic::Status;

use crate::application::StoreError;
use crate::application::change_orders::ChangeError;
use crate::application::forget_person::ForgetError;
use crate::application::place_orders::PlaceError;
use crate::application::read_orders::ReadError;
use crate::application::watch_orders::{TooManyWatches, WatchError};
use crate::domain::OrderId;
use crate::domain::order::OrderError;

pub(super) fn unknown_order(order_id: OrderId) -> Status {
    not_found("ORDER_NOT_FOUND", "order", &order_id.to_string())
}

pub(super) fn of_place_error(error: PlaceError) -> Status {
    match error {
        PlaceError::Store(error) => of_store_error(error),
        // Placing never misses an order, so the id is not needed.
        PlaceError::Command(error) => of_execute_error(error, |rule| of_order_error("", rule)),
    }
}

pub(super) fn of_change_error(order_id: OrderId, error: ChangeError) -> Status {
    match error {
        ChangeError::Store(error) => of_store_error(error),
        ChangeError::Command(error) => {
            of_execute_error(error, |rule| of_order_error(&order_id.to_string(), rule))
        }
    }
}

/// A broken rule of an order.
fn of_order_error(order_id: &str, error: OrderError) -> Status {
    let detail = error.to_string();
    let line_of = |line: usize, sku: String| [("field", format!("lines[{line}].sku")), ("sku", sku)];
    let plain = |reason: &str| failed_precondition(reason, detail.clone(), []);
    match error {
        OrderError::NotFound => not_found("ORDER_NOT_FOUND", "order", order_id),
        OrderError::AlreadyPlaced => plain("ORDER_ALREADY_PLACED"),
        OrderError::WrongNumberOfLines { max } => {
            failed_precondition("WRONG_NUMBER_OF_LINES", detail, [("max", max.to_string())])
        }
        OrderError::UnknownSku { line, sku } => {
            failed_precondition("UNKNOWN_SKU", detail, line_of(line, sku.to_string()))
        }
        OrderError::ProductDiscontinued { line, sku } => {
            failed_precondition("PRODUCT_DISCONTINUED", detail, line_of(line, sku.to_string()))
        }
        OrderError::MixedCurrencies { line, first, found } => failed_precondition(
            "MIXED_CURRENCIES",
            detail,
            [
                ("field", format!("lines[{line}].sku")),
                ("first", first.to_string()),
                ("found", found.to_string()),
            ],
        ),
        OrderError::TotalTooHigh { max } => {
            failed_precondition("TOTAL_TOO_HIGH", detail, [("maxMinorUnits", max.to_string())])
        }
        OrderError::PriceChanged { expected, actual } => failed_precondition(
            "PRICE_CHANGED",
            detail,
            [
                ("expectedCurrencyCode", expected.currency.to_string()),
                ("expectedMinorUnits", expected.minor_units.to_string()),
                ("actualCurrencyCode", actual.currency.to_string()),
                ("actualMinorUnits", actual.minor_units.to_string()),
            ],
        ),
        OrderError::PaymentTokenRequired => plain("PAYMENT_TOKEN_REQUIRED"),
        OrderError::TooManyOpenOrders { max } => {
            failed_precondition("TOO_MANY_OPEN_ORDERS", detail, [("max", max.to_string())])
        }
        OrderError::NotConfirmed => plain("ORDER_NOT_CONFIRMED"),
        OrderError::NotShipped => plain("ORDER_NOT_SHIPPED"),
        OrderError::CancellationUnderWay => plain("CANCELLATION_UNDER_WAY"),
        OrderError::AlreadyShipped => plain("ORDER_ALREADY_SHIPPED"),
        OrderError::AlreadyDelivered => plain("ORDER_ALREADY_DELIVERED"),
        OrderError::AlreadyRejected => plain("ORDER_ALREADY_REJECTED"),
        OrderError::AlreadyCancelled => plain("ORDER_ALREADY_CANCELLED"),
    }
}

pub(super) fn of_read_error(error: ReadError) -> Status {
    match error {
        ReadError::Store(error) => of_store_error(error),
        ReadError::Behind(_) => position_not_reached(),
    }
}

pub(super) fn of_watch_error(order_id: OrderId, error: WatchError) -> Status {
    match error {
        WatchError::UnknownOrder => unknown_order(order_id),
        WatchError::Store(error) => of_store_error(error),
        WatchError::TooMany(TooManyWatches::InProcess) => {
            unavailable(reason::OVERLOADED, "too many streams are open", RETRY_AFTER)
        }
        WatchError::TooMany(TooManyWatches::OfOrder) => {
            resource_exhausted("TOO_MANY_WATCHES", "too many streams follow this order", Some(RETRY_AFTER))
        }
    }
}

pub(super) fn of_forget_error(order_id: OrderId, error: ForgetError) -> Status {
    let detail = error.to_string();
    match error {
        ForgetError::UnknownOrder => unknown_order(order_id),
        ForgetError::OrderOfCustomer(customer) => {
            failed_precondition("ORDER_OF_CUSTOMER", detail, [("customerId", customer.to_string())])
        }
        ForgetError::Store(error) => of_store_error(error),
    }
}

/// A database that could not be used. What it says stays in the log.
pub(super) fn of_store_error(error: StoreError) -> Status {
    status::of_read_error(match error {
        StoreError::Unreachable(why) => HandlerError::Unreachable(why),
        StoreError::Fault(why) => HandlerError::Poison(why),
    })
}
