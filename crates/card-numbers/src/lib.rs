//! Finds numbers of payment cards in text that must not hold any. Whatever holds one falls under the rules of the
//! card networks, so none enters the system: neither in a token nor in free text, by mistake or on purpose.
//!
//! It says yes or no and nothing else: what is refused, and in which words, is for each caller to decide. It is
//! pure, so that code without I/O may use it.

/// Digits of the shortest and the longest card number.
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Whether `text` holds 13 to 19 digits, blanks or hyphens between them or not, that pass the Luhn check.
///
/// Digits are taken in groups as they are written. A card number beside other groups is found; a longer unbroken
/// run of digits is not searched for one inside, since one in ten would have one by chance.
pub fn contains_card_number(text: &str) -> bool {
    let runs = text.split(|c: char| !c.is_ascii_digit() && !is_separator(c));
    runs.map(groups).any(|groups| (0..groups.len()).any(|first| begins_card_number(&groups[first..])))
}

/// Whether some of the groups, from the first one on, make a card number together.
fn begins_card_number(groups: &[&str]) -> bool {
    let mut digits = String::new();
    for group in groups {
        if digits.len() + group.len() > *DIGITS.end() {
            return false;
        }
        digits.push_str(group);
        if DIGITS.contains(&digits.len()) && passes_luhn(&digits) {
            return true;
        }
    }
    false
}

fn groups(run: &str) -> Vec<&str> {
    run.split(is_separator).filter(|group| !group.is_empty()).collect()
}

/// Blanks of all kinds, and what is written as a hyphen: the Unicode hyphens and dashes, and the minus sign.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn passes_luhn(digits: &str) -> bool {
    let value = |(place, digit): (usize, u8)| {
        let value = u32::from(digit - b'0') << (place % 2);
        if value > 9 { value - 9 } else { value }
    };
    digits.bytes().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "3782 822463 10005",
            "4242-4242\u{2011}4242\u{a0}4242",
            "4242\u{2212}4242\u{2212}4242\u{2212}4242",
            "4242  4242 - 4242\n4242",
            "4222222222222",
            "6304000000000000000",
            "0000 0000 0000 0000",
        ] {
            assert!(contains_card_number(text), "{text}");
        }
    }

    #[test]
    fn card_numbers_are_found_beside_other_text_and_numbers() {
        for text in [
            "tok_5555555555554444x",
            "card: 378282246310005.",
            "please charge 4242 4242 4242 4242 12/27",
            "4242 4242 4242 4242 123",
            "room 12 4242-4242-4242-4242 9",
            "12345678901234567890 4242424242424242",
        ] {
            assert!(contains_card_number(text), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_none() {
        for text in [
            "",
            "tok_success",
            "4242424242424241",
            "424242424242",
            "42424242424242424242",
            "12345678901234567890123456789012",
            "+49 30 1234567",
            "call 0171 555 12 34 before 2026-01-31",
            "0190f3c2-7a4b-7c3d-9e2f-1a2b3c4d5e6f",
            "4242x4242x4242x4242",
        ] {
            assert!(!contains_card_number(text), "{text}");
        }
    }

    /// The Luhn check as its definition says it: every second digit from the right doubled, its digits summed.
    fn luhn_sum(digits: &[u8]) -> u32 {
        let doubled = |digit: u8| u32::from(digit * 2 / 10 + digit * 2 % 10);
        let from_right = digits.iter().rev().enumerate();
        from_right.map(|(place, d)| if place % 2 == 1 { doubled(*d) } else { u32::from(*d) }).sum()
    }

    fn written(digits: &[u8]) -> String {
        digits.iter().map(|digit| char::from(b'0' + digit)).collect()
    }

    /// Digits of the length of a card number, the last of which makes them pass.
    fn card() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0..10u8, 12..=18).prop_map(|mut digits| {
            digits.push(0);
            let check = (10 - luhn_sum(&digits) % 10) % 10;
            *digits.last_mut().expect("not empty") = check as u8;
            digits
        })
    }

    fn separator() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", " ", "-", " - ", "\u{a0}", "\u{2011}", "\u{2013}", "\u{2212}", "\t"])
    }

    proptest! {
        #[test]
        fn a_card_number_is_found_in_any_grouping_and_any_words(
            digits in card(),
            gaps in prop::collection::vec(separator(), 19),
            before in "([a-z .,:]{0,20}[a-z.,:])?",
            after in "([a-z.,:][a-z .,:]{0,20})?",
        ) {
            let grouped: String =
                digits.iter().zip(gaps).map(|(digit, gap)| format!("{gap}{digit}")).collect();
            prop_assert!(contains_card_number(&format!("{before}{grouped}{after}")), "{}{}{}", before, grouped, after);
        }

        #[test]
        fn a_number_with_a_wrong_check_digit_is_none(mut digits in card(), wrong in 1..10u8) {
            let check = digits.last_mut().expect("not empty");
            *check = (*check + wrong) % 10;
            prop_assert!(!contains_card_number(&written(&digits)));
        }

        #[test]
        fn an_unbroken_number_is_one_exactly_if_its_length_and_its_check_digit_are_right(
            digits in prop::collection::vec(0..10u8, 0..=24),
        ) {
            let is_one = (13..=19).contains(&digits.len()) && luhn_sum(&digits).is_multiple_of(10);
            prop_assert_eq!(contains_card_number(&written(&digits)), is_one);
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,200}") {
            let _ = contains_card_number(&text);
        }
    }
}
