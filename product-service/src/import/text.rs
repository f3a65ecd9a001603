//! Cleaning of text cells. What a terminal, a database or a log line could stumble over is taken out here, once;
//! making HTML safe to show is left to whoever shows it.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

/// One line of text: control characters are taken out (line breaks and tabs become blanks), blanks around it too.
pub(super) fn line(text: &str) -> String {
    let clean: String = text
        .chars()
        .filter_map(|c| match c {
            '\n' | '\r' | '\t' => Some(' '),
            '\u{feff}' => None,
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect();
    let trimmed = clean.trim();
    if trimmed.len() == clean.len() { clean } else { trimmed.to_owned() }
}

/// Whether `line` would leave nothing.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control() || c == '\u{feff}')
}

/// Text with line breaks, such as HTML: control characters other than line breaks and tabs are taken out.
pub(super) fn block(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}

/// What begins a cell whose text is to be taken exactly: a JSON text, or a list of them, follows. Exports write a cell so
/// when it would else be read as something else.
pub(super) const EXACT_MARK: &str = "json:";

/// What stands in a cell behind [`EXACT_MARK`], if it is that.
pub(super) fn exact<T: DeserializeOwned>(cell: &str) -> Option<T> {
    serde_json::from_str(cell.strip_prefix(EXACT_MARK)?).ok()
}

/// A line that was written exactly: only control characters and blanks around it are taken out.
pub(super) fn exact_line(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    clean.trim().to_owned()
}

/// A block that was written exactly, line breaks of every kind included.
pub(super) fn exact_block(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\r' | '\t') || !c.is_control()).collect()
}

/// Whether `line` reads this text as it is.
pub(super) fn is_plain_line(text: &str) -> bool {
    !text.starts_with(EXACT_MARK) && line(text) == text
}

/// Whether a text with line breaks is read as it is.
pub(super) fn is_plain_block(text: &str) -> bool {
    let says_something = text.is_empty() || !text.trim().is_empty();
    !text.starts_with(EXACT_MARK) && !text.contains('\r') && says_something && block(text) == text
}

/// The entries of a list in one cell, without blanks around them.
pub(super) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

/// The entries that differ in more than capitals from all before them.
pub(super) fn without_repeats(entries: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    entries.into_iter().filter(|entry| seen.insert(entry.to_lowercase())).collect()
}

/// What spreadsheets put in front of digits to keep them as text.
pub(super) fn without_text_mark(text: &str) -> &str {
    text.strip_prefix('\'').unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_get_through() {
        assert_eq!(line(" \u{feff}Red\0 \u{1b}[31mapron\r\n\ttwo \u{7f}"), "Red [31mapron   two");
        assert_eq!(block("<p>one\u{0}\u{8}</p>\n\t<p>two\u{85}</p>\n"), "<p>one</p>\n\t<p>two</p>\n");
    }
}
