//! Finds card numbers in text that must not hold any. Only tokens of the provider enter the system; a number
//! that is typed into a token or a note by mistake is refused before anything stores or logs it.

/// Digits of the shortest and the longest card number.
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Whether `text` holds 13 to 19 digits, blanks or hyphens between them or not, that pass the Luhn check.
///
/// A number that stands beside other numbers is found as well; a longer unbroken run of digits is none.
pub fn contains_card_number(text: &str) -> bool {
    let runs = text.split(|c: char| !c.is_ascii_digit() && !is_separator(c));
    runs.map(groups).any(|groups| (0..groups.len()).any(|first| begins_card_number(&groups[first..])))
}

/// Whether some of the groups, from the first one on, make a card number together.
fn begins_card_number(groups: &[&str]) -> bool {
    let mut digits = String::new();
    for group in groups {
        digits.push_str(group);
        if digits.len() > *DIGITS.end() {
            return false;
        }
        if DIGITS.contains(&digits.len()) && passes_luhn(&digits) {
            return true;
        }
    }
    false
}

fn groups(run: &str) -> Vec<&str> {
    run.split(is_separator).filter(|group| !group.is_empty()).collect()
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || c == '-' || ('\u{2010}'..='\u{2015}').contains(&c)
}

fn passes_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "3782 822463 10005",
            "tok_5555555555554444x",
            "please use 4000056655665556, thanks",
            "room 12 4242 4242 4242 4242 12",
            "4242\u{a0}4242\u{2011}4242\n4242",
            "4222222222222",
            "6304000000000000000",
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
            "call 0171 555 12 34 before 2026-01-31",
            "0190f3c2-7a4b-7c3d-9e2f-1a2b3c4d5e6f",
            "4242x4242x4242x4242",
        ] {
            assert!(!contains_card_number(text), "{text}");
        }
    }
}
