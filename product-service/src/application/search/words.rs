//! Words as search compares them: accents, letter case, apostrophes and plurals make no difference. Documents and
//! queries go through the same functions, so that the rule is the same on both sides and no extension of the database
//! takes part in it. Nothing here knows what a product is.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Characters of a word; what is longer is cut, in documents and in queries alike.
pub const MAX_WORD_CHARS: usize = 40;
/// Shorter words have no plural: `bus`, `gas`.
const MIN_PLURAL_CHARS: usize = 4;

/// A text in lower case and without accents; what is neither letter nor digit becomes one blank.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        match c {
            // Within a word these are no borders: `chef's` is `chefs`.
            '\'' | '\u{2019}' | '\u{2bc}' | '\u{60}' | '\u{b4}' => {}
            c if c.is_alphanumeric() => push_letter(&mut folded, c),
            _ if folded.ends_with(' ') || folded.is_empty() => {}
            _ => folded.push(' '),
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}

/// Letters that are no accented ones and yet typed as others.
fn push_letter(folded: &mut String, c: char) {
    for lower in c.to_lowercase().filter(|c| c.is_alphanumeric()) {
        match lower {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            other => folded.push(other),
        }
    }
}

/// The words of a folded text, in order.
pub fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.split_ascii_whitespace().map(cut)
}

fn cut(word: &str) -> &str {
    word.char_indices().nth(MAX_WORD_CHARS).map_or(word, |(at, _)| &word[..at])
}

/// What singular and plural of an English word have in common. It need not be a word: `knife`, `knives` and `knif` all
/// become `knif`.
pub fn stem(word: &str) -> String {
    if word.len() < MIN_PLURAL_CHARS || !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return word.to_owned();
    }
    let singular = if let Some(start) = word.strip_suffix("ies").filter(|start| start.len() > 1) {
        format!("{start}y")
    } else if ["xes", "ches", "shes", "sses", "zzes"].iter().any(|ending| word.ends_with(ending)) {
        word[..word.len() - 2].to_owned()
    } else if ["ss", "us", "is"].iter().any(|ending| word.ends_with(ending)) {
        word.to_owned()
    } else {
        word.strip_suffix('s').unwrap_or(word).to_owned()
    };
    for (ending, common) in [("ve", "f"), ("fe", "f"), ("oe", "o")] {
        if let Some(start) = singular.strip_suffix(ending).filter(|start| start.len() > 1) {
            return format!("{start}{common}");
        }
    }
    singular
}

/// HTML as text: tags and entities are gaps.
pub fn without_markup(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let skipped = markup(from);
        text.push(' ');
        rest = &from[skipped..];
    }
    text.push_str(rest);
    text
}

/// The longest entity that is looked for, such as `&thetasym;`.
const MAX_ENTITY_BYTES: usize = 12;

/// The length of the tag or entity that `from` begins with, or of the one character if it is none.
fn markup(from: &str) -> usize {
    let second = from[1..].chars().next();
    if from.starts_with('<') && second.is_some_and(|c| c.is_ascii_alphabetic() || "/!?".contains(c)) {
        return from.find('>').map_or(from.len(), |end| end + 1);
    }
    let entity = from.bytes().take(MAX_ENTITY_BYTES).position(|byte| byte == b';');
    match entity {
        Some(end)
            if from.starts_with('&')
                && from
                    .bytes()
                    .take(end)
                    .skip(1)
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'#') =>
        {
            end + 1
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_case_and_apostrophes_make_no_difference() {
        for (text, folded) in [
            ("Crème Brûlée", "creme brulee"),
            ("Chef’s Knife No. 8", "chefs knife no 8"),
            ("GRÖSSE Größe", "grosse grosse"),
            ("Smørrebrød & Łódź", "smorrebrod lodz"),
            ("BRU-CHEF8-18-WAL", "bru chef8 18 wal"),
            ("ﬁg, 20㎝", "fig 20cm"),
            ("茶碗 İstanbul", "茶碗 istanbul"),
            (" ?! ", ""),
        ] {
            assert_eq!(fold(text), folded, "{text}");
            assert_eq!(fold(folded), folded, "folding twice changes nothing");
        }
    }

    #[test]
    fn singular_and_plural_have_one_stem() {
        for (one, many) in [
            ("knife", "knives"),
            ("shelf", "shelves"),
            ("glove", "gloves"),
            ("mug", "mugs"),
            ("dish", "dishes"),
            ("glass", "glasses"),
            ("box", "boxes"),
            ("cherry", "cherries"),
            ("shoe", "shoes"),
            ("tomato", "tomatoes"),
            ("vase", "vases"),
            ("towel", "towels"),
        ] {
            assert_eq!(stem(one), stem(many), "{one}");
        }
        for word in ["bus", "8", "größe", "m", "basis", "chef8s"] {
            assert_eq!(stem(word), word);
        }
        assert_ne!(stem("mug"), stem("mud"));
    }

    #[test]
    fn a_word_is_cut_where_no_word_ends() {
        let long = "é".repeat(100);
        let folded = fold(&long);
        assert_eq!(words(&folded).collect::<Vec<_>>(), ["e".repeat(MAX_WORD_CHARS)]);
    }

    #[test]
    fn markup_is_no_text() {
        for (html, text) in [
            ("<p>two<br/>lines</p>", "two lines"),
            ("salt &amp; pepper", "salt pepper"),
            ("5 < 6 & 7 > 3 &", "5 6 7 3"),
            ("<p title=\"x\">a</p", "a"),
            ("<", ""),
            ("&ä;b", "a b"),
        ] {
            assert_eq!(fold(&without_markup(html)), text, "{html}");
        }
    }
}
