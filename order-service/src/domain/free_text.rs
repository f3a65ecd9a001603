//! What no free text may hold: control characters, and anything that could be a card number. Card numbers do
//! not enter the system at all, since whatever holds one falls under the rules of the card networks.

use card_numbers::contains_card_number;
use validator::ValidationError;

/// Whether a text holds control characters, line breaks included.
pub fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// For `validator`: one line without control characters and card numbers.
pub fn one_line(text: &str) -> Result<(), ValidationError> {
    if has_control(text) {
        return Err(violation("control", "must not have control characters"));
    }
    no_card_number(text)
}

/// For `validator`: like [`one_line`], with line breaks allowed.
pub fn several_lines(text: &str) -> Result<(), ValidationError> {
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\r') {
        return Err(violation("control", "must not have control characters other than line breaks"));
    }
    no_card_number(text)
}

fn no_card_number(text: &str) -> Result<(), ValidationError> {
    if contains_card_number(text) {
        return Err(violation("card_number", "must not hold a card number"));
    }
    Ok(())
}

pub(super) fn violation(code: &'static str, message: &'static str) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_card_numbers_are_refused_and_line_breaks_where_one_line_is_meant() {
        let refused = |text| (one_line(text).is_err(), several_lines(text).is_err());
        assert_eq!(refused("Second floor, please ring"), (false, false));
        assert_eq!(refused("Second floor\r\nplease ring"), (true, false));
        for text in ["a\tb", "a\0", "card: 4242 4242 4242 4242"] {
            assert_eq!(refused(text), (true, true), "{text:?}");
        }
        assert!(several_lines("4242 4242\n4242 4242").is_err(), "a line break does not hide it");
    }
}
