//! What happens to orders. Released variants are never edited; see `tests/golden` for their stored form.

use chrono::{DateTime, Utc};
use eventsourcing::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::domain::money::Money;
use crate::domain::values::{CustomerId, OrderId, PaymentToken, Quantity, ReasonCode, Sku};
use crate::domain::{KeySubject, SealedText};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderEvent {
    OrderPlaced(OrderPlaced),
    /// The customer or an operator wants the order cancelled.
    OrderCancellationRequested {
        reason: ReasonCode,
        /// What they wrote beside the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<SealedText>,
        /// Whether checkout is still going on; otherwise the cancellation saga ends the order.
        while_pending: bool,
    },
    OrderConfirmed {},
    OrderRejected {
        reason: ReasonCode,
    },
    OrderCancelled {
        reason: ReasonCode,
    },
    OrderShipped {},
    OrderDelivered {},
    /// A saga asked for what was decided already and is told once more. Nothing changes.
    OrderOutcomeReaffirmed {
        outcome: Outcome,
    },
}

impl DomainEvent for OrderEvent {}

/// How checkout, or the cancellation after it, ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Confirmed {},
    Rejected { reason: ReasonCode },
    Cancelled { reason: ReasonCode },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order_id: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    pub lines: Vec<OrderLine>,
    pub amounts: Vec<Amount>,
    /// The sum of the amounts.
    pub total: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_token: Option<PaymentToken>,
    /// Sealed under the key of [`OrderPlaced::key_subject`].
    pub contact: SealedText,
    pub placed_at: DateTime<Utc>,
}

impl OrderPlaced {
    /// Whose key the order's personal data is sealed under.
    pub fn key_subject(&self) -> KeySubject {
        KeySubject::of(self.order_id, self.customer_id.as_ref())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub sku: Sku,
    /// As it was named when the order was placed.
    pub name: String,
    pub quantity: Quantity,
    pub unit_price: Money,
    pub line_total: Money,
}

/// One part of a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub kind: AmountKind,
    pub money: Money,
}

/// Kinds of which a total is made. Discounts, shipping and taxes are reserved; nothing makes them yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmountKind {
    Items,
    Discount,
    Shipping,
    Tax,
}
