//! What other services see of a payment. Only answers and the news that an outcome is unknown leave; how they
//! came about is private.

use contracts::shop::payment::v1 as pb;
use contracts::shop::r#type::v1 as common;
use eventsourcing::{DecodeError, Published, RecordedEvent};
use pb::payment_event::Event;
use prost::Message;

use crate::domain::Money;
use crate::domain::payment::{Answer, Payment, PaymentEvent};

/// CloudEvents source of this service.
pub const SOURCE: &str = "/shop/payment";

/// What is published of a recorded event; `None` keeps it private.
pub fn publish(recorded: &RecordedEvent) -> Result<Option<Published>, DecodeError> {
    let event = recorded.decode::<Payment>()?;
    let public = event.and_then(|event| public_event(recorded.stream_id.key(), event));
    Ok(public.map(|event| {
        let event_type = type_of(&event);
        Published { event_type, data: pb::PaymentEvent { event: Some(event) }.encode_to_vec() }
    }))
}

fn public_event(order_id: &str, event: PaymentEvent) -> Option<Event> {
    let order_id = order_id.to_owned();
    if let PaymentEvent::OutcomeUnknown { call } = &event {
        let operation = call.operation().to_owned();
        return Some(Event::PaymentOutcomeUnknown(pb::PaymentOutcomeUnknown { order_id, operation }));
    }
    Some(match event.answer()? {
        Answer::Authorized => Event::PaymentAuthorized(pb::PaymentAuthorized { order_id }),
        Answer::Declined { reason } => {
            Event::PaymentDeclined(pb::PaymentDeclined { order_id, reason: reason.as_str().to_owned() })
        }
        Answer::Captured { amount } => {
            Event::PaymentCaptured(pb::PaymentCaptured { order_id, amount: Some(money(amount)) })
        }
        Answer::CaptureFailed { reason } => Event::PaymentCaptureFailed(pb::PaymentCaptureFailed {
            order_id,
            reason: reason.as_str().to_owned(),
        }),
        Answer::Voided => Event::PaymentVoided(pb::PaymentVoided { order_id }),
        Answer::Refunded { refund_id, amount } => Event::PaymentRefunded(pb::PaymentRefunded {
            order_id,
            refund_id: refund_id.as_str().to_owned(),
            amount: Some(money(amount)),
        }),
        Answer::RefundFailed { refund_id, reason } => Event::PaymentRefundFailed(pb::PaymentRefundFailed {
            order_id,
            refund_id: refund_id.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
        }),
    })
}

fn type_of(event: &Event) -> &'static str {
    match event {
        Event::PaymentAuthorized(_) => "shop.payment.v1.PaymentAuthorized",
        Event::PaymentDeclined(_) => "shop.payment.v1.PaymentDeclined",
        Event::PaymentOutcomeUnknown(_) => "shop.payment.v1.PaymentOutcomeUnknown",
        Event::PaymentCaptured(_) => "shop.payment.v1.PaymentCaptured",
        Event::PaymentCaptureFailed(_) => "shop.payment.v1.PaymentCaptureFailed",
        Event::PaymentVoided(_) => "shop.payment.v1.PaymentVoided",
        Event::PaymentRefunded(_) => "shop.payment.v1.PaymentRefunded",
        Event::PaymentRefundFailed(_) => "shop.payment.v1.PaymentRefundFailed",
    }
}

fn money(amount: Money) -> common::Money {
    common::Money { currency_code: amount.currency.as_str().to_owned(), minor_units: amount.minor_units }
}
