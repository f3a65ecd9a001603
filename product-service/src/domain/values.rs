//! The values that commands and events are made of. Each is checked where it enters the system; stored ones are
//! taken as they are, since history cannot be refused.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::currency::Currency;
use super::limits::{MAX_KEY_BYTES, MAX_NAME_CHARS, MAX_NUMBERED_HANDLES, MAX_PRICE_MINOR, MAX_SKU_CHARS};
use super::text::slug;

/// Why a value was refused. The text completes a sentence that begins with the value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("must be a product id, which is a UUID")]
    ProductId,
    #[error("must be the id of a scheduled price, which is a UUID")]
    ScheduleId,
    #[error("must be a time that calendars have, from the year 1 to 9999")]
    Time,
    #[error("must have 1 to {MAX_SKU_CHARS} characters and at most {MAX_KEY_BYTES} bytes")]
    SkuLength,
    #[error("must have 1 to {MAX_NAME_CHARS} characters and at most {MAX_KEY_BYTES} bytes")]
    HandleLength,
    #[error("must be in lower case, without blanks, control characters and any of / ? # % \\")]
    HandleCharacters,
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {0} characters")]
    TooLong(usize),
    #[error("must have at most {0} bytes")]
    TooManyBytes(usize),
    #[error("must have at most {0} entries")]
    TooMany(usize),
    #[error("must not begin or end with a blank, nor have control characters")]
    Line,
    #[error("must not have control characters other than line breaks and tabs")]
    Block,
    #[error("must not hold a card number")]
    CardNumber,
    #[error("must be an address that begins with https:// or http:// and has no blanks")]
    WebAddress,
    #[error("must not contain >, which separates the levels of a category")]
    CategorySeparator,
    #[error("must not be the same as entry {0}")]
    Repeated(usize),
    #[error("must be the code of a currency in use, such as EUR")]
    Currency,
    #[error("must be from 0 to {MAX_PRICE_MINOR} minor units")]
    Price,
    #[error("must be in the currency of variants[0]: a product has one currency")]
    MixedCurrencies,
    #[error("must name the same options in the same order as variants[0]")]
    OptionsDiffer,
    #[error("must not have the same option values as variants[{0}]")]
    OptionValuesRepeated(usize),
}

/// A broken rule with the field that breaks it, as the API names fields.
pub type Violation = (String, InvalidValue);

/// The key of a product's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(Uuid);

impl ProductId {
    /// # Errors
    /// When it is not a UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidValue::ProductId)
    }

    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for ProductId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a price to come, within its product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleId(Uuid);

impl ScheduleId {
    /// # Errors
    /// When it is not a UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidValue::ScheduleId)
    }

    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for ScheduleId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is stocked, carted and ordered; unique in the shop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sku(String);

impl Sku {
    /// # Errors
    /// When it is empty, too long, framed by blanks or has control characters. Capitals count.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() || text.len() > MAX_KEY_BYTES || text.chars().count() > MAX_SKU_CHARS {
            return Err(InvalidValue::SkuLength);
        }
        super::text::line(text, MAX_SKU_CHARS)?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The readable name of a product in addresses; unique in the shop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(String);

/// What a handle begins with when a name has neither letters nor digits.
const NAMELESS: &str = "product";
/// Room for what follows a derived handle that is taken: a hyphen and some digits of a UUID.
const SUFFIX_BYTES: usize = 13;

impl Handle {
    /// # Errors
    /// When it is empty, too long, not in lower case, or would not stand in an address as it is.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() || text.len() > MAX_KEY_BYTES || text.chars().count() > MAX_NAME_CHARS {
            return Err(InvalidValue::HandleLength);
        }
        let fits = |c: char| {
            !c.is_whitespace()
                && !c.is_control()
                && !matches!(c, '/' | '?' | '#' | '%' | '\\')
                && c.to_lowercase().eq([c])
        };
        if text.chars().all(fits) { Ok(Self(text.to_owned())) } else { Err(InvalidValue::HandleCharacters) }
    }

    /// The handles that a product without one may get, in the order in which they are tried: made of its name, with
    /// a number behind it, and last with a part of its id, which nobody else has.
    pub fn derived(name: &str, product: ProductId) -> Vec<Self> {
        let mut base = slug(name);
        base.truncate(base.floor_char_boundary(MAX_KEY_BYTES - SUFFIX_BYTES));
        if base.is_empty() {
            base.push_str(NAMELESS);
        }
        let id = product.0.simple().to_string();
        // The end of a UUIDv7 is random; its beginning is the time.
        let last = format!("{base}-{}", &id[id.len() - (SUFFIX_BYTES - 1)..]);
        let numbered = (2..=MAX_NUMBERED_HANDLES).map(|n| format!("{base}-{n}"));
        std::iter::once(base.clone()).chain(numbered).chain([last]).map(Self).collect()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A price: from nothing to [`MAX_PRICE_MINOR`], in the smallest unit of its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub minor_units: i64,
    pub currency: Currency,
}

impl Price {
    /// # Errors
    /// When it is negative or too high.
    pub fn new(minor_units: i64, currency: Currency) -> Result<Self, InvalidValue> {
        if (0..=MAX_PRICE_MINOR).contains(&minor_units) {
            Ok(Self { minor_units, currency })
        } else {
            Err(InvalidValue::Price)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_taken_as_it_is_or_refused() {
        assert_eq!(Sku::parse("BRU-CHEF8 18/WAL").unwrap().as_str(), "BRU-CHEF8 18/WAL");
        for (wrong, why) in [
            (String::new(), InvalidValue::SkuLength),
            ("a".repeat(MAX_SKU_CHARS + 1), InvalidValue::SkuLength),
            ("茶".repeat(MAX_SKU_CHARS), InvalidValue::SkuLength),
            (" A".into(), InvalidValue::Line),
            ("A\u{7}".into(), InvalidValue::Line),
        ] {
            assert_eq!(Sku::parse(&wrong), Err(why), "{wrong:?}");
        }
    }

    #[test]
    fn a_handle_stands_in_an_address_as_it_is() {
        for right in ["chefs-knife-no-8", "käsereibe", "茶碗", "a.b_c~d"] {
            assert_eq!(Handle::parse(right).unwrap().as_str(), right);
        }
        for wrong in ["Knife", "a b", "a/b", "a?b", "a#b", "a%20b", "a\\b", "a\tb", "a\0b", "É"] {
            assert_eq!(Handle::parse(wrong), Err(InvalidValue::HandleCharacters), "{wrong:?}");
        }
        for wrong in [String::new(), "a".repeat(MAX_NAME_CHARS + 1), "茶".repeat(MAX_NAME_CHARS)] {
            assert_eq!(Handle::parse(&wrong), Err(InvalidValue::HandleLength));
        }
    }

    #[test]
    fn derived_handles_are_valid_distinct_and_begin_with_the_name() {
        let product = ProductId::parse("01939d3e-7c1a-7c4e-8a1b-0123456789ab").unwrap();
        for name in ["Chef's Knife", "!!!", &"ß".repeat(255), &"茶".repeat(255), "İstanbul", &"a".repeat(255)]
        {
            let handles = Handle::derived(name, product);
            assert_eq!(handles.len(), MAX_NUMBERED_HANDLES + 1);
            let distinct: std::collections::HashSet<_> = handles.iter().collect();
            assert_eq!(distinct.len(), handles.len());
            for handle in &handles {
                assert_eq!(Handle::parse(handle.as_str()).as_ref(), Ok(handle), "{name}");
                assert!(handle.as_str().starts_with(handles[0].as_str()));
            }
        }
        let handles = Handle::derived("Chef's Knife", product);
        assert_eq!(handles[0].as_str(), "chef-s-knife");
        assert_eq!(handles[1].as_str(), "chef-s-knife-2");
        assert_eq!(handles[MAX_NUMBERED_HANDLES].as_str(), "chef-s-knife-0123456789ab");
        assert_eq!(Handle::derived("!!!", product)[0].as_str(), "product");
    }

    #[test]
    fn a_price_may_be_nothing_but_never_negative_or_beyond_the_highest() {
        let eur = Currency::from_code("EUR").unwrap();
        assert!(Price::new(0, eur).is_ok() && Price::new(MAX_PRICE_MINOR, eur).is_ok());
        for wrong in [-1, i64::MIN, MAX_PRICE_MINOR + 1, i64::MAX] {
            assert_eq!(Price::new(wrong, eur), Err(InvalidValue::Price));
        }
    }
}
