//! What the payment service's events mean: answers about an order's payment. Refunds that people made are heard too
//! and concern no saga, since their ids are none of its own.

use contracts::shop::payment::v1::PaymentEvent;
use contracts::shop::payment::v1::payment_event::Event;
use eventsourcing::HandlerError;
use prost::Message;
use uuid::Uuid;

use super::{Meaning, poison};
use crate::domain::{Answer, Input, Reply};

/// What an event of the payment service says, read from its protobuf message.
pub fn meaning(data: &[u8]) -> Meaning {
    // An event of a newer payment service is none of ours.
    let Some(event) = PaymentEvent::decode(data).map_err(poison)?.event else { return Ok(None) };
    let (order_id, reply) = match event {
        Event::PaymentAuthorized(e) => (e.order_id, Reply::plain(Answer::PaymentAuthorized)),
        Event::PaymentDeclined(e) => (e.order_id, Reply::because(Answer::PaymentDeclined, e.reason)),
        Event::PaymentOutcomeUnknown(e) => {
            (e.order_id, Reply::because(Answer::PaymentOutcomeUnknown, e.operation))
        }
        Event::PaymentCaptured(e) => (e.order_id, Reply::plain(Answer::PaymentCaptured)),
        Event::PaymentCaptureFailed(e) => {
            (e.order_id, Reply::because(Answer::PaymentCaptureFailed, e.reason))
        }
        Event::PaymentVoided(e) => (e.order_id, Reply::plain(Answer::PaymentVoided)),
        Event::PaymentRefunded(e) => match of_refund(Answer::PaymentRefunded, &e.refund_id, String::new()) {
            Some(reply) => (e.order_id, reply),
            None => return Ok(None),
        },
        Event::PaymentRefundFailed(e) => match of_refund(Answer::PaymentRefundFailed, &e.refund_id, e.reason)
        {
            Some(reply) => (e.order_id, reply),
            None => return Ok(None),
        },
    };
    let order_id = order_id.parse().map_err(poison)?;
    Ok::<_, HandlerError>(Some((order_id, Input::Reply(reply))))
}

/// `None` for a refund whose id no saga can have given.
fn of_refund(answer: Answer, refund_id: &str, detail: String) -> Option<Reply> {
    Some(Reply::of_refund(answer, Uuid::parse_str(refund_id).ok()?, detail))
}
