//! The arrows inside a service: `grpc -> application -> domain <- adapters`, and a domain that is pure. `lib.rs` wires
//! everything and is not checked.

use std::path::{Component, Path};

use super::Finding;
use super::source::Source;

/// What may not be mentioned below one folder of a service's sources.
struct Rule {
    layer: &'static str,
    forbidden: &'static [&'static str],
    advice: &'static str,
}

/// `a::` forbids paths that begin with a; `a::b` forbids the two segments wherever they follow each other; a bare word
/// forbids the name anywhere.
const RULES: [Rule; 6] = [
    Rule {
        layer: "domain",
        forbidden: &[
            "tokio::",
            "async",
            "await",
            "sqlx::",
            "tonic::",
            "prost::",
            "prost_types::",
            "contracts::",
            "rdkafka::",
            "std::fs",
            "std::net",
            "std::env",
        ],
        advice: "The domain is pure: no async, no I/O, no wire format. Do it in application or adapters",
    },
    Rule {
        layer: "domain",
        forbidden: &[
            "SystemTime",
            "Instant::now",
            "Utc::now",
            "Local::now",
            "Uuid::now_v7",
            "Uuid::new_v4",
            "rand::",
        ],
        advice: "Time and ids arrive inside commands: take them where the command is built",
    },
    Rule {
        layer: "domain",
        forbidden: &[
            "crate::grpc",
            "crate::adapters",
            "crate::application",
            "super::grpc",
            "super::adapters",
            "super::application",
        ],
        advice: "The domain knows nobody: turn the arrow round",
    },
    Rule {
        layer: "application",
        forbidden: &["crate::grpc", "crate::adapters", "super::grpc", "super::adapters"],
        advice: "The application knows the domain only: let lib.rs hand in what it needs",
    },
    Rule {
        layer: "grpc",
        forbidden: &["crate::adapters", "super::adapters"],
        advice: "gRPC translates for the application: let it ask there",
    },
    Rule {
        layer: "adapters",
        forbidden: &["crate::grpc", "super::grpc"],
        advice: "Adapters know the domain, not the wire in front of it: turn the arrow round",
    },
];

/// Checks one source file; `file` is relative to the workspace.
pub(super) fn check(file: &Path, source: &Source) -> Vec<Finding> {
    let Some(layer) = layer_of(file) else { return Vec::new() };
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.layer == layer) {
        for (line, path) in &source.paths {
            if let Some(forbidden) = rule.forbidden.iter().find(|forbidden| mentions(path, forbidden)) {
                findings.push(Finding {
                    file: file.to_owned(),
                    line: *line,
                    problem: format!("{layer} mentions `{}`, which is `{forbidden}`", path.join("::")),
                    advice: rule.advice,
                });
            }
        }
    }
    findings
}

/// `order-service/src/domain/order.rs` and `order-service/src/domain.rs` are `domain`; files of tests are of no layer.
fn layer_of(file: &Path) -> Option<&str> {
    let mut parts = file.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let service = parts.next()?;
    let is_service = service.ends_with("-service") || service == "saga-orchestrator";
    if !is_service || parts.next()? != "src" || file.file_stem()? == "tests" {
        return None;
    }
    let layer = parts.next()?;
    Some(layer.strip_suffix(".rs").unwrap_or(layer))
}

fn mentions(path: &[String], forbidden: &str) -> bool {
    if let Some(root) = forbidden.strip_suffix("::") {
        return path.len() > 1 && path[0] == root;
    }
    let wanted: Vec<&str> = forbidden.split("::").collect();
    path.windows(wanted.len()).any(|window| window.iter().zip(&wanted).all(|(have, want)| have == want))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(file: &str, text: &str) -> usize {
        check(Path::new(file), &Source::parse(text)).len()
    }

    #[test]
    fn a_domain_that_does_io_or_knows_the_wire_is_refused() {
        for text in [
            "use tokio::sync::Mutex;",
            "pub async fn load() {}",
            "let x = f().await;",
            "#[derive(sqlx::Type)] struct A;",
            "use {serde::Serialize, tonic::Status};",
            "fn f(m: contracts::shop::order::v1::Order) {}",
            "let file = std::fs::read(path);",
        ] {
            assert_eq!(refused("order-service/src/domain/order.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn a_domain_that_takes_time_or_chance_by_itself_is_refused() {
        for text in [
            "let now = chrono::Utc::now();",
            "let id = Uuid::now_v7();",
            "let id = uuid::Uuid::new_v4();",
            "let at = std::time::SystemTime::UNIX_EPOCH;",
            "let at = Instant::now();",
            "let dice = rand::random();",
        ] {
            assert_eq!(refused("saga-orchestrator/src/domain/checkout.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn arrows_between_layers_point_one_way() {
        assert_eq!(refused("order-service/src/domain.rs", "use crate::application::place;"), 1);
        assert_eq!(refused("order-service/src/domain/order.rs", "use super::super::adapters::readers;"), 1);
        assert_eq!(
            refused("order-service/src/application/place.rs", "use crate::{domain, adapters::Catalogue};"),
            1
        );
        assert_eq!(refused("order-service/src/application/place.rs", "use crate::grpc::status;"), 1);
        assert_eq!(refused("order-service/src/grpc/service.rs", "use crate::adapters::readers;"), 1);
        assert_eq!(refused("order-service/src/adapters/readers.rs", "use crate::grpc::status;"), 1);
    }

    #[test]
    fn what_the_design_draws_is_allowed() {
        let pure =
            "use chrono::{DateTime, Utc};\nuse uuid::Uuid;\nfn f(at: DateTime<Utc>, rand: u8) -> Uuid { id }";
        assert_eq!(refused("order-service/src/domain/order.rs", pure), 0);
        assert_eq!(
            refused("order-service/src/application/place.rs", "use crate::domain; async fn f() {}"),
            0
        );
        assert_eq!(refused("order-service/src/grpc/service.rs", "use crate::application::place;"), 0);
        assert_eq!(refused("order-service/src/adapters/readers.rs", "use crate::domain::order::Event;"), 0);
        assert_eq!(refused("order-service/src/lib.rs", "use crate::{grpc, adapters, application};"), 0);
        assert_eq!(refused("crates/eventsourcing/src/domain.rs", "use tokio::sync;"), 0);
        assert_eq!(refused("order-service/src/domain/tests.rs", "let id = Uuid::now_v7();"), 0);
    }
}
