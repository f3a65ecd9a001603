//! What an operator writes about a decision, for the timeline. It is free text and stays in the log for ever, so
//! what must not be there is refused.

use card_numbers::contains_card_number;

/// Longest note, in characters.
pub const MAX_NOTE_CHARS: usize = 200;

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
        if contains_card_number(text) {
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
    fn a_card_number_is_refused() {
        assert_eq!(Note::parse("paid with 4242 4242 4242 4242"), Err(MalformedNote::CardNumber));
        assert!(Note::parse("refund 20260131 done").is_ok());
    }
}
