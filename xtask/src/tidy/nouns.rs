//! The mechanism crates know no business: not in names and not in words, since a comment that explains a mechanism by
//! the shop is the first step to code that does. `order` has a life outside the shop, so only names built on it count.

use std::path::Path;

use super::Finding;

const MECHANISM: [&str; 4] =
    ["crates/eventsourcing", "crates/service-client", "crates/service-process", "crates/service-runtime"];
/// Also in the plural, and as part of longer names.
const NOUNS: [&str; 8] = ["payment", "product", "inventory", "sku", "cart", "customer", "stock", "checkout"];
/// Beside one of these, `order` is the shop's.
const ORDER_COMPANIONS: [&str; 14] = [
    "id", "ids", "line", "lines", "item", "items", "total", "status", "service", "place", "cancel",
    "confirm", "ship", "placed",
];
const ADVICE: &str =
    "This crate is mechanism and knows no business: use neutral words, as a bank account or a counter";

/// Checks one text file; `file` is relative to the workspace.
pub(super) fn check(file: &Path, text: &str) -> Vec<Finding> {
    if !MECHANISM.iter().any(|folder| file.starts_with(folder)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in line.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
            if is_business(name) {
                findings.push(Finding {
                    file: file.to_owned(),
                    line: index + 1,
                    problem: format!("business word `{name}`"),
                    advice: ADVICE,
                });
            }
        }
    }
    findings
}

fn is_business(name: &str) -> bool {
    let parts = parts(name);
    let is_noun =
        |part: &String| NOUNS.iter().any(|noun| part == noun || part.strip_suffix('s') == Some(noun));
    let orders = parts.iter().any(|part| part == "order" || part == "orders");
    let companion = parts.iter().any(|part| ORDER_COMPANIONS.contains(&part.as_str()));
    // `total_order` is mathematics, `OrderTotal` is not.
    let mathematics = parts.join("_") == "total_order";
    parts.iter().any(is_noun) || (orders && companion && !mathematics)
}

/// `PlaceOrder` and `place_order` are both `place`, `order`.
fn parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut previous_lower = false;
    for letter in name.chars() {
        let begins = parts.is_empty() || letter == '_' || (letter.is_uppercase() && previous_lower);
        if begins {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| letter != '_') {
            part.extend(letter.to_lowercase());
        }
        previous_lower = letter.is_lowercase();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Vec<String> {
        let findings = check(Path::new("crates/eventsourcing/src/log.rs"), text);
        findings.into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn business_nouns_are_refused_in_names_and_in_comments() {
        for text in [
            "struct PaymentId;",
            "let sku = 1;",
            "// as a product has",
            "/// carts",
            "STOCK_LEVEL",
            "CustomerName",
        ] {
            assert_eq!(refused(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn order_is_refused_only_in_names_of_the_shop() {
        for text in ["OrderId", "PlaceOrder", "order_id", "cancel_order", "order_lines"] {
            assert_eq!(refused(text).len(), 1, "{text}");
        }
        for text in [
            "in order to",
            "ORDER BY position",
            "total order",
            "out_of_order",
            "Ordering::Relaxed",
            "TotalOrder",
        ] {
            assert!(refused(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn words_that_only_contain_a_noun_pass() {
        for text in ["production", "productive", "reproduction", "stockholm", "cartesian"] {
            assert!(refused(text).is_empty(), "{text}");
        }
        assert!(check(Path::new("order-service/src/domain/order.rs"), "struct OrderId;").is_empty());
    }
}
