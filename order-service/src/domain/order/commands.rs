//! What may be asked of an order.

use chrono::{DateTime, Utc};

use crate::domain::SealedText;
use crate::domain::money::Money;
use crate::domain::values::{CustomerId, OrderId, PaymentToken, Quantity, ReasonCode, Sku};

#[derive(Clone, Debug)]
pub enum OrderCommand {
    Place(Box<PlaceOrder>),
    /// Somebody wants it cancelled. `note` is what they wrote beside the reason.
    RequestCancellation {
        reason: ReasonCode,
        note: Option<SealedText>,
    },
    /// The checkout saga is done.
    Confirm,
    /// The checkout saga failed and has undone everything.
    Reject {
        reason: ReasonCode,
    },
    /// A saga has undone everything on request.
    CompleteCancellation {
        reason: ReasonCode,
    },
    Ship,
    Deliver,
}

/// An order with the facts that it depends on, as they were when it was decided.
#[derive(Clone, Debug)]
pub struct PlaceOrder {
    pub order_id: OrderId,
    /// `None` for a guest.
    pub customer_id: Option<CustomerId>,
    pub lines: Vec<RequestedLine>,
    /// The total that the shopper saw.
    pub expected_total: Option<Money>,
    pub payment_token: Option<PaymentToken>,
    pub contact: SealedText,
    /// Pending orders of this customer; guests have none, since nobody knows who they are.
    pub open_orders: u32,
    pub max_open_orders: u32,
    pub placed_at: DateTime<Utc>,
}

/// A wish, and what the catalogue says about it.
#[derive(Clone, Debug)]
pub struct RequestedLine {
    pub sku: Sku,
    pub quantity: Quantity,
    pub offer: Offer,
}

/// What the catalogue says about a SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    Unknown,
    Discontinued,
    Sold { name: String, unit_price: Money },
}
