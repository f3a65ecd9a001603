//! The one match from what goes wrong to the status that a caller gets.

use service_runtime::status::{failed_precondition, internal, invalid_field, not_found};
use tonic::Status;

use crate::domain::{Money, OrderId, PaymentError};

/// A broken rule of the payment of an order.
pub fn of_payment_error(order_id: OrderId, error: PaymentError) -> Status {
    let code = error.code();
    let message = error.to_string();
    match error {
        PaymentError::NoPayment => no_payment(order_id),
        PaymentError::AmountNotPositive | PaymentError::AmountTooLarge => {
            invalid_field("amount.minor_units", message)
        }
        PaymentError::NotCaptured | PaymentError::NothingLeftToRefund => {
            failed_precondition(code, message, [])
        }
        PaymentError::CurrencyMismatch { captured } => {
            let currency = captured.currency.as_str().to_owned();
            failed_precondition(code, message, [("currencyCode", currency)])
        }
        PaymentError::RefundExceedsCapture { left } => {
            failed_precondition(code, message, amount("left", left))
        }
        PaymentError::TooManyRefunds { limit } => {
            failed_precondition(code, message, [("limit", limit.to_string())])
        }
        // Only the provider's reports break these, and they come from no caller.
        PaymentError::NotAsked | PaymentError::Contradiction => internal(message),
    }
}

/// There is no payment for this order.
pub fn no_payment(order_id: OrderId) -> Status {
    not_found(PaymentError::NoPayment.code(), "payment", &order_id.to_string())
}

fn amount(name: &'static str, money: Money) -> [(&'static str, String); 2] {
    [(name, money.minor_units.to_string()), ("currencyCode", money.currency.as_str().to_owned())]
}

#[cfg(test)]
mod tests {
    use service_runtime::status::reason_of;
    use tonic::Code;

    use super::*;
    use crate::domain::Currency;

    #[test]
    fn every_broken_rule_has_a_status() {
        let money = Money::new(Currency::parse("EUR").unwrap(), 5);
        let order_id = OrderId::parse("0190f3c2-7a4b-7c3d-9e2f-1a2b3c4d5e6f").unwrap();
        for (error, code, reason) in [
            (PaymentError::NoPayment, Code::NotFound, "PAYMENT_NOT_FOUND"),
            (PaymentError::AmountNotPositive, Code::InvalidArgument, "INVALID_REQUEST"),
            (PaymentError::AmountTooLarge, Code::InvalidArgument, "INVALID_REQUEST"),
            (PaymentError::NotCaptured, Code::FailedPrecondition, "PAYMENT_NOT_CAPTURED"),
            (
                PaymentError::CurrencyMismatch { captured: money },
                Code::FailedPrecondition,
                "CURRENCY_MISMATCH",
            ),
            (PaymentError::NothingLeftToRefund, Code::FailedPrecondition, "NOTHING_LEFT_TO_REFUND"),
            (
                PaymentError::RefundExceedsCapture { left: money },
                Code::FailedPrecondition,
                "REFUND_EXCEEDS_CAPTURE",
            ),
            (PaymentError::TooManyRefunds { limit: 3 }, Code::FailedPrecondition, "TOO_MANY_REFUNDS"),
            (PaymentError::NotAsked, Code::Internal, "INTERNAL"),
            (PaymentError::Contradiction, Code::Internal, "INTERNAL"),
        ] {
            let status = of_payment_error(order_id, error);
            assert_eq!((status.code(), reason_of(&status).as_str()), (code, reason));
        }
    }
}
