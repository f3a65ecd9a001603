//! What no free text may hold: control characters, and anything that could be a card number. Card numbers do
//! not enter the system at all, since whatever holds one falls under the rules of the card networks.

use validator::ValidationError;

/// Digits of the shortest and the longest card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Whether a text holds control characters, line breaks included.
pub fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Whether 13 to 19 digits of the text, with blanks or hyphens in between or not, pass the Luhn check.
///
/// Groups of digits are taken as they are written: a longer number is not searched for a card number inside,
/// since one in ten would have one by chance, but a card number before or after other groups is found.
pub fn has_card_number(text: &str) -> bool {
    let mut groups: Vec<Vec<u8>> = Vec::new();
    let mut in_group = false;
    for c in text.chars() {
        match c.to_digit(10) {
            Some(digit) => {
                if !in_group {
                    groups.push(Vec::new());
                }
                in_group = true;
                groups.last_mut().expect("one was just pushed").push(digit as u8);
            }
            None if is_separator(c) => in_group = false,
            None => {
                if connected_groups_hold_card_number(&groups) {
                    return true;
                }
                groups.clear();
                in_group = false;
            }
        }
    }
    connected_groups_hold_card_number(&groups)
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn connected_groups_hold_card_number(groups: &[Vec<u8>]) -> bool {
    (0..groups.len()).any(|first| {
        let mut digits: Vec<u8> = Vec::with_capacity(*CARD_DIGITS.end());
        for group in &groups[first..] {
            digits.extend(group);
            if digits.len() > *CARD_DIGITS.end() {
                return false;
            }
            if CARD_DIGITS.contains(&digits.len()) && passes_luhn(&digits) {
                return true;
            }
        }
        false
    })
}

fn passes_luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| u32::from(if place % 2 == 1 { doubled(*digit) } else { *digit }))
        .sum();
    // Zeros alone pass, and are nobody's card.
    sum.is_multiple_of(10) && sum > 0
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
    if has_card_number(text) {
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
    use proptest::prelude::*;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242\u{2011}4242\u{a0}4242",
            "card: 378282246310005.",
            "please charge 4242 4242 4242 4242 12/27",
            "4242 4242 4242 4242 123",
            "12 4242424242424242",
            "4222222222222",
            "tok_4242424242424242",
            "4242  4242 - 4242  4242",
        ] {
            assert!(has_card_number(text), "{text}");
        }
    }

    #[test]
    fn other_numbers_pass() {
        for text in [
            "",
            "4242424242424241",
            "+49 30 1234567",
            "order 123456789012",
            "0000 0000 0000 0000",
            "12345678901234567890123456789012",
            "4242x4242x4242x4242",
        ] {
            assert!(!has_card_number(text), "{text}");
        }
    }

    fn with_check_digit(mut digits: Vec<u8>) -> Vec<u8> {
        digits.push(0);
        let valid = (0..10).find(|check| {
            *digits.last_mut().expect("not empty") = *check;
            passes_luhn(&digits)
        });
        *digits.last_mut().expect("not empty") = valid.expect("one of ten check digits is right");
        digits
    }

    proptest! {
        #[test]
        fn every_number_with_a_right_check_digit_is_found_and_with_a_wrong_one_is_not(
            digits in prop::collection::vec(1..10u8, 12..=18), wrong in 1..10u8,
        ) {
            let mut digits = with_check_digit(digits);
            let text = |digits: &[u8]| digits.iter().map(|d| char::from(b'0' + d)).collect::<String>();
            prop_assert!(has_card_number(&text(&digits)));
            let check = digits.last_mut().expect("not empty");
            *check = (*check + wrong) % 10;
            prop_assert!(!has_card_number(&text(&digits)));
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,200}") {
            let _ = has_card_number(&text);
        }
    }
}
