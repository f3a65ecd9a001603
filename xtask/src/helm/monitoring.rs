//! What watches the shop in Kubernetes: the same alerts and dashboards as in docker compose, of the same programs under the
//! same names; and a runbook for each alert.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Problems;
use super::manifests::{Manifests, list, text};
use crate::deploy::{Exported, read_yaml};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const RUNBOOKS: &str = "docs/runbooks";
/// What a runbook says, in this order.
const CHAPTERS: [&str; 4] = ["## Meaning", "## First look", "## Commands", "## What not to do"];
const DASHBOARDS: &str = "deploy/grafana/dashboards";

/// The group of the chart's own.
const EXPECTED: &str = "audit-expected";

/// What has AuditMissing know since when audits are a job of every day.
fn expectation() -> Value {
    json!([{ "record": "audit_expected_timestamp_seconds", "expr": "time()" }])
}

pub fn check(manifests: &Manifests, root: &Path) -> Result<Problems> {
    let mut problems = Problems::new();
    for rules in manifests.of_kind("PrometheusRule") {
        let mut groups = rules["spec"]["groups"].clone();
        for rule in each_rule(&mut groups) {
            if let Some(Value::Object(annotations)) = rule.get_mut("annotations") {
                annotations.remove("runbook_url");
            }
        }
        let last = groups.as_array_mut().and_then(|groups| groups.pop_if(|group| group["name"] == EXPECTED));
        let expected = manifests.of_kind("PodMonitor").next().is_some();
        if last.is_some_and(|group| group["rules"] == expectation()) != expected {
            problems
                .push("it does not record since when audits are expected, or does without any".to_owned());
        }
        if groups != read_yaml(&root.join(ALERTS))?["groups"] {
            problems.push(format!("its alerts are others than those of {ALERTS}"));
        }
    }
    for monitor in manifests.of_kind("ServiceMonitor") {
        problems.extend(watches_all(manifests, monitor));
    }
    let folder = root.join(DASHBOARDS);
    let known = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.count();
    let mut shown = 0;
    for map in manifests.of_kind("ConfigMap") {
        if !map["metadata"]["labels"]["grafana_dashboard"].is_string() {
            continue;
        }
        for (file, content) in map["data"].as_object().into_iter().flatten() {
            shown += 1;
            let source: Value = serde_json::from_str(&fs::read_to_string(folder.join(file))?)?;
            if serde_json::from_str::<Value>(text(content)).ok() != Some(source) {
                problems.push(format!("its dashboard {file} is another than that of {DASHBOARDS}"));
            }
        }
    }
    if shown != 0 && shown != known {
        problems.push(format!("it has {shown} of {known} dashboards"));
    }
    let exported = Exported::read(root)?;
    for scaler in manifests.of_kind("ScaledObject") {
        for trigger in list(&scaler["spec"]["triggers"]).filter(|trigger| trigger["type"] == "prometheus") {
            problems.extend(exported.check("a ScaledObject", text(&trigger["metadata"]["query"])));
        }
    }
    Ok(problems)
}

/// Each alert has a runbook, and each runbook an alert.
pub fn check_runbooks(root: &Path) -> Result<Problems> {
    let mut groups = read_yaml(&root.join(ALERTS))?["groups"].clone();
    let alerts: BTreeSet<String> =
        each_rule(&mut groups).map(|rule| text(&rule["alert"]).to_owned()).collect();
    let folder = root.join(RUNBOOKS);
    let mut problems = Problems::new();
    for alert in &alerts {
        let written = fs::read_to_string(folder.join(format!("{alert}.md"))).unwrap_or_default();
        let mut rest = written.as_str();
        for chapter in CHAPTERS {
            match rest.split_once(&format!("\n{chapter}\n")) {
                Some((_, after)) => rest = after,
                None => problems.push(format!("{RUNBOOKS}/{alert}.md does not say `{chapter}`")),
            }
        }
    }
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "README.md" && !alerts.contains(name.trim_end_matches(".md")) {
            problems.push(format!("{RUNBOOKS}/{name}: there is no such alert"));
        }
    }
    println!("runbooks: {}", alerts.len());
    Ok(problems)
}

/// Every program once, under its own name as its job.
fn watches_all(manifests: &Manifests, monitor: &Value) -> Problems {
    let mut problems = Problems::new();
    if monitor["spec"]["jobLabel"] != "app.kubernetes.io/component" {
        problems.push("its jobs are not named as alerts know them".to_owned());
    }
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object();
    let ports: Vec<&str> =
        list(&monitor["spec"]["endpoints"]).map(|endpoint| text(&endpoint["port"])).collect();
    let watched: Vec<&Value> = manifests
        .of_kind("Service")
        .filter(|service| {
            let labels = &service["metadata"]["labels"];
            wanted.is_some_and(|wanted| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)))
        })
        .collect();
    for pod in manifests.pods().iter().filter(|pod| pod.is_long_running()) {
        let exports =
            pod.containers().any(|container| list(&container["ports"]).any(|port| port["name"] == "admin"));
        let by = watched.iter().filter(|service| {
            let ports_match =
                list(&service["spec"]["ports"]).any(|port| ports.contains(&text(&port["name"])));
            pod.matches(&service["spec"]["selector"]) && ports_match
        });
        let count = by.count();
        if count != usize::from(exports) {
            problems.push(format!("{} is watched {count} times", pod.owner));
        }
    }
    problems
}

fn each_rule(groups: &mut Value) -> impl Iterator<Item = &mut Value> {
    let groups = groups.as_array_mut().into_iter().flatten();
    groups.flat_map(|group| group["rules"].as_array_mut().into_iter().flatten())
}
