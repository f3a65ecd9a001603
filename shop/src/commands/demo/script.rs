//! The orders of the demo, and how each must end.

/// One scripted order.
pub struct Order {
    /// What it shows.
    pub name: &'static str,
    pub sku: &'static str,
    pub quantity: Quantity,
    /// What the payment provider's simulator does.
    pub payment_token: &'static str,
    pub cancel: Cancel,
    pub expected: Expected,
}

pub enum Quantity {
    /// So many, received beforehand.
    Of(i64),
    MoreThanThereIs,
}

/// When the shopper changes their mind.
#[derive(PartialEq, Eq)]
pub enum Cancel {
    Never,
    /// While checkout is still going on.
    AtOnce,
    OnceConfirmed,
}

#[derive(Clone, Copy)]
pub enum Expected {
    Confirmed,
    ConfirmedForFree,
    /// With nothing charged.
    Rejected,
    /// Before or after the money was taken: what was taken is paid back.
    Cancelled,
    CancelledAndRefunded,
}

impl Expected {
    /// The order's status at its end.
    pub fn status(self) -> &'static str {
        match self {
            Self::Confirmed | Self::ConfirmedForFree => "ORDER_STATUS_CONFIRMED",
            Self::Rejected => "ORDER_STATUS_REJECTED",
            Self::Cancelled | Self::CancelledAndRefunded => "ORDER_STATUS_CANCELLED",
        }
    }
}

const KNIFE: &str = "BRU-CHEF8-20-OAK";
const SCARCE: &str = "BRU-FOUNDERS-PETTY-KNIFE";
const FREE: &str = "TAN-LINEN-SWATCH-CARD";

const fn order(name: &'static str, payment_token: &'static str, expected: Expected) -> Order {
    Order { name, sku: KNIFE, quantity: Quantity::Of(1), payment_token, cancel: Cancel::Never, expected }
}

/// Every outcome that an order can have.
pub const ORDERS: &[Order] = &[
    order("confirmed", "tok_success", Expected::Confirmed),
    Order {
        sku: SCARCE,
        quantity: Quantity::MoreThanThereIs,
        ..order("rejected for stock", "tok_success", Expected::Rejected)
    },
    order("declined", "tok_decline", Expected::Rejected),
    Order {
        cancel: Cancel::OnceConfirmed,
        ..order("cancelled and refunded", "tok_success", Expected::CancelledAndRefunded)
    },
    Order { cancel: Cancel::AtOnce, ..order("cancelled during checkout", "tok_slow", Expected::Cancelled) },
    order("timed out, then confirmed", "tok_timeout_then_success", Expected::Confirmed),
    order("unknown, then confirmed", "tok_unknown_until_asked", Expected::Confirmed),
    order("error, then confirmed", "tok_error_then_success", Expected::Confirmed),
    order("capture fails", "tok_capture_fails", Expected::Rejected),
    Order { sku: FREE, ..order("zero total", "", Expected::ConfirmedForFree) },
];
