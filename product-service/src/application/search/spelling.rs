//! Typing errors: which known words may have been meant by an unknown one. Every known word is stored with what is left
//! of its beginning when up to two letters are deleted; an unknown word shares one of these with every word that is two
//! errors away, so that candidates come out of an index, and the distance then decides.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// Errors in a word that are forgiven at most.
pub const MAX_ERRORS: usize = 2;
/// Only so many letters of a word have deletions stored, which bounds their number. Errors behind them are found by the
/// distance alone.
const BEGINNING_CHARS: usize = 7;

/// Errors that are forgiven in a word of this many letters; a short one would become any other.
pub fn forgiven(chars: usize) -> usize {
    match chars {
        0..=2 => 0,
        3..=4 => 1,
        _ => MAX_ERRORS,
    }
}

/// Numbers for everything that is left of a word's beginning when up to `MAX_ERRORS` letters are deleted. Different
/// rests may share a number; who looks words up by them compares the words.
pub fn deletions(word: &str) -> Vec<i32> {
    let beginning: Vec<char> = word.chars().take(BEGINNING_CHARS).collect();
    let mut rests = HashSet::from([beginning]);
    let mut last = rests.clone();
    for _ in 0..MAX_ERRORS {
        last = last.iter().flat_map(|rest| shorter(rest)).collect();
        rests.extend(last.iter().cloned());
    }
    let mut numbers: Vec<i32> =
        rests.iter().filter(|rest| !rest.is_empty()).map(|rest| number(rest)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn shorter(word: &[char]) -> impl Iterator<Item = Vec<char>> + '_ {
    (0..word.len()).map(|at| [&word[..at], &word[at + 1..]].concat())
}

fn number(rest: &[char]) -> i32 {
    let digest = Sha256::digest(String::from_iter(rest));
    i32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Letters to insert, delete, replace or swap with their neighbour to make one word of the other.
pub fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    table(&one, &other).last().and_then(|row| row.last()).copied().unwrap_or_default()
}

/// The smallest distance between a word and any beginning of another: what is typed so far may have errors, too.
pub fn distance_to_beginning(typed: &str, word: &str) -> usize {
    let (typed, word): (Vec<char>, Vec<char>) = (typed.chars().collect(), word.chars().collect());
    table(&typed, &word).last().and_then(|row| row.iter().min()).copied().unwrap_or_default()
}

/// Distances of all beginnings of `one` (rows) to all beginnings of `other`.
fn table(one: &[char], other: &[char]) -> Vec<Vec<usize>> {
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(one: &str, other: &str) -> bool {
        let known: HashSet<i32> = deletions(one).into_iter().collect();
        deletions(other).iter().any(|number| known.contains(number))
    }

    #[test]
    fn a_distance_counts_letters_more_less_other_or_swapped() {
        for (one, other, errors) in [
            ("knife", "knife", 0),
            ("knfie", "knife", 1),
            ("kni", "knife", 2),
            ("stonweare", "stoneware", 1),
            ("stnowaer", "stoneware", 3),
            ("", "mug", 3),
            ("größe", "grösse", 2),
        ] {
            assert_eq!(distance(one, other), errors, "{one} {other}");
            assert_eq!(distance(other, one), errors, "{other} {one}");
        }
        assert_eq!(distance_to_beginning("stnoe", "stoneware"), 1);
        assert_eq!(distance_to_beginning("stone", "stoneware"), 0);
        assert_eq!(distance_to_beginning("stoneware", "stone"), 4);
    }

    #[test]
    fn every_word_with_two_errors_is_a_candidate() {
        let letters = ['a', 'k', 'x'];
        let word: Vec<char> = "walnut".chars().collect();
        let once = |word: &[char]| {
            let mut found: Vec<Vec<char>> = shorter(word).collect();
            for at in 0..=word.len() {
                for letter in letters {
                    found.push([&word[..at], &[letter], &word[at..]].concat());
                    if at < word.len() {
                        found.push([&word[..at], &[letter], &word[at + 1..]].concat());
                    }
                }
                if at + 1 < word.len() {
                    found.push([&word[..at], &[word[at + 1], word[at]], &word[at + 2..]].concat());
                }
            }
            found
        };
        for twice in once(&word).iter().flat_map(|wrong| once(wrong)) {
            let twice = String::from_iter(twice);
            assert!(share("walnut", &twice), "{twice}");
        }
        assert!(!share("walnut", "copper"));
    }

    #[test]
    fn a_word_has_a_bounded_number_of_deletions() {
        assert_eq!(deletions("stoneware").len(), 1 + 7 + 21);
        assert_eq!(deletions(&"x".repeat(40)).len(), 3);
        assert_eq!(deletions("m").len(), 1);
    }
}
