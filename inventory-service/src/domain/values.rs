//! The values that commands and events are made of. Each is checked where it enters the system; stored ones are
//! taken as they are, since history cannot be refused.

use std::collections::BTreeMap;
use std::fmt;

use card_numbers::contains_card_number;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest SKU in characters.
pub const MAX_SKU_CHARS: usize = 100;
/// Longest SKU in bytes: it is part of a stream id, whose length is limited.
pub const MAX_SKU_BYTES: usize = 240;
/// Most pieces of one SKU in one receipt, adjustment or order.
pub const MAX_QUANTITY: i64 = 1_000_000;
/// Most lines of one order.
pub const MAX_LINES: usize = 1_000;
/// Longest reference or reason in characters.
pub const MAX_NOTE_CHARS: usize = 200;

/// Why a value was refused. The text completes a sentence that begins with the value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("must have 1 to {MAX_SKU_CHARS} characters and at most {MAX_SKU_BYTES} bytes")]
    SkuLength,
    #[error("must not begin or end with a blank, nor have control characters")]
    SkuCharacters,
    #[error("must be an order id, which is a UUID")]
    OrderId,
    #[error("must be from 1 to {MAX_QUANTITY}")]
    Quantity,
    #[error("must be from -{MAX_QUANTITY} to {MAX_QUANTITY} and not 0")]
    Adjustment,
    #[error("must have at most {MAX_NOTE_CHARS} characters")]
    NoteLength,
    #[error("must not have control characters")]
    NoteCharacters,
    #[error("must not hold a card number")]
    NoteCardNumber,
    #[error("must not be empty")]
    NoteEmpty,
}

/// What is stocked, and the key of its stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sku(String);

impl Sku {
    /// # Errors
    /// When it is empty, too long, framed by blanks or has control characters. Nothing is trimmed: two
    /// spellings would be two stocks.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() || text.len() > MAX_SKU_BYTES || text.chars().count() > MAX_SKU_CHARS {
            return Err(InvalidValue::SkuLength);
        }
        if text.trim() != text || text.chars().any(char::is_control) {
            return Err(InvalidValue::SkuCharacters);
        }
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

/// The order that a reservation is for, and the key of the reservation's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Uuid);

impl OrderId {
    /// # Errors
    /// When it is not a UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidValue::OrderId)
    }

    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for OrderId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of pieces: 1 to [`MAX_QUANTITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(i64);

impl Quantity {
    /// # Errors
    /// When it is zero, negative or above [`MAX_QUANTITY`].
    pub fn new(pieces: i64) -> Result<Self, InvalidValue> {
        if (1..=MAX_QUANTITY).contains(&pieces) { Ok(Self(pieces)) } else { Err(InvalidValue::Quantity) }
    }

    pub fn get(self) -> i64 {
        self.0
    }

    /// The sum, if it is a quantity.
    fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|sum| Self::new(sum).ok())
    }
}

/// A correction of a stock: pieces found, or lost when negative; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Adjustment(i64);

impl Adjustment {
    /// # Errors
    /// When it is zero, or its size is above [`MAX_QUANTITY`].
    pub fn new(delta: i64) -> Result<Self, InvalidValue> {
        if delta != 0 && (-MAX_QUANTITY..=MAX_QUANTITY).contains(&delta) {
            Ok(Self(delta))
        } else {
            Err(InvalidValue::Adjustment)
        }
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// A line of text that people wrote: a delivery note's number, or why a stock was corrected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Note(String);

impl Note {
    /// Blanks around it are dropped; it may be empty.
    ///
    /// # Errors
    /// When it is too long, or has control characters or a card number.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        if text.chars().count() > MAX_NOTE_CHARS {
            return Err(InvalidValue::NoteLength);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidValue::NoteCharacters);
        }
        if contains_card_number(text) {
            return Err(InvalidValue::NoteCardNumber);
        }
        Ok(Self(text.to_owned()))
    }

    /// # Errors
    /// Those of [`Note::parse`], and when nothing was written.
    pub fn required(text: &str) -> Result<Self, InvalidValue> {
        let note = Self::parse(text)?;
        if note.0.is_empty() { Err(InvalidValue::NoteEmpty) } else { Ok(note) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So many pieces of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub sku: Sku,
    pub quantity: Quantity,
}

/// The lines of an order: 1 to [`MAX_LINES`], each SKU once, in the order of the SKUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderLines(Vec<Line>);

/// An order whose lines nobody could deliver, whatever is in stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order has 1 to {MAX_LINES} lines of valid SKUs, and 1 to {MAX_QUANTITY} pieces of each SKU")]
pub struct InvalidLines;

impl OrderLines {
    /// Sums the pieces of each SKU over all lines.
    ///
    /// # Errors
    /// When there is no line or too many, a line is malformed, or a sum is no [`Quantity`].
    pub fn sum<'a>(lines: impl IntoIterator<Item = (&'a str, i64)>) -> Result<Self, InvalidLines> {
        let mut sums: BTreeMap<Sku, Quantity> = BTreeMap::new();
        for (count, (sku, pieces)) in lines.into_iter().enumerate() {
            if count == MAX_LINES {
                return Err(InvalidLines);
            }
            let sku = Sku::parse(sku).map_err(|_| InvalidLines)?;
            let quantity = Quantity::new(pieces).map_err(|_| InvalidLines)?;
            let sum = match sums.get(&sku) {
                Some(before) => before.plus(quantity).ok_or(InvalidLines)?,
                None => quantity,
            };
            sums.insert(sku, sum);
        }
        if sums.is_empty() {
            return Err(InvalidLines);
        }
        Ok(Self(sums.into_iter().map(|(sku, quantity)| Line { sku, quantity }).collect()))
    }

    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_taken_as_it_is_or_not_at_all() {
        let longest = "x".repeat(MAX_SKU_CHARS);
        for right in ["A", "linen-apron_dark-blue_m", "50/50 mix", "茶-1", &longest] {
            assert_eq!(Sku::parse(right).unwrap().as_str(), right);
        }
        let too_many_bytes = "茶".repeat(MAX_SKU_CHARS);
        for wrong in ["", " ", " A", "A\t", "A\nB", "A\0", &format!("{longest}x"), &too_many_bytes] {
            assert!(Sku::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_quantity_is_from_one_to_its_limit() {
        assert_eq!(Quantity::new(1).unwrap().get(), 1);
        assert_eq!(Quantity::new(MAX_QUANTITY).unwrap().get(), MAX_QUANTITY);
        for wrong in [0, -1, MAX_QUANTITY + 1, i64::MAX, i64::MIN] {
            assert_eq!(Quantity::new(wrong), Err(InvalidValue::Quantity), "{wrong}");
        }
    }

    #[test]
    fn an_adjustment_has_a_size_and_a_limit_in_both_directions() {
        assert_eq!(Adjustment::new(-MAX_QUANTITY).unwrap().get(), -MAX_QUANTITY);
        for wrong in [0, MAX_QUANTITY + 1, -MAX_QUANTITY - 1, i64::MIN, i64::MAX] {
            assert_eq!(Adjustment::new(wrong), Err(InvalidValue::Adjustment), "{wrong}");
        }
    }

    #[test]
    fn a_note_is_one_line_of_limited_length_without_a_card_number() {
        assert_eq!(Note::parse("  delivery 7 ").unwrap().as_str(), "delivery 7");
        assert_eq!(Note::required(" "), Err(InvalidValue::NoteEmpty));
        assert_eq!(Note::parse("two\nlines"), Err(InvalidValue::NoteCharacters));
        assert_eq!(Note::parse("paid by 4242 4242 4242 4242"), Err(InvalidValue::NoteCardNumber));
        assert_eq!(Note::parse(&"é".repeat(MAX_NOTE_CHARS + 1)), Err(InvalidValue::NoteLength));
    }

    #[test]
    fn pieces_of_a_sku_are_summed_over_all_lines() {
        let lines = OrderLines::sum([("b", 2), ("a", 1), ("b", 3)]).unwrap();
        let sums: Vec<_> = lines.as_slice().iter().map(|l| (l.sku.as_str(), l.quantity.get())).collect();
        assert_eq!(sums, [("a", 1), ("b", 5)]);
    }

    #[test]
    fn lines_that_nobody_could_deliver_are_refused() {
        let huge = [("a", MAX_QUANTITY), ("a", 1)];
        assert_eq!(OrderLines::sum(huge), Err(InvalidLines), "a sum beyond the limit");
        assert_eq!(OrderLines::sum([]), Err(InvalidLines));
        for wrong in [("a", 0), ("a", -1), ("a", i64::MAX), ("", 1)] {
            assert_eq!(OrderLines::sum([("ok", 1), wrong]), Err(InvalidLines), "{wrong:?}");
        }
        assert_eq!(OrderLines::sum(vec![("a", 1); MAX_LINES + 1]), Err(InvalidLines));
        assert!(OrderLines::sum(vec![("a", 1); MAX_LINES]).is_ok());
    }
}
