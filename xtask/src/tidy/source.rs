//! A Rust source reduced to the paths it mentions: comments and literals are gone, grouped imports are spelled out, and
//! the tests at the end of a file are cut off.

/// What a file mentions outside comments, literals and its tests.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// `a::b::c` with the line (from 1) on which it begins; single names are paths of one segment.
    pub(super) paths: Vec<(usize, Vec<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    PathSeparator,
    Other(char),
}

/// Where file-end tests begin by convention.
const TESTS: &str = "#[cfg(test)]";

impl Source {
    pub(super) fn parse(text: &str) -> Self {
        let code = blank_comments_and_literals(text);
        let code = code.split(TESTS).next().unwrap_or_default();
        let tokens = tokenize(code);
        let mut source = Self::default();
        let mut next = 0;
        while next < tokens.len() {
            next = source.read_path(&tokens, next, &[]).max(next + 1);
        }
        source
    }

    /// Reads the path at `start`, with all branches of a group; returns where reading goes on.
    fn read_path(&mut self, tokens: &[(usize, Token)], start: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        let mut next = start;
        let line = tokens.get(start).map_or(0, |(line, _)| *line);
        while let Some((_, Token::Name(name))) = tokens.get(next) {
            path.push(name.clone());
            next += 1;
            if !matches!(tokens.get(next), Some((_, Token::PathSeparator))) {
                break;
            }
            next += 1;
            if matches!(tokens.get(next), Some((_, Token::Other('{')))) {
                return self.read_group(tokens, next + 1, &path);
            }
        }
        if path.len() > prefix.len() {
            self.paths.push((line, path));
        }
        next
    }

    fn read_group(&mut self, tokens: &[(usize, Token)], start: usize, prefix: &[String]) -> usize {
        let mut next = start;
        while let Some((_, token)) = tokens.get(next) {
            match token {
                Token::Other('}') => return next + 1,
                Token::Name(_) => next = self.read_path(tokens, next, prefix),
                _ => next += 1,
            }
        }
        next
    }
}

fn tokenize(code: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            let token = if is_name(letter) {
                let mut name = String::from(letter);
                while let Some(more) = letters.next_if(|letter| is_name(*letter)) {
                    name.push(more);
                }
                Token::Name(name)
            } else if letter == ':' && letters.next_if_eq(&':').is_some() {
                Token::PathSeparator
            } else if letter.is_whitespace() {
                continue;
            } else {
                Token::Other(letter)
            };
            tokens.push((index + 1, token));
        }
    }
    tokens
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The text with comments and the insides of literals replaced by blanks, line for line.
fn blank_comments_and_literals(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = match (letters[at], letters.get(at + 1)) {
            ('/', Some('/')) => end_of_line(&letters, at),
            ('/', Some('*')) => end_of_block_comment(&letters, at),
            ('"', _) => end_of_string(&letters, at),
            ('r', Some('"' | '#')) if !is_inside_name(&letters, at) => end_of_raw_string(&letters, at),
            ('\'', _) => end_of_character(&letters, at),
            _ => at,
        };
        if end == at {
            code.push(letters[at]);
            at += 1;
        } else {
            code.extend(letters[at..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn is_inside_name(letters: &[char], at: usize) -> bool {
    // `br"..."` is a literal too, so a single b in front does not make it a name.
    let before = |distance: usize| at.checked_sub(distance).map(|index| letters[index]);
    match before(1) {
        Some('b') => before(2).is_some_and(is_name),
        Some(letter) => is_name(letter),
        None => false,
    }
}

fn end_of_line(letters: &[char], start: usize) -> usize {
    letters[start..].iter().position(|letter| *letter == '\n').map_or(letters.len(), |length| start + length)
}

fn end_of_block_comment(letters: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < letters.len() {
        match (letters[at], letters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(letters.len())
}

fn end_of_string(letters: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < letters.len() {
        match letters[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    letters.len()
}

/// `start` itself when it is a raw identifier such as `r#type`.
fn end_of_raw_string(letters: &[char], start: usize) -> usize {
    let hashes = letters[start + 1..].iter().take_while(|letter| **letter == '#').count();
    let open = start + 1 + hashes;
    if letters.get(open) != Some(&'"') {
        return start;
    }
    let closes = |at: usize| {
        letters[at] == '"' && letters[at + 1..].iter().take(hashes).filter(|l| **l == '#').count() == hashes
    };
    (open + 1..letters.len()).find(|at| closes(*at)).map_or(letters.len(), |at| at + 1 + hashes)
}

/// `start` itself when it is a lifetime.
fn end_of_character(letters: &[char], start: usize) -> usize {
    match (letters.get(start + 1), letters.get(start + 2)) {
        (Some('\\'), _) => {
            let closing = letters[start + 3..].iter().position(|letter| *letter == '\'');
            closing.map_or(letters.len(), |length| start + 3 + length + 1)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        Source::parse(text)
            .paths
            .into_iter()
            .map(|(line, path)| format!("{line} {}", path.join("::")))
            .collect()
    }

    #[test]
    fn grouped_imports_are_spelled_out_with_their_lines() {
        let text = "use crate::{\n    grpc::{self, status},\n    domain,\n};\n";
        assert_eq!(paths(text), ["1 use", "2 crate::grpc::self", "2 crate::grpc::status", "3 crate::domain"]);
    }

    #[test]
    fn comments_literals_and_tests_are_not_code() {
        let text = "// tokio::spawn\n/* a /* sqlx::query */ b */ let x = \"tonic::\\\"Status\"; let y = r#\"prost::\"q\"#;\n\
                    fn f<'a>(c: char) { c == '\"' } // rand\n#[cfg(test)]\nmod tests { use tokio::test; }\n";
        let found = paths(text).join(" ");
        for word in ["tokio", "sqlx", "tonic", "Status", "prost", "rand", "test"] {
            assert!(!found.contains(word), "{word} in {found}");
        }
        assert!(found.contains("2 x") && found.contains("2 y") && found.contains("3 char"), "{found}");
    }

    #[test]
    fn raw_identifiers_and_lifetimes_do_not_swallow_code() {
        assert_eq!(paths("r#type 'a b::c"), ["1 r", "1 type", "1 a", "1 b::c"]);
        assert_eq!(paths("'\\n' 'x' y"), ["1 y"]);
    }
}
