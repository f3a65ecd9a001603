//! What containers set, held against what the programs say that they read, and against constants of the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Problems;
use super::manifests::{Manifests, Pod, list, text};
use crate::programs::{COMMAND_LINE, DEFAULT_COMMAND, Programs};
use crate::target_folder;

const SERVICES: [&str; 6] = [
    "api-gateway",
    "product-service",
    "inventory-service",
    "order-service",
    "payment-service",
    "saga-orchestrator",
];
/// What the code says of itself.
pub struct Facts {
    /// How long a program takes at most to end what it is doing.
    pub drain_seconds: u64,
    /// What probes ask gRPC's health service for.
    pub liveness: String,
    pub readiness: String,
    /// Where REST and the admin port answer probes.
    pub live_path: String,
    pub ready_path: String,
    programs: Programs,
}

impl Facts {
    pub fn read(root: &Path) -> Result<Self> {
        let runtime = root.join("crates/service-runtime/src");
        let read = |file: &str| {
            let path = runtime.join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (shutdown, grpc, readiness) = (read("shutdown.rs")?, read("grpc.rs")?, read("readiness.rs")?);
        let drain = between(&shutdown, "pub const DRAIN_LIMIT: Duration = Duration::from_secs(", ")")?;
        let path = |path: &str| match readiness.contains(&format!(".route(\"{path}\"")) {
            true => Ok(path.to_owned()),
            false => bail!("readiness.rs has no route {path}"),
        };
        let names = SERVICES.into_iter().chain([COMMAND_LINE]);
        let programs = Programs::ask(&target_folder()?.join("debug"), names)?;
        Ok(Self {
            drain_seconds: drain.parse().context("DRAIN_LIMIT is no number of seconds")?,
            liveness: between(&grpc, "pub const LIVENESS: &str = \"", "\"")?,
            readiness: between(&grpc, "pub const READINESS: &str = \"", "\"")?,
            live_path: path("/healthz")?,
            ready_path: path("/readyz")?,
            programs,
        })
    }
}

/// What stands between two marks in a source.
fn between(source: &str, before: &str, after: &str) -> Result<String> {
    let rest = source.split_once(before).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(after)).map(|(found, _)| found.to_owned());
    found.with_context(|| format!("no source has a line `{before}`"))
}

pub fn check(manifests: &Manifests, facts: &Facts) -> Problems {
    let mut problems = Problems::new();
    for pod in manifests.pods() {
        for container in pod.containers() {
            let set = manifests.environment(container);
            let mut found = [secrets(&pod, container, &set), addresses(manifests, &set)].concat();
            let program = text(&container["command"][0]);
            let command = list(&container["args"]).next().map(text);
            if let Some(known) = facts.programs.get(program) {
                let command = (program != COMMAND_LINE).then(|| command.unwrap_or(DEFAULT_COMMAND));
                found.extend(known.unread(&set, command));
                found.extend(command.iter().flat_map(|command| known.missing(&set, command)));
            }
            problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", pod.owner)));
        }
    }
    problems
}

/// A secret is a file of a Secret that is mounted, and never a value.
fn secrets(pod: &Pod<'_>, container: &Value, set: &BTreeMap<String, String>) -> Problems {
    let mut files = BTreeSet::new();
    for mount in list(&container["volumeMounts"]) {
        let volume = list(&pod.spec["volumes"]).find(|volume| volume["name"] == mount["name"]);
        let Some(volume) = volume else { continue };
        let source = if volume["secret"].is_object() { &volume["secret"] } else { &volume["configMap"] };
        for item in list(&source["items"]) {
            files.insert(format!("{}/{}", text(&mount["mountPath"]), text(&item["path"])));
        }
        // Without a list of keys all of them are there; a volume of its own has what the all-in-one put there.
        let all = volume["secret"].is_object() && volume["secret"]["items"].is_null();
        if all || volume["persistentVolumeClaim"].is_object() {
            files.insert(text(&mount["mountPath"]).to_owned());
        }
    }
    let mut problems = Problems::new();
    for (name, value) in set {
        let is_secret = ["PASSWORD", "TOKEN", "SECRET", "KEYS", "DATABASE_URL", "REDIS_URL"]
            .iter()
            .any(|word| name.contains(word));
        if is_secret && !name.ends_with("_FILE") {
            problems.push(format!("the secret {name} stands in its environment"));
        }
        if !name.ends_with("_FILE") || value.starts_with("/etc/ssl/") {
            continue;
        }
        let folder = value.rsplit_once('/').map(|(folder, _)| folder).unwrap_or_default();
        if !files.contains(value) && !files.contains(folder) {
            problems.push(format!("{name} names {value}, which nothing mounts"));
        }
    }
    problems
}

/// Addresses of other programs must name a service of the release, at a port that it has.
fn addresses(manifests: &Manifests, set: &BTreeMap<String, String>) -> Problems {
    let mut problems = Problems::new();
    for (variable, value) in set {
        if !(variable.ends_with("_ADDRESS") || variable == "STORELINE_GATEWAY_URL") {
            continue;
        }
        let authority = value.rsplit("//").next().unwrap_or_default();
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let service = host.split('.').next().unwrap_or_default();
        let Some(service) = manifests.get("Service", service) else {
            problems.push(format!("{variable}: there is no service {service}"));
            continue;
        };
        if !list(&service["spec"]["ports"])
            .any(|known| port.parse() == Ok(known["port"].as_u64().unwrap_or_default()))
        {
            problems.push(format!("{variable}: the service has no port {port}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_was_renamed_on_one_side_alone_is_told() {
        let said = serde_json::json!({ "variables": [
            { "name": "DATABASE_URL", "required": true, "fileVariable": "DATABASE_URL_FILE", "commands": ["serve"] },
            { "name": "STORELINE_GRPC", "required": false, "fileVariable": null, "commands": ["serve"] },
        ] });
        let named = |name: &str| name.to_owned();
        let facts = Facts {
            drain_seconds: 25,
            liveness: named("liveness"),
            readiness: named("readiness"),
            live_path: named("/healthz"),
            ready_path: named("/readyz"),
            programs: Programs::of("a-service", &said),
        };
        let rendered = "
kind: ConfigMap
metadata: { name: a }
data: { STORELINE_GRPC: '0.0.0.0:1', DATABASE_URL_FILE: /run/secrets/database.url }
---
kind: Deployment
metadata: { name: a }
spec:
  template:
    spec:
      containers:
        - command: [a-service]
          args: [serve]
          envFrom: [{ configMapRef: { name: a } }]
          volumeMounts: [{ name: secrets, mountPath: /run/secrets }]
      volumes: [{ name: secrets, secret: { items: [{ key: database.url, path: database.url }] } }]
";
        let problems = |text: &str| check(&Manifests::parse(text).unwrap(), &facts);
        assert_eq!(problems(rendered), Problems::new());
        assert_eq!(problems(&rendered.replace("STORELINE_GRPC", "STORELINE_RPC")).len(), 1);
        // One that is not read, and one that is missing.
        assert_eq!(problems(&rendered.replace("DATABASE_URL_FILE", "DATABASE_FILE")).len(), 2);
        assert_eq!(problems(&rendered.replace("args: [serve]", "args: [play]")).len(), 2);
    }

    #[test]
    fn constants_are_found_in_sources() {
        assert_eq!(between("a = \"b\";", "a = \"", "\"").unwrap(), "b");
        assert!(between("a", "b", "c").is_err());
    }
}
