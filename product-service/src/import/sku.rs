//! SKUs for variants that the file gives none. The same handle and option values make the same SKU in every import,
//! in whatever order the rows stand, so that a repeated import finds what the first one made.
//!
//! The scheme: `handle_value1_value2_value3` in lower case, blanks as hyphens, of letters a to z, digits, `.` and
//! `-` only: `linen-apron_dark-blue_m`. The underscore stands in neither part, so different parts never run into each
//! other. When characters had to be dropped or replaced, or the result would be too long, 12 hex digits of a hash of
//! the unchanged handle and values follow. Where two variants of one product differ in capitals or in blanks against
//! hyphens alone, the first in the file keeps the plain form and the others get the hash.

use sha2::{Digest, Sha256};

use super::limits::MAX_SKU_CHARS;

const SEPARATOR: char = '_';
const HASH_HEX_DIGITS: usize = 12;

/// The derived SKU. `plain_is_taken` tells that another variant of the product has the plain form.
pub(super) fn derive(handle: &str, values: &[String], plain_is_taken: impl Fn(&str) -> bool) -> String {
    let mut plain = String::new();
    let mut faithful = true;
    for part in std::iter::once(handle).chain(values.iter().map(String::as_str)) {
        if !plain.is_empty() {
            plain.push(SEPARATOR);
        }
        faithful &= push_slug(&mut plain, part);
    }
    if faithful && plain.len() <= MAX_SKU_CHARS && !plain_is_taken(&plain) {
        return plain;
    }
    plain.truncate(MAX_SKU_CHARS - HASH_HEX_DIGITS - 1);
    if !plain.is_empty() {
        plain.push(SEPARATOR);
    }
    plain.push_str(&hash(handle, values));
    plain
}

/// Appends what is left of `part`; false if more was lost than capitals and blanks.
fn push_slug(slug: &mut String, part: &str) -> bool {
    let mut faithful = !part.is_empty();
    let mut after_hyphen = true;
    for c in part.chars() {
        let hyphen = matches!(c, ' ' | '-');
        match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' => slug.push(c.to_ascii_lowercase()),
            _ if after_hyphen => faithful = false,
            _ => {
                faithful &= hyphen;
                slug.push('-');
            }
        }
        after_hyphen = !matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.');
    }
    if after_hyphen && slug.ends_with('-') {
        slug.pop();
        faithful = false;
    }
    faithful
}

fn hash(handle: &str, values: &[String]) -> String {
    let mut hasher = Sha256::new();
    for part in std::iter::once(handle).chain(values.iter().map(String::as_str)) {
        // With its length in front no two lists of parts hash the same bytes.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(HASH_HEX_DIGITS);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(handle: &str, values: &[&str]) -> String {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        derive(handle, &values, |_| false)
    }

    #[test]
    fn plain_values_make_a_readable_sku() {
        assert_eq!(derived("linen-apron", &["Dark Blue", "M"]), "linen-apron_dark-blue_m");
        assert_eq!(derived("trail-shoe", &["42.5"]), "trail-shoe_42.5");
        assert_eq!(derived("colour-card", &[]), "colour-card");
    }

    #[test]
    fn a_hash_follows_when_characters_are_lost_and_tells_the_values_apart() {
        let inches = derived("frame", &["8\" x 10\""]);
        let feet = derived("frame", &["8' x 10'"]);
        assert!(inches.starts_with("frame_8-x-10_"), "{inches}");
        assert_eq!(inches.len(), "frame_8-x-10_".len() + HASH_HEX_DIGITS);
        assert_ne!(inches, feet);
        assert_ne!(derived("茶碗", &[]), derived("湯呑", &[]));
    }

    #[test]
    fn parts_never_run_into_each_other() {
        let all = [
            derived("shirt", &["red", "s"]),
            derived("shirt-red", &["s"]),
            derived("shirt", &["red-s"]),
            derived("shirt_red", &["s"]),
            derived("shirt", &["red_s"]),
            derived("shirt", &["red", "-s"]),
            derived("shirt", &["red ", "s"]),
            derived("shirt", &["red", "", "s"]),
        ];
        let distinct: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }

    #[test]
    fn a_long_sku_is_cut_and_stays_unique() {
        let handle = "a".repeat(200);
        let (one, two) = (derived(&handle, &["one"]), derived(&handle, &["two"]));
        assert_eq!(one.len(), MAX_SKU_CHARS);
        assert_ne!(one, two);
    }

    #[test]
    fn the_scheme_is_fixed_because_stock_hangs_on_it() {
        assert_eq!(derived("café-tasse", &["Größe 2"]), "caf-tasse_gr-e-2_c00004f62a44");
    }
}
