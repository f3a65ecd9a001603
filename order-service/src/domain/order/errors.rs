//! The rules that a command can break. They are stored as answers, so they hold nothing personal.

use serde::{Deserialize, Serialize};

use crate::domain::money::{Currency, Money};
use crate::domain::values::Sku;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OrderError {
    #[error("there is no such order")]
    NotFound,
    #[error("the order was placed before")]
    AlreadyPlaced,
    #[error("an order has 1 to {max} lines")]
    WrongNumberOfLines { max: usize },
    /// Lines count from 0.
    #[error("the SKU of line {line} is not in the catalogue")]
    UnknownSku { line: usize, sku: Sku },
    #[error("the product of line {line} is not sold any more")]
    ProductDiscontinued { line: usize, sku: Sku },
    #[error("line {line} is priced in {found}, those before it in {first}")]
    MixedCurrencies { line: usize, first: Currency, found: Currency },
    #[error("the total is higher than {max} minor units")]
    TotalTooHigh { max: i64 },
    #[error("the total is {actual} and not {expected}")]
    PriceChanged { expected: Money, actual: Money },
    #[error("an order that costs something needs a payment token")]
    PaymentTokenRequired,
    #[error("the customer has {max} open orders already")]
    TooManyOpenOrders { max: u32 },
    #[error("the order is not confirmed yet")]
    NotConfirmed,
    #[error("the order is not shipped yet")]
    NotShipped,
    #[error("the order is being cancelled")]
    CancellationUnderWay,
    #[error("the order was shipped already")]
    AlreadyShipped,
    #[error("the order was delivered already")]
    AlreadyDelivered,
    #[error("the order was rejected")]
    AlreadyRejected,
    #[error("the order was cancelled")]
    AlreadyCancelled,
}
