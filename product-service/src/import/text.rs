//! Cleaning of text cells. What a terminal, a database or a log line could stumble over is taken out here, once;
//! making HTML safe to show is left to whoever shows it.

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
