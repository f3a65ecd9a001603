//! What participants learn of a saga's events: its requests. Everything else stays private.

use chrono::{DateTime, Utc};
use contracts::shop::saga::v1 as wire;
use contracts::shop::saga::v1::saga_event::Event as Wire;
use contracts::shop::r#type::v1 as types;
use eventsourcing::{DecodeError, Published, RecordedEvent};
use prost::Message;

use super::event_of;
use crate::domain::{Event, Line, Money, Request};

/// The CloudEvents source of everything published here.
pub const SOURCE: &str = "/shop/saga";

/// The published form of an event of this service's log; `None` when it is private.
pub fn publish(recorded: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    let event = event_of(recorded)?;
    let order_id = recorded.stream_id.key();
    Ok(event.and_then(request).map(|request| published(order_id, request)))
}

fn request(event: Event) -> Option<Request> {
    match event {
        Event::StepRequested { request, .. } => Some(request),
        Event::CheckoutStarted { .. }
        | Event::CancellationStarted { .. }
        | Event::StepSucceeded { .. }
        | Event::StepFailed { .. }
        | Event::StepSkipped { .. }
        | Event::RefundRefused { .. }
        | Event::OutcomeUnknown { .. }
        | Event::CancellationNoted { .. }
        | Event::TurnedBack { .. }
        | Event::CaptureTurnedOutLate {}
        | Event::SagaStuck { .. }
        | Event::SagaEnded { .. } => None,
    }
}

fn published(order_id: &str, request: Request) -> Published {
    let order_id = order_id.to_owned();
    let (event_type, event) = match request {
        Request::ReserveStock { lines, expires_at } => {
            let (lines, expires_at) = (lines.into_iter().map(line).collect(), Some(timestamp(expires_at)));
            let event = wire::StockReservationRequested { order_id, lines, expires_at };
            ("shop.saga.v1.StockReservationRequested", Wire::StockReservationRequested(event))
        }
        Request::AuthorizePayment { amount, payment_token } => {
            let amount = Some(money(amount));
            let event = wire::PaymentAuthorizationRequested { order_id, amount, payment_token };
            ("shop.saga.v1.PaymentAuthorizationRequested", Wire::PaymentAuthorizationRequested(event))
        }
        Request::PinReservation => {
            let event = wire::ReservationPinRequested { order_id };
            ("shop.saga.v1.ReservationPinRequested", Wire::ReservationPinRequested(event))
        }
        Request::CapturePayment => {
            let event = wire::PaymentCaptureRequested { order_id };
            ("shop.saga.v1.PaymentCaptureRequested", Wire::PaymentCaptureRequested(event))
        }
        Request::CommitStock => {
            let event = wire::StockCommitRequested { order_id };
            ("shop.saga.v1.StockCommitRequested", Wire::StockCommitRequested(event))
        }
        Request::ConfirmOrder => {
            let event = wire::OrderConfirmationRequested { order_id };
            ("shop.saga.v1.OrderConfirmationRequested", Wire::OrderConfirmationRequested(event))
        }
        Request::ReleaseStock => {
            let event = wire::StockReleaseRequested { order_id };
            ("shop.saga.v1.StockReleaseRequested", Wire::StockReleaseRequested(event))
        }
        Request::VoidAuthorization => {
            let event = wire::PaymentVoidRequested { order_id };
            ("shop.saga.v1.PaymentVoidRequested", Wire::PaymentVoidRequested(event))
        }
        Request::RefundPayment { refund_id, reason } => {
            // Without an amount: everything that is left.
            let (refund_id, amount) = (refund_id.to_string(), None);
            let event = wire::PaymentRefundRequested { order_id, refund_id, amount, reason };
            ("shop.saga.v1.PaymentRefundRequested", Wire::PaymentRefundRequested(event))
        }
        Request::RestockGoods => {
            let event = wire::StockRestockRequested { order_id };
            ("shop.saga.v1.StockRestockRequested", Wire::StockRestockRequested(event))
        }
        Request::RejectOrder { reason } => {
            let event = wire::OrderRejectionRequested { order_id, reason };
            ("shop.saga.v1.OrderRejectionRequested", Wire::OrderRejectionRequested(event))
        }
        Request::CompleteCancellation { reason } => {
            let event = wire::OrderCancellationCompletionRequested { order_id, reason };
            let name = "shop.saga.v1.OrderCancellationCompletionRequested";
            (name, Wire::OrderCancellationCompletionRequested(event))
        }
    };
    Published { event_type, data: wire::SagaEvent { event: Some(event) }.encode_to_vec() }
}

fn line(line: Line) -> wire::RequestedLine {
    wire::RequestedLine { sku: line.sku, quantity: line.quantity }
}

fn money(money: Money) -> types::Money {
    types::Money { currency_code: money.currency, minor_units: money.minor_units }
}

fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos() as i32 }
}
