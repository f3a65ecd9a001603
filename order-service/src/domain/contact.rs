//! Personal data of an order: what it must look like, and how it stands in events, which is sealed. The
//! plaintext types can be neither printed nor compared by accident; sealing and opening is an adapter's work.

use std::fmt;

use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::country;
use super::free_text::{one_line, several_lines, violation};
use super::values::{CustomerId, OrderId};

/// Longest e-mail address, as RFC 5321 bounds it.
pub const MAX_EMAIL_CHARS: u64 = 254;
/// Longest recipient, city or address line.
pub const MAX_ADDRESS_TEXT_CHARS: u64 = 100;
/// Most address lines.
pub const MAX_ADDRESS_LINES: u64 = 5;
/// Longest postal code.
pub const MAX_POSTAL_CODE_CHARS: u64 = 20;
/// Longest delivery note.
pub const MAX_NOTE_CHARS: u64 = 500;

/// Whom an order goes to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
pub struct Contact {
    #[validate(email(message = "must be an e-mail address"), length(max = MAX_EMAIL_CHARS), custom(function = one_line))]
    pub email: String,
    #[validate(nested)]
    pub shipping_address: Address,
    #[validate(length(max = MAX_NOTE_CHARS), custom(function = several_lines))]
    pub delivery_note: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
pub struct Address {
    #[validate(length(min = 1, max = MAX_ADDRESS_TEXT_CHARS), custom(function = one_line))]
    pub recipient: String,
    #[validate(length(min = 1, max = MAX_ADDRESS_LINES), custom(function = address_lines))]
    pub lines: Vec<String>,
    /// May be empty: some countries have none.
    #[validate(length(max = MAX_POSTAL_CODE_CHARS), custom(function = one_line))]
    pub postal_code: String,
    #[validate(length(min = 1, max = MAX_ADDRESS_TEXT_CHARS), custom(function = one_line))]
    pub city: String,
    /// ISO 3166-1 alpha-2, upper case.
    #[validate(custom(function = country_code))]
    pub country_code: String,
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[contact]")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

fn address_lines(lines: &[String]) -> Result<(), ValidationError> {
    for line in lines {
        if line.is_empty() || line.chars().count() as u64 > MAX_ADDRESS_TEXT_CHARS {
            return Err(violation("length", "each line must have 1 to 100 characters"));
        }
        one_line(line)?;
    }
    // A number that is spread over lines is a number all the same.
    several_lines(&lines.join("\n"))
}

fn country_code(code: &str) -> Result<(), ValidationError> {
    if country::is_code(code) {
        Ok(())
    } else {
        Err(violation("country", "must be an ISO 3166-1 alpha-2 code, such as DE"))
    }
}

/// Personal data as events and tables hold it: encrypted, as text.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedText(pub String);

impl fmt::Debug for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sealed]")
    }
}

/// Whose key personal data is sealed under: a customer's, or that of a single guest's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySubject(String);

impl KeySubject {
    /// The subject of an order's personal data.
    pub fn of(order_id: OrderId, customer_id: Option<&CustomerId>) -> Self {
        customer_id.map_or_else(|| Self::of_guest_order(order_id), Self::of_customer)
    }

    pub fn of_customer(customer_id: &CustomerId) -> Self {
        Self(format!("customer:{customer_id}"))
    }

    pub fn of_guest_order(order_id: OrderId) -> Self {
        Self(format!("order:{order_id}"))
    }

    /// As it was stored, or a subject that is no person.
    pub fn from_name(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn contact() -> Contact {
        Contact {
            email: "ada@shopper.example".into(),
            shipping_address: Address {
                recipient: "Ada Example".into(),
                lines: vec!["12 Ring Road".into()],
                postal_code: "10115".into(),
                city: "Berlin".into(),
                country_code: "DE".into(),
            },
            delivery_note: "Ring twice\nor leave it with the neighbours".into(),
        }
    }

    fn refused(change: impl FnOnce(&mut Contact)) -> bool {
        let mut contact = contact();
        change(&mut contact);
        contact.validate().is_err()
    }

    #[test]
    fn a_usual_contact_is_fine() {
        contact().validate().unwrap();
        assert!(!refused(|c| c.delivery_note.clear()), "a note is not needed");
        assert!(!refused(|c| c.shipping_address.postal_code.clear()), "some countries have no postal codes");
        assert!(!refused(|c| c.shipping_address.recipient = "Ærøskøbing 株式会社".into()));
    }

    #[test]
    fn what_is_missing_too_long_or_malformed_is_refused() {
        assert!(refused(|c| c.email.clear()));
        assert!(refused(|c| c.email = "no at sign".into()));
        assert!(refused(|c| c.email = format!("{}@x.example", "a".repeat(260))));
        assert!(refused(|c| c.shipping_address.recipient.clear()));
        assert!(refused(|c| c.shipping_address.recipient = "x".repeat(101)));
        assert!(refused(|c| c.shipping_address.lines.clear()));
        assert!(refused(|c| c.shipping_address.lines = vec!["x".into(); 6]));
        assert!(refused(|c| c.shipping_address.lines = vec![String::new()]));
        assert!(refused(|c| c.shipping_address.lines = vec!["x".repeat(101)]));
        assert!(refused(|c| c.shipping_address.city.clear()));
        assert!(refused(|c| c.shipping_address.country_code = "de".into()));
        assert!(refused(|c| c.delivery_note = "x".repeat(501)));
    }

    #[test]
    fn control_characters_and_card_numbers_are_refused_in_every_text() {
        for harmful in ["a\u{0}b", "4242 4242 4242 4242"] {
            assert!(refused(|c| c.delivery_note = harmful.into()));
            assert!(refused(|c| c.shipping_address.recipient = harmful.into()));
            assert!(refused(|c| c.shipping_address.lines = vec![harmful.into()]));
            assert!(refused(|c| c.shipping_address.postal_code = harmful.into()));
            assert!(refused(|c| c.shipping_address.city = harmful.into()));
        }
        assert!(refused(|c| c.email = "4242424242424242@x.example".into()));
        assert!(refused(|c| c.shipping_address.lines = vec!["4242 4242".into(), "4242 4242".into()]));
    }

    #[test]
    fn personal_data_is_not_printed() {
        let printed = format!("{:?} {:?}", contact(), contact().shipping_address);
        assert_eq!(printed, "[contact] [address]");
    }
}
