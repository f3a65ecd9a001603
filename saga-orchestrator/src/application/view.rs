//! Names of sagas, and a saga as people see it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use eventsourcing::{Decider, StreamId};
use serde::{Deserialize, Serialize};

use crate::domain::{Cancellation, Checkout, Kind, OrderId, Saga, Status, Step};

/// Names one saga: `checkout-ORDER` or `cancellation-ORDER`, which is its stream's id too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SagaId {
    pub kind: Kind,
    pub order_id: OrderId,
}

/// A text that names no saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be checkout-ORDER, cancellation-ORDER or an order's id")]
pub struct MalformedSagaId;

impl SagaId {
    pub fn stream(self) -> StreamId {
        match self.kind {
            Kind::Checkout => StreamId::of::<Checkout>(self.order_id),
            Kind::Cancellation => StreamId::of::<Cancellation>(self.order_id),
        }
    }

    /// The saga of a stream; `None` for a stream of another category.
    pub fn of_stream(stream: &StreamId) -> Option<Self> {
        let kind = match stream.category() {
            Checkout::CATEGORY => Kind::Checkout,
            Cancellation::CATEGORY => Kind::Cancellation,
            _ => return None,
        };
        Some(Self { kind, order_id: stream.key().parse().ok()? })
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream().fmt(f)
    }
}

impl FromStr for SagaId {
    type Err = MalformedSagaId;

    /// An order's id alone means its checkout.
    fn from_str(text: &str) -> Result<Self, MalformedSagaId> {
        if let Ok(order_id) = text.parse() {
            return Ok(Self { kind: Kind::Checkout, order_id });
        }
        Self::of_stream(&StreamId::from_name(text)).ok_or(MalformedSagaId)
    }
}

/// Where a saga stands. It holds nothing of the order but its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaView {
    pub id: SagaId,
    pub status: Status,
    /// What is waited for; `None` at the end.
    pub open_step: Option<Step>,
    /// How often the open step was sent.
    pub attempts: u32,
    /// When it is sent again or gives up; `None` when nothing happens by itself.
    pub deadline: Option<DateTime<Utc>>,
    /// Why it is stuck, or else why it compensates; may be empty.
    pub reason: String,
    pub definition: u32,
    pub started_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    pub version: u64,
}

impl SagaView {
    /// `None` for a saga that never began.
    pub fn of(saga: &Saga, version: u64, updated_at: DateTime<Utc>) -> Option<Self> {
        let subject = saga.subject.as_ref()?;
        let open = saga.open.as_ref();
        Some(Self {
            id: SagaId { kind: subject.kind, order_id: subject.order_id },
            status: saga.status()?,
            open_step: open.map(|open| open.step),
            attempts: open.map_or(0, |open| open.attempt),
            deadline: open.filter(|open| open.stuck.is_none()).map(|open| open.answer_by),
            reason: saga.reason().to_owned(),
            definition: saga.definition,
            started_at: subject.started_at,
            updated_at,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_order_s_id_alone_means_its_checkout() {
        let order = Uuid::from_u128(42);
        for kind in [Kind::Checkout, Kind::Cancellation] {
            let id = SagaId { kind, order_id: OrderId(order) };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let checkout = SagaId { kind: Kind::Checkout, order_id: OrderId(order) };
        assert_eq!(order.to_string().parse(), Ok(checkout));
        for wrong in ["", "checkout", "checkout-", "order-1", &format!("order-{order}"), "checkout-1"] {
            assert_eq!(wrong.parse::<SagaId>(), Err(MalformedSagaId), "{wrong}");
        }
    }
}
