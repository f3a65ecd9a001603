//! Prometheus' files: read by promtool, each alert tested both ways, and nothing asked that nobody exports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::metrics::Exported;
use super::tools::DeployTools;
use super::{FOLDER, Problems, verdict};

pub fn check(root: &Path, tools: &DeployTools, exported: &Exported) -> Result<Problems> {
    let folder = root.join(FOLDER).join("prometheus");
    let mut problems = Problems::new();
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts-test.yml"]] {
        let what = format!("promtool {}", arguments.join(" "));
        problems.extend(verdict(&what, tools.promtool().args(arguments).current_dir(&folder))?);
    }
    let alerts = alerts(&read_yaml(&folder.join("alerts.yml"))?);
    let tests = read_yaml(&folder.join("alerts-test.yml"))?;
    for (name, expression) in &alerts {
        problems.extend(exported.check(&format!("alerts.yml: {name}"), expression));
        let (firing, silent) = tested(&tests, name);
        if firing == 0 || silent == 0 {
            problems.push(format!("alerts-test.yml: {name} must be tested firing and not firing"));
        }
    }
    println!("alerts: {}", alerts.len());
    Ok(problems)
}

/// Has promtool read `expressions`, each with the place that it stands in.
pub fn check_expressions(tools: &DeployTools, expressions: &BTreeMap<String, String>) -> Result<Problems> {
    let rules: Vec<Value> = (expressions.iter())
        .map(|(place, expression)| {
            serde_json::json!({ "record": "query", "labels": { "place": place }, "expr": expression })
        })
        .collect();
    let rules = serde_json::json!({ "groups": [{ "name": "queries", "rules": rules }] });
    let path = std::env::temp_dir().join(format!("storeline-queries-{}.json", std::process::id()));
    fs::write(&path, serde_json::to_vec_pretty(&rules)?)?;
    let what = format!("promtool check rules ({} queries of dashboards)", expressions.len());
    let problems = verdict(&what, tools.promtool().args(["check", "rules"]).arg(&path));
    fs::remove_file(&path).ok();
    problems
}

/// YAML as JSON, which has all that these files say.
pub fn read_yaml(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))
}

/// Name and expression of each alert.
fn alerts(rules: &Value) -> Vec<(String, String)> {
    let groups = rules["groups"].as_array().into_iter().flatten();
    let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rules.map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

/// How often the tests expect the alert to fire, and how often not to.
fn tested(tests: &Value, alert: &str) -> (usize, usize) {
    let tests = tests["tests"].as_array().into_iter().flatten();
    let checks = tests.flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten());
    checks.filter(|check| check["alertname"] == alert).fold((0, 0), |(firing, silent), check| {
        match check["exp_alerts"].as_array().is_some_and(|expected| !expected.is_empty()) {
            true => (firing + 1, silent),
            false => (firing, silent + 1),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_counts_as_tested_when_it_is_expected_and_when_it_is_not() {
        let tests = serde_json::json!({ "tests": [{ "alert_rule_test": [
            { "alertname": "Down", "exp_alerts": [{}] },
            { "alertname": "Down", "exp_alerts": [] },
            { "alertname": "Slow" },
        ] }] });
        assert_eq!(tested(&tests, "Down"), (1, 1));
        assert_eq!(tested(&tests, "Slow"), (0, 1));
    }
}
