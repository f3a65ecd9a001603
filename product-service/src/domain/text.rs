//! Rules for texts, where they enter the system. Making HTML safe to show is left to whoever shows it.

use card_numbers::contains_card_number;

use super::values::InvalidValue;

/// One line: not longer than `max_chars`, without control characters and without blanks around it. It may be empty.
/// Nothing is trimmed, since two spellings would be two values.
pub fn line(text: &str, max_chars: usize) -> Result<(), InvalidValue> {
    if text.len() > max_chars && text.chars().count() > max_chars {
        return Err(InvalidValue::TooLong(max_chars));
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(InvalidValue::Line);
    }
    Ok(())
}

/// A line with something in it.
pub fn filled_line(text: &str, max_chars: usize) -> Result<(), InvalidValue> {
    if text.is_empty() { Err(InvalidValue::Empty) } else { line(text, max_chars) }
}

/// Why something was done, in the words of whoever did it: a line without a card number. Catalogue data is not checked
/// for those, since its own numbers pass for one by chance.
pub fn reason(text: &str, max_chars: usize) -> Result<(), InvalidValue> {
    line(text, max_chars)?;
    if contains_card_number(text) { Err(InvalidValue::CardNumber) } else { Ok(()) }
}

/// Text with line breaks: at most `max_bytes`, and no control characters other than line breaks and tabs.
pub fn block(text: &str, max_bytes: usize) -> Result<(), InvalidValue> {
    if text.len() > max_bytes {
        return Err(InvalidValue::TooManyBytes(max_bytes));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(InvalidValue::Block);
    }
    Ok(())
}

/// An address that a browser may fetch; `javascript:` and `data:` never get in.
pub fn is_web_address(text: &str) -> bool {
    let starts_with =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    (starts_with("https://") || starts_with("http://"))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A handle made of a name: letters and digits of any script in lower case, words joined by hyphens. Empty if there
/// are none.
pub fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_alphanumeric() {
            slug.extend(c.to_lowercase());
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_characters_and_no_blanks_around_it() {
        assert_eq!(line("Chef's knife, 20 cm", 255), Ok(()));
        assert_eq!(line("", 255), Ok(()));
        assert_eq!(line("äöü", 3), Ok(()));
        assert_eq!(line("äöüß", 3), Err(InvalidValue::TooLong(3)));
        for wrong in [" a", "a ", "a\nb", "a\0", "\u{1b}[31m", "a\u{85}b"] {
            assert_eq!(line(wrong, 255), Err(InvalidValue::Line), "{wrong:?}");
        }
        assert_eq!(filled_line("", 255), Err(InvalidValue::Empty));
    }

    #[test]
    fn a_reason_is_a_line_without_a_card_number() {
        assert_eq!(reason("season 2026", 200), Ok(()));
        assert_eq!(reason("two\nlines", 200), Err(InvalidValue::Line));
        assert_eq!(reason("paid by 4242 4242 4242 4242", 200), Err(InvalidValue::CardNumber));
    }

    #[test]
    fn a_block_may_have_line_breaks_and_tabs_and_nothing_else_that_is_invisible() {
        assert_eq!(block("<p>one</p>\r\n\t<p>two</p>", 100), Ok(()));
        assert_eq!(block("one\0two", 100), Err(InvalidValue::Block));
        assert_eq!(block("äö", 3), Err(InvalidValue::TooManyBytes(3)));
    }

    #[test]
    fn only_web_addresses_are_fetched_by_browsers() {
        assert!(is_web_address("https://images.example/a.jpg") && is_web_address("HTTP://images.example/a"));
        for wrong in
            ["javascript:alert(1)", "data:text/html,x", "//a/b", "https://a b", "https://a\0", "é", ""]
        {
            assert!(!is_web_address(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_slug_keeps_letters_of_any_script() {
        assert_eq!(slug("  Chef's Knife, 20 cm! "), "chef-s-knife-20-cm");
        assert_eq!(slug("Käsereibe Größe 2"), "käsereibe-größe-2");
        assert_eq!(slug("!!!"), "");
    }
}
