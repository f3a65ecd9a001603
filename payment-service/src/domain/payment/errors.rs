//! The rules that a command can break.

use serde::{Deserialize, Serialize};

use crate::domain::{Money, Reason};

/// A broken rule of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum PaymentError {
    #[error("there is no payment for this order")]
    NoPayment,
    #[error("the amount must be more than nothing")]
    AmountNotPositive,
    #[error("the amount is larger than any that is charged here")]
    AmountTooLarge,
    #[error("nothing was captured that could be paid back")]
    NotCaptured,
    #[error("the payment was made in another currency")]
    CurrencyMismatch { captured: Money },
    #[error("everything that was captured is paid back or about to be")]
    NothingLeftToRefund,
    #[error("refunds would exceed what was captured")]
    RefundExceedsCapture { left: Money },
    #[error("a payment has this many refunds at most")]
    TooManyRefunds { limit: usize },
    #[error("the provider reports what it was not asked for")]
    NotAsked,
    #[error("the provider reports the opposite of what it reported before")]
    Contradiction,
}

impl PaymentError {
    /// Its name in UPPER_SNAKE_CASE, for those who compare.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPayment => "PAYMENT_NOT_FOUND",
            Self::AmountNotPositive => "AMOUNT_NOT_POSITIVE",
            Self::AmountTooLarge => "AMOUNT_TOO_LARGE",
            Self::NotCaptured => "PAYMENT_NOT_CAPTURED",
            Self::CurrencyMismatch { .. } => "CURRENCY_MISMATCH",
            Self::NothingLeftToRefund => "NOTHING_LEFT_TO_REFUND",
            Self::RefundExceedsCapture { .. } => "REFUND_EXCEEDS_CAPTURE",
            Self::TooManyRefunds { .. } => "TOO_MANY_REFUNDS",
            Self::NotAsked => "NOT_ASKED",
            Self::Contradiction => "CONTRADICTION",
        }
    }

    /// The same as the reason of a refusal.
    pub fn reason(&self) -> Reason {
        Reason::of(self.code())
    }
}
