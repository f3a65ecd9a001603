//! Ids, quantities and codes: small types that can only hold what is allowed, made where a request enters.
//! Reading them back from stored events checks nothing, since history cannot be refused.

use std::fmt;

use card_numbers::contains_card_number;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::free_text;

/// Longest SKU, in characters; the catalogue's limit.
pub const MAX_SKU_CHARS: usize = 100;
/// Most pieces of one line.
pub const MAX_QUANTITY: i64 = 1_000;
/// Longest customer id.
pub const MAX_CUSTOMER_ID_CHARS: usize = 64;
/// Longest payment token.
pub const MAX_PAYMENT_TOKEN_CHARS: usize = 255;
/// Longest reason code.
pub const MAX_REASON_CODE_CHARS: usize = 64;

/// Names an order: a UUIDv7, so that ids sort by the time they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Uuid);

impl OrderId {
    pub fn new(id: Uuid) -> Self {
        Self(id)
    }

    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

text! {
    /// What is stocked and ordered. May pass for a card number by chance, so that is not checked.
    Sku;
    /// A customer's pseudonym. Its letters are few on purpose: no e-mail address fits in.
    CustomerId;
    /// Why an order was rejected or cancelled, in UPPER_SNAKE_CASE.
    ReasonCode;
}

macro_rules! shown {
    ($($name:ident)+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )+};
}

shown! { Sku CustomerId ReasonCode }

impl Sku {
    pub fn parse(text: &str) -> Option<Self> {
        let length = text.chars().count();
        let fits = (1..=MAX_SKU_CHARS).contains(&length);
        (fits && text.trim() == text && !free_text::has_control(text)).then(|| Self(text.to_owned()))
    }
}

impl CustomerId {
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let fits = (1..=MAX_CUSTOMER_ID_CHARS).contains(&text.len()) && text.bytes().all(allowed);
        // Ids with letters in them, such as UUIDs, pass the check of card numbers by chance.
        let is_card_number =
            !text.bytes().any(|byte| byte.is_ascii_alphabetic()) && contains_card_number(text);
        (fits && !is_card_number).then(|| Self(text.to_owned()))
    }
}

impl ReasonCode {
    pub fn parse(text: &str) -> Option<Self> {
        let starts = text.starts_with(|c: char| c.is_ascii_uppercase());
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        (starts && text.len() <= MAX_REASON_CODE_CHARS && text.bytes().all(allowed))
            .then(|| Self(text.to_owned()))
    }

    /// A code that stands in this program.
    ///
    /// # Panics
    /// When it is not one, which the first test that uses it finds.
    pub fn fixed(code: &'static str) -> Self {
        Self::parse(code).expect("codes of this program are well formed")
    }
}

/// How many pieces: 1 to [`MAX_QUANTITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(i64);

impl Quantity {
    pub fn new(pieces: i64) -> Option<Self> {
        (1..=MAX_QUANTITY).contains(&pieces).then_some(Self(pieces))
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// The payment provider's name for what the shopper pays with. Never a card number.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentToken(String);

impl PaymentToken {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_PAYMENT_TOKEN_CHARS).contains(&text.len());
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && graphic && !contains_card_number(text)).then(|| Self(text.to_owned()))
    }

    /// For those who pay with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PaymentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[payment token]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_may_look_like_a_card_number_but_has_no_blanks_around_it() {
        assert!(Sku::parse("4242424242424242").is_some());
        assert!(Sku::parse(&"é".repeat(MAX_SKU_CHARS)).is_some());
        for wrong in ["", " A", "A ", "A\u{7}", &"x".repeat(MAX_SKU_CHARS + 1)] {
            assert_eq!(Sku::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_customer_id_cannot_be_an_email_address_or_a_card_number() {
        assert!(CustomerId::parse("c:eu-1.42_x").is_some());
        assert!(
            CustomerId::parse("a0e24242-4242-4242-4242-00aa00aa00aa").is_some(),
            "a card number by chance"
        );
        for wrong in
            ["", "a@b.example", "two words", "4242-4242-4242-4242", &"x".repeat(MAX_CUSTOMER_ID_CHARS + 1)]
        {
            assert_eq!(CustomerId::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_quantity_is_from_one_to_a_thousand() {
        assert_eq!(Quantity::new(1000).unwrap().get(), 1000);
        for wrong in [0, -1, 1001, i64::MIN, i64::MAX] {
            assert_eq!(Quantity::new(wrong), None);
        }
    }

    #[test]
    fn a_payment_token_is_no_card_number_and_is_not_shown() {
        assert_eq!(format!("{:?}", PaymentToken::parse("tok_success").unwrap()), "[payment token]");
        for wrong in
            ["", "tok with blanks", "tök", "tok_4242424242424242", "4242-4242-4242-4242", &"x".repeat(256)]
        {
            assert!(PaymentToken::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_reason_code_is_upper_snake_case() {
        assert_eq!(ReasonCode::parse("OUT_OF_STOCK_2").unwrap().as_str(), "OUT_OF_STOCK_2");
        for wrong in ["", "_A", "1A", "out", "A B", &"A".repeat(65)] {
            assert_eq!(ReasonCode::parse(wrong), None, "{wrong:?}");
        }
    }
}
