//! The values that a payment is made of. Each is checked where it is made, so that what holds one need not
//! check again; none of them prints what may be sensitive.

use std::fmt;

use card_numbers::contains_card_number;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest provider token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 255;
/// Longest refund id, in bytes.
pub const MAX_REFUND_ID_BYTES: usize = 128;
/// Longest reason for a refund, in characters.
pub const MAX_REFUND_REASON_CHARS: usize = 500;
/// Longest reason code; what a provider says beyond it is cut.
const MAX_REASON_CHARS: usize = 64;
/// What stands in place of a reason that must not be kept.
const WITHHELD: &str = "[withheld]";

/// Why a text is not a value. It completes a sentence that begins with the field, and never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedValue {
    #[error("must be a UUID")]
    NotAUuid,
    #[error("must not be empty")]
    Empty,
    #[error("is too long")]
    TooLong,
    #[error("must not hold blanks or control characters")]
    Unprintable,
    #[error("must not hold a card number: only tokens of the payment provider are taken")]
    CardNumber,
}

/// The order that is paid. A payment has no id of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

impl OrderId {
    pub fn parse(text: &str) -> Result<Self, MalformedValue> {
        Uuid::try_parse(text).map(Self).map_err(|_| MalformedValue::NotAUuid)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the provider gave the customer in exchange for the means of payment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentToken(String);

impl PaymentToken {
    pub fn parse(text: &str) -> Result<Self, MalformedValue> {
        printable(text, MAX_TOKEN_BYTES)?;
        if contains_card_number(text) {
            return Err(MalformedValue::CardNumber);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PaymentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentToken")
    }
}

/// The provider's own id of a payment, by which it can be found for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderReference(pub String);

/// Tells the refunds of a payment apart. Whoever asks for one chooses it, so that asking twice is asking once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefundId(String);

impl RefundId {
    pub fn parse(text: &str) -> Result<Self, MalformedValue> {
        printable(text, MAX_REFUND_ID_BYTES)?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why something was declined, failed or refused: a code that programs compare, in UPPER_SNAKE_CASE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// A code made of what was said: letters and digits in upper case, anything else an underscore.
    pub fn of(text: &str) -> Self {
        let code = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let code: String = text.chars().take(MAX_REASON_CHARS).map(code).collect();
        // A provider that echoes a card number must not get it into the log.
        if code.is_empty() || contains_card_number(text) {
            Self("UNSPECIFIED".to_owned())
        } else {
            Self(code)
        }
    }

    /// A void came first, so nothing may be authorized or captured any more.
    pub fn voided_before() -> Self {
        Self("VOIDED_BEFORE".to_owned())
    }

    /// There is no authorization that could be captured.
    pub fn not_authorized() -> Self {
        Self("NOT_AUTHORIZED".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why somebody gets money back, in words. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefundReason(String);

impl RefundReason {
    pub fn parse(text: &str) -> Result<Self, MalformedValue> {
        if text.chars().count() > MAX_REFUND_REASON_CHARS {
            return Err(MalformedValue::TooLong);
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(MalformedValue::Unprintable);
        }
        if contains_card_number(text) {
            return Err(MalformedValue::CardNumber);
        }
        Ok(Self(text.to_owned()))
    }

    /// The reason if it can be kept, else a mark in its place: nobody waits for money because of a note.
    pub fn or_withheld(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|_| Self(WITHHELD.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn printable(text: &str, max_bytes: usize) -> Result<(), MalformedValue> {
    match text {
        "" => Err(MalformedValue::Empty),
        text if text.len() > max_bytes => Err(MalformedValue::TooLong),
        text if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(MalformedValue::Unprintable),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_no_token() {
        assert_eq!(PaymentToken::parse("4242424242424242"), Err(MalformedValue::CardNumber));
        assert_eq!(PaymentToken::parse("tok_4242-4242-4242-4242"), Err(MalformedValue::CardNumber));
        assert_eq!(PaymentToken::parse("4242 4242 4242 4242"), Err(MalformedValue::Unprintable));
    }

    #[test]
    fn a_token_is_short_printable_and_never_printed() {
        let token = PaymentToken::parse("tok_success").unwrap();
        assert_eq!(token.as_str(), "tok_success");
        assert!(!format!("{token:?}").contains("tok_success"));
        assert_eq!(PaymentToken::parse(""), Err(MalformedValue::Empty));
        assert_eq!(PaymentToken::parse("a\nb"), Err(MalformedValue::Unprintable));
        assert_eq!(PaymentToken::parse(&"x".repeat(MAX_TOKEN_BYTES + 1)), Err(MalformedValue::TooLong));
    }

    #[test]
    fn a_reason_with_a_card_number_is_refused_or_withheld() {
        let text = "customer says: 4242 4242 4242 4242 was charged";
        assert_eq!(RefundReason::parse(text), Err(MalformedValue::CardNumber));
        assert_eq!(RefundReason::or_withheld(text).as_str(), WITHHELD);
        assert_eq!(RefundReason::or_withheld("came broken").as_str(), "came broken");
        assert!(RefundReason::parse(&"x".repeat(MAX_REFUND_REASON_CHARS + 1)).is_err());
        assert!(RefundReason::parse("a\u{1b}[31m").is_err());
    }

    #[test]
    fn what_a_provider_says_becomes_a_code() {
        assert_eq!(Reason::of("insufficient_funds").as_str(), "INSUFFICIENT_FUNDS");
        assert_eq!(Reason::of("do not honor").as_str(), "DO_NOT_HONOR");
        assert_eq!(Reason::of("").as_str(), "UNSPECIFIED");
        assert_eq!(Reason::of("card 4242424242424242 declined").as_str(), "UNSPECIFIED");
        assert_eq!(Reason::of(&"x".repeat(500)).as_str().len(), MAX_REASON_CHARS);
    }

    #[test]
    fn ids_are_checked() {
        assert!(OrderId::parse("0190f3c2-7a4b-7c3d-9e2f-1a2b3c4d5e6f").is_ok());
        assert_eq!(OrderId::parse("order-1"), Err(MalformedValue::NotAUuid));
        assert!(RefundId::parse("cancellation-0190f3c2").is_ok());
        assert_eq!(RefundId::parse("a b"), Err(MalformedValue::Unprintable));
    }
}
