//! What containers set, held against what the programs read: `PROGRAM config --json`, printed by the code that reads it, and
//! constants of the sources. So a variable that was renamed, added or made required cannot be forgotten in the chart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Problems;
use super::manifests::{Manifests, Pod, list, text};
use crate::target_folder;

const SERVICES: [&str; 6] = [
    "api-gateway",
    "product-service",
    "inventory-service",
    "order-service",
    "payment-service",
    "saga-orchestrator",
];
/// The operator's command line, whose commands share what they are given, and the all-in-one.
const SHOP: &str = "shop";

/// What is about Kafka. A program that was built without it reads none of this, and serves nobody.
const KAFKA: &str = "STORELINE_KAFKA_";

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
    /// Of the programs that are built.
    programs: BTreeMap<String, Program>,
}

struct Program {
    variables: Vec<Variable>,
}

struct Variable {
    name: String,
    required: bool,
    file: Option<String>,
    commands: Vec<String>,
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
        let folder = target_folder()?.join("debug");
        let mut programs = BTreeMap::new();
        for name in SERVICES.into_iter().chain([SHOP]) {
            match folder.join(name) {
                path if path.is_file() => _ = programs.insert(name.to_owned(), Program::ask(name, &path)?),
                _ => {
                    println!("note: {name} is not built, so the variables that it is given are not compared")
                }
            }
        }
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

impl Program {
    fn ask(name: &str, path: &Path) -> Result<Self> {
        let arguments: &[&str] = if name == SHOP { &["config"] } else { &["config", "--json"] };
        let output = Command::new(path).args(arguments).env_clear().output();
        let output = output.with_context(|| format!("cannot run {}", path.display()))?;
        if !output.status.success() {
            bail!("`{name} config` failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(match name {
            SHOP => Self::read(&String::from_utf8_lossy(&output.stdout)),
            _ => Self::parse(&serde_json::from_slice(&output.stdout)?),
        })
    }

    fn parse(said: &Value) -> Self {
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        let variables = list(&said["variables"]).map(|variable| Variable {
            name: text(&variable["name"]).to_owned(),
            required: variable["required"] == true,
            file: owned(&variable["fileVariable"]),
            commands: list(&variable["commands"]).filter_map(owned).collect(),
        });
        Self { variables: variables.collect() }
    }

    /// The text for people, in which names alone are not indented.
    fn read(text: &str) -> Self {
        let mut variables: Vec<Variable> = Vec::new();
        for line in text.lines() {
            match variables.last_mut() {
                Some(last) if line.starts_with(' ') => {
                    let file = format!("{}_FILE", last.name);
                    last.file = last.file.take().or_else(|| line.contains(&file).then_some(file));
                }
                _ => variables.push(Variable {
                    name: line.to_owned(),
                    required: false,
                    file: None,
                    commands: Vec::new(),
                }),
            }
        }
        Self { variables }
    }

    /// Variables that `command` reads, or those of any command.
    fn compare(&self, set: &BTreeMap<String, String>, command: Option<&str>) -> Problems {
        let mut problems = Problems::new();
        let read = |variable: &&Variable| {
            command.is_none_or(|command| variable.commands.iter().any(|known| known == command))
        };
        let variables: Vec<&Variable> = self.variables.iter().filter(read).collect();
        let has_kafka = self.variables.iter().any(|known| known.name.starts_with(KAFKA));
        for name in set.keys().filter(|name| has_kafka || !name.starts_with(KAFKA)) {
            if !variables.iter().any(|known| known.name == *name || known.file.as_ref() == Some(name)) {
                problems.push(format!("{name} is set and {} does not read it", command.unwrap_or("it")));
            }
        }
        for variable in variables.iter().filter(|variable| variable.required) {
            let names = [Some(&variable.name), variable.file.as_ref()];
            if !names.into_iter().flatten().any(|name| set.get(name).is_some_and(|value| !value.is_empty())) {
                problems.push(format!("{} is required and not set", variable.name));
            }
        }
        problems
    }
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
                found.extend(known.compare(&set, command.filter(|_| program != SHOP)));
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

    fn problems(command: Option<&str>, set: &[(&str, &str)]) -> Problems {
        let program = Program::parse(&serde_json::json!({ "variables": [
            { "name": "DATABASE_URL", "required": true, "fileVariable": "DATABASE_URL_FILE", "commands": ["serve"] },
            { "name": "STORELINE_KAFKA_BROKERS", "required": false, "commands": ["serve"] },
            { "name": "LIMIT", "required": false, "fileVariable": null, "commands": ["migrate", "serve"] },
        ] }));
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        program.compare(&set, command)
    }

    #[test]
    fn what_is_not_read_and_what_is_missing_is_told() {
        assert_eq!(problems(Some("serve"), &[("DATABASE_URL_FILE", "x"), ("LIMIT", "1")]), Problems::new());
        assert_eq!(problems(Some("migrate"), &[("LIMIT", "1")]), Problems::new());
        assert_eq!(problems(Some("serve"), &[("LIMIT", "1")]).len(), 1);
        assert_eq!(problems(Some("serve"), &[("DATABASE_URL", "")]).len(), 1);
        assert_eq!(problems(Some("migrate"), &[("DATABASE_URL", "x")]).len(), 1);
        assert_eq!(problems(Some("migrate"), &[("STORELINE_KAFKA_BROKERS", "x")]).len(), 1);
        assert_eq!(problems(None, &[("DATABASE_URL", "x"), ("LIMITS", "x")]).len(), 1);
    }

    #[test]
    fn constants_are_found_in_sources() {
        assert_eq!(between("a = \"b\";", "a = \"", "\"").unwrap(), "b");
        assert!(between("a", "b", "c").is_err());
    }
}
