//! Which crate of the workspace may depend on which. Everything that is not allowed here is refused, so that a new crate
//! has to say where it belongs.

use std::path::Path;

use super::Finding;

/// What services may know. None of it is another service.
const MECHANISM: &[&str] =
    &["card-numbers", "contracts", "eventsourcing", "redis-link", "service-process", "service-runtime"];
/// May be used by the tests of any crate.
const TEST_ONLY: &str = "testkit";
/// What the tests and `cargo xtask` share; needs nothing.
const LOCAL_SERVERS: &str = "local-servers";

/// None: anything goes.
fn allowed(crate_name: &str) -> Option<&'static [&'static str]> {
    match crate_name {
        "shop" | "e2e-tests" | "benches" => None,
        "card-numbers" | "contracts" | "eventsourcing" | LOCAL_SERVERS => Some(&[]),
        "xtask" => Some(&[LOCAL_SERVERS]),
        TEST_ONLY => Some(&["eventsourcing", LOCAL_SERVERS]),
        "service-runtime" => Some(&["contracts", "eventsourcing"]),
        "redis-link" => Some(&["service-runtime"]),
        // Services reach Kafka by way of their process alone.
        "kafka-feed" => Some(&["eventsourcing", "service-runtime"]),
        "service-process" => Some(&["eventsourcing", "kafka-feed", "service-runtime"]),
        "service-client" => Some(&["service-runtime"]),
        "api-gateway" => Some(&["contracts", "redis-link", "service-client", "service-runtime"]),
        _ => Some(MECHANISM),
    }
}

fn is_ours(name: &str) -> bool {
    let named = [
        "shop",
        "e2e-tests",
        "benches",
        "xtask",
        "saga-orchestrator",
        "kafka-feed",
        "api-gateway",
        "service-client",
        TEST_ONLY,
        LOCAL_SERVERS,
    ];
    named.contains(&name) || MECHANISM.contains(&name) || name.ends_with("-service")
}

/// Checks one Cargo.toml.
pub(super) fn check(file: &Path, text: &str) -> Vec<Finding> {
    let Some(crate_name) = package_name(text) else { return Vec::new() };
    let Some(allowed) = allowed(&crate_name) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let dependency = match line.strip_prefix('[').and_then(|header| header.strip_suffix(']')) {
            Some(header) => {
                section = header;
                // The long form: [dependencies.order-service]
                header.split_once("dependencies.").map(|(_, name)| name)
            }
            None if section.ends_with("dependencies") => {
                line.split(['=', '.']).next().map(str::trim).filter(|name| !name.is_empty())
            }
            None => None,
        };
        let Some(dependency) = dependency.map(|name| name.trim_matches('"')) else { continue };
        // A crate may ask for features of its own that its tests need.
        let test_only =
            section.contains("dev-dependencies") && [TEST_ONLY, crate_name.as_str()].contains(&dependency);
        if is_ours(dependency) && !allowed.contains(&dependency) && !test_only {
            findings.push(Finding {
                file: file.to_owned(),
                line: index + 1,
                problem: format!("the crate {crate_name} must not depend on {dependency}"),
                advice: "Only shop, tests and benches know services; services talk through contracts (design, section 1)",
            });
        }
    }
    findings
}

fn package_name(text: &str) -> Option<String> {
    let package = text.split("[package]").nth(1)?;
    let line = package.lines().find(|line| line.trim_start().starts_with("name"))?;
    Some(line.split('"').nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(crate_name: &str, rest: &str) -> Vec<usize> {
        let text = format!("[package]\nname = \"{crate_name}\"\n{rest}");
        check(Path::new("Cargo.toml"), &text).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_service_must_not_depend_on_another_service_in_any_form() {
        assert_eq!(refused("order-service", "[dependencies]\ninventory-service.workspace = true\n"), [4]);
        assert_eq!(
            refused("order-service", "[dev-dependencies]\npayment-service = { path = \"..\" }\n"),
            [4]
        );
        assert_eq!(refused("order-service", "[dependencies.product-service]\nworkspace = true\n"), [3]);
        assert_eq!(refused("saga-orchestrator", "[build-dependencies]\norder-service = \"1\"\n"), [4]);
    }

    #[test]
    fn the_mechanism_crates_do_not_know_each_other_the_wrong_way_round() {
        assert_eq!(refused("eventsourcing", "[dependencies]\ncontracts.workspace = true\n"), [4]);
        assert_eq!(refused("contracts", "[dependencies]\neventsourcing.workspace = true\n"), [4]);
        assert_eq!(refused("card-numbers", "[dependencies]\neventsourcing.workspace = true\n"), [4]);
        assert_eq!(refused("service-runtime", "[dependencies]\norder-service.workspace = true\n"), [4]);
        assert_eq!(refused("api-gateway", "[dependencies]\neventsourcing.workspace = true\n"), [4]);
        assert_eq!(refused("order-service", "[dependencies]\ntestkit.workspace = true\n"), [4]);
    }

    #[test]
    fn what_the_design_draws_is_allowed() {
        let service = "[dependencies]\ncard-numbers.workspace = true\ncontracts.workspace = true # wire\neventsourcing.workspace = true\n\
                       service-runtime.workspace = true\ntokio.workspace = true\n[dev-dependencies]\ntestkit.workspace = true\n";
        assert!(refused("order-service", service).is_empty());
        assert!(refused("shop", "[dependencies]\norder-service.workspace = true\n").is_empty());
        assert!(refused("service-runtime", "[dependencies]\neventsourcing.workspace = true\n").is_empty());
        assert!(refused("eventsourcing", "[dev-dependencies]\ntestkit.workspace = true\n").is_empty());
    }
}
