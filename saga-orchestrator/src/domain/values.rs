//! The values that a saga carries from the order to the participants. It passes them on and computes nothing
//! with them, so they hold no arithmetic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a value of a message was refused. It does not repeat the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("an order id is a UUID")]
    OrderId,
    #[error("a currency is three upper-case letters")]
    Currency,
    #[error("an order's total is not negative")]
    NegativeTotal,
    #[error("an order has lines, each with a SKU and at least one piece")]
    Lines,
    #[error("a refund id is a UUID")]
    RefundId,
}

/// Names an order, and with it its checkout and its cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OrderId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidValue::OrderId)
    }
}

/// Which of the two process managers runs a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    Checkout,
    Cancellation,
}

/// What an order comes to, in minor units. Never negative.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// ISO 4217.
    pub currency: String,
    pub minor_units: i64,
}

impl Money {
    /// A total as another service named it.
    pub fn new(currency: &str, minor_units: i64) -> Result<Self, InvalidValue> {
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidValue::Currency);
        }
        if minor_units < 0 {
            return Err(InvalidValue::NegativeTotal);
        }
        Ok(Self { currency: currency.to_owned(), minor_units })
    }

    pub fn is_zero(&self) -> bool {
        self.minor_units == 0
    }
}

/// Pieces of one SKU. An order may have several lines of the same SKU.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Line {
    pub sku: String,
    /// At least 1.
    pub quantity: i64,
}

impl Line {
    pub fn new(sku: &str, quantity: i64) -> Result<Self, InvalidValue> {
        if sku.is_empty() || quantity < 1 {
            return Err(InvalidValue::Lines);
        }
        Ok(Self { sku: sku.to_owned(), quantity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_an_amount_of_a_currency_and_never_negative() {
        assert!(Money::new("EUR", 0).unwrap().is_zero());
        assert!(!Money::new("EUR", i64::MAX).unwrap().is_zero());
        assert_eq!(Money::new("EUR", -1), Err(InvalidValue::NegativeTotal));
        for wrong in ["", "eur", "EURO", "E1R", "€"] {
            assert_eq!(Money::new(wrong, 1), Err(InvalidValue::Currency), "{wrong}");
        }
    }

    #[test]
    fn a_line_has_a_sku_and_at_least_one_piece() {
        assert!(Line::new("TEE-M", 1).is_ok());
        for (sku, quantity) in [("", 1), ("TEE-M", 0), ("TEE-M", i64::MIN)] {
            assert_eq!(Line::new(sku, quantity), Err(InvalidValue::Lines));
        }
    }
}
