//! What an operator writes about a decision, for the timeline. It is free text and stays in the log for ever, so
//! what must not be there is refused.

/// Longest note, in characters.
pub const MAX_NOTE_CHARS: usize = 200;
/// Digits of the shortest and the longest card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// A note without control characters and card numbers. It may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note(String);

/// Why a note was refused. It completes a sentence that begins with the field, and does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedNote {
    #[error("must have at most {MAX_NOTE_CHARS} characters")]
    TooLong,
    #[error("must not have control characters")]
    Control,
    #[error("must not hold a card number")]
    CardNumber,
}

impl Note {
    pub fn parse(text: &str) -> Result<Self, MalformedNote> {
        if text.chars().count() > MAX_NOTE_CHARS {
            return Err(MalformedNote::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(MalformedNote::Control);
        }
        if holds_card_number(text) {
            return Err(MalformedNote::CardNumber);
        }
        Ok(Self(text.trim().to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether whole groups of digits, with single separators between them or none, make 13 to 19 digits that pass
/// the Luhn check.
fn holds_card_number(text: &str) -> bool {
    let is_gap = |c: char| c.is_whitespace() || c == '-' || ('\u{2010}'..='\u{2015}').contains(&c);
    text.split(|c: char| !c.is_ascii_digit() && !is_gap(c)).any(|run| {
        let groups: Vec<&str> = run.split(is_gap).filter(|group| !group.is_empty()).collect();
        (0..groups.len()).any(|first| {
            let mut digits = String::new();
            groups[first..].iter().any(|group| {
                digits.push_str(group);
                CARD_DIGITS.contains(&digits.len()) && passes_luhn(&digits)
            })
        })
    })
}

fn passes_luhn(digits: &str) -> bool {
    let doubled = |(place, digit): (usize, u8)| {
        let value = u32::from(digit - b'0') << (place % 2);
        if value > 9 { value - 9 } else { value }
    };
    digits.bytes().rev().enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_short_and_plain() {
        assert_eq!(Note::parse(" done by hand ").unwrap().as_str(), "done by hand");
        assert!(Note::parse("").unwrap().is_empty());
        assert!(Note::parse(&"ü".repeat(MAX_NOTE_CHARS)).is_ok());
        assert_eq!(Note::parse(&"ü".repeat(MAX_NOTE_CHARS + 1)), Err(MalformedNote::TooLong));
        assert_eq!(Note::parse("a\nb"), Err(MalformedNote::Control));
    }

    #[test]
    fn a_card_number_is_refused_however_it_is_written() {
        for text in ["4242424242424242", "paid with 4242 4242 4242 4242", "room 12 4242-4242-4242-4242 9"] {
            assert_eq!(Note::parse(text), Err(MalformedNote::CardNumber), "{text}");
        }
        for text in ["4242424242424241", "0190f3c2-7a4b-7c3d-9e2f-1a2b3c4d5e6f", "refund 20260131 done"] {
            assert!(Note::parse(text).is_ok(), "{text}");
        }
    }
}
