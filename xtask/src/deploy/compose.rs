//! The composition, as docker-compose understands it: the rules that every container keeps, and that everything named in
//! it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Problems;
use super::dockerfile::Image;
use super::tools::DeployTools;

/// Switched on, so that everything is checked.
const PROFILES: [&str; 2] = ["observability", "tools"];
/// The image of our own programs; all others come from elsewhere.
const OUR_IMAGE: &str = "storeline:";
/// Docker puts a container's secrets there.
pub const SECRETS: &str = "/run/secrets/";
/// Where secrets stand before they are made: made by deploy/secrets.sh.
const SECRETS_SCRIPT: &str = "deploy/secrets.sh";

/// All that `docker compose up` would start.
pub struct Composition {
    /// How it is called in problems.
    pub files: String,
    pub services: BTreeMap<String, Service>,
    document: Value,
}

/// One container, or several of the same.
pub struct Service {
    value: Value,
}

impl Composition {
    /// Has docker-compose read `files` and resolve what they say.
    pub fn read(root: &Path, tools: &DeployTools, files: &[&str]) -> Result<Self> {
        let mut command = tools.compose();
        for file in files {
            command.args(["-f", file]);
        }
        for profile in PROFILES {
            command.args(["--profile", profile]);
        }
        let output = command.arg("config").current_dir(root).output().context("cannot run docker-compose")?;
        let name = files.join(" + ");
        if !output.status.success() {
            bail!("docker-compose does not read {name}:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Self::parse(name, &String::from_utf8_lossy(&output.stdout))
    }

    pub fn parse(files: String, text: &str) -> Result<Self> {
        let document: Value = serde_yaml_ng::from_str(text).context("docker-compose printed no YAML")?;
        let services = document["services"].as_object().context("there are no services")?;
        let services =
            services.iter().map(|(name, value)| (name.clone(), Service { value: value.clone() })).collect();
        Ok(Self { files, services, document })
    }

    /// Everything that is wrong with it.
    pub fn check(&self, root: &Path, image: &Image) -> Problems {
        let mut problems = Problems::new();
        for (name, service) in &self.services {
            let mut found = service.break_rules();
            found.extend(service.missing_files(root));
            found.extend(self.missing_secrets(service));
            found.extend(self.missing_dependencies(service));
            if service.is_ours() {
                found.extend(self.wrong_program(service, image));
            }
            problems.extend(found.into_iter().map(|problem| format!("{}: {name}: {problem}", self.files)));
        }
        problems
    }

    fn wrong_program(&self, service: &Service, image: &Image) -> Problems {
        let mut problems = Problems::new();
        let mut named = vec![service.words()];
        named.extend(service.health_command());
        for words in named {
            match words.first() {
                Some(program) if image.programs.contains(program) => {}
                Some(program) => problems.push(format!("the image has no program {program}")),
                None => problems.push("it does not say which program it runs".to_owned()),
            }
        }
        if service.is_long_running() && service.health_command().is_none() {
            problems.push("it has no health check".to_owned());
        }
        problems.extend(self.wrong_addresses(service));
        problems
    }

    /// Addresses of other containers must name one, at a port that it listens on.
    fn wrong_addresses(&self, service: &Service) -> Problems {
        let mut problems = Problems::new();
        for (variable, value) in service.environment() {
            if !(variable.ends_with("_ADDRESS") || variable.ends_with("_URL")) {
                continue;
            }
            for address in value.split(',') {
                let address = address.rsplit("//").next().unwrap_or_default();
                let authority = address.split('/').next().unwrap_or_default();
                let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
                match self.services.get(host) {
                    None => problems.push(format!("{variable}: there is no service {host}")),
                    Some(other) if other.is_ours() && !other.listens_on(port) => {
                        problems.push(format!("{variable}: {host} does not listen on {port}"));
                    }
                    Some(_) => {}
                }
            }
        }
        problems
    }

    /// A secret must be mounted, declared, and made by the script; and what names one must have it.
    fn missing_secrets(&self, service: &Service) -> Problems {
        let mounted: BTreeSet<String> = service.list("secrets").filter_map(secret_name).collect();
        let mut problems = Problems::new();
        for (variable, value) in service.environment() {
            let Some(secret) = value.strip_prefix(SECRETS) else { continue };
            if !mounted.contains(secret) {
                problems.push(format!("{variable} names the secret {secret}, which is not mounted"));
            }
            if !variable.ends_with("_FILE") {
                problems.push(format!("{variable} names a file and does not end in _FILE"));
            }
        }
        for secret in mounted {
            if self.document["secrets"][&secret].is_null() {
                problems.push(format!("the secret {secret} is not declared"));
            }
        }
        problems
    }

    fn missing_dependencies(&self, service: &Service) -> Problems {
        let mut problems = Problems::new();
        for (name, dependency) in service.value["depends_on"].as_object().into_iter().flatten() {
            let Some(other) = self.services.get(name) else {
                problems.push(format!("it depends on {name}, which is not there"));
                continue;
            };
            let condition = dependency["condition"].as_str().unwrap_or_default();
            let right = match other.is_long_running() {
                true => condition == "service_healthy" && other.health_command().is_some(),
                false => condition == "service_completed_successfully",
            };
            if !right {
                problems.push(format!("it waits for {name} with the condition `{condition}`"));
            }
        }
        problems
    }
}

impl Service {
    pub fn is_ours(&self) -> bool {
        self.text("image").starts_with(OUR_IMAGE)
    }

    /// Jobs end and are not started again when they ended well.
    pub fn is_long_running(&self) -> bool {
        self.text("restart") == "unless-stopped"
    }

    /// The program with its arguments.
    pub fn words(&self) -> Vec<String> {
        [self.entrypoint(), self.texts("command")].concat()
    }

    /// The program, if the arguments are whatever `docker compose run` is given.
    pub fn entrypoint(&self) -> Vec<String> {
        self.texts("entrypoint")
    }

    /// Its variables as the program would see them.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match &self.value["environment"] {
            Value::Object(entries) => {
                entries.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    /// What `docker` runs to see whether it is well.
    pub fn health_command(&self) -> Option<Vec<String>> {
        let test = self.value["healthcheck"]["test"].as_array()?;
        let words: Vec<String> = test.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
        match words.split_first() {
            Some((kind, words)) if kind == "CMD" => Some(words.to_vec()),
            _ => None,
        }
    }

    /// Seconds between the signal to stop and the end by force.
    pub fn stop_grace_seconds(&self) -> u64 {
        seconds(self.text("stop_grace_period"))
    }

    fn listens_on(&self, port: &str) -> bool {
        let environment = self.environment();
        ["STORELINE_GRPC", "STORELINE_HTTP"]
            .iter()
            .any(|name| environment.get(*name).is_some_and(|address| address.ends_with(&format!(":{port}"))))
    }

    /// What every container must be, whoever made its image.
    fn break_rules(&self) -> Problems {
        let mut problems = Problems::new();
        let mut rule = |kept: bool, problem: &str| {
            if !kept {
                problems.push(problem.to_owned());
            }
        };
        let image = self.text("image");
        let (name, version) = image.rsplit_once(':').unwrap_or((image, ""));
        rule(!version.is_empty() && version != "latest", "its image has no version");
        rule(!name.contains("bitnami"), "its image is Bitnami's");
        rule(self.value["read_only"] == true, "its root file system can be written");
        rule(self.list("cap_drop").any(|dropped| dropped == "ALL"), "it keeps capabilities");
        let unprivileged = self.list("security_opt").any(|option| option == "no-new-privileges:true");
        rule(unprivileged, "it may gain privileges");
        rule(!self.value["mem_limit"].is_null(), "its memory has no limit");
        rule(!self.value["cpus"].is_null(), "its processors have no limit");
        rule(!self.value["pids_limit"].is_null(), "its processes have no limit");
        rule(self.value["privileged"].is_null(), "it is privileged");
        rule(self.value["container_name"].is_null(), "its container has a name, so there can be only one");
        let published = self.list("ports").all(|port| match port {
            Value::String(port) => port.starts_with("127.0.0.1:"),
            port => port["host_ip"] == "127.0.0.1",
        });
        rule(published, "a port is open to other machines");
        let passwords = self.environment().into_iter().any(|(name, value)| {
            let secret = ["PASSWORD", "TOKEN", "SECRET", "KEYS"].iter().any(|word| name.contains(word));
            secret && !name.ends_with("_FILE") && !value.is_empty()
        });
        rule(!passwords, "a secret stands in its environment");
        problems
    }

    /// Files that it mounts from the source tree.
    fn missing_files(&self, root: &Path) -> Problems {
        let sources = self.list("volumes").filter_map(|volume| match volume {
            Value::String(volume) => volume.split(':').next().map(str::to_owned),
            volume => volume["source"].as_str().map(str::to_owned),
        });
        sources
            .filter(|source| source.starts_with(['/', '.']))
            .map(|source| root.join(PathBuf::from(source)))
            .filter(|path| !path.exists())
            .map(|path| format!("there is no {}", path.display()))
            .collect()
    }

    fn text(&self, key: &str) -> &str {
        self.value[key].as_str().unwrap_or_default()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.value[key].as_array().into_iter().flatten()
    }
}

fn secret_name(mounted: &Value) -> Option<String> {
    mounted.as_str().or_else(|| mounted["source"].as_str()).map(str::to_owned)
}

/// `1m30s` as docker-compose writes it.
pub fn seconds(text: &str) -> u64 {
    let (mut total, mut number) = (0, 0);
    for letter in text.chars() {
        match letter {
            '0'..='9' => number = number * 10 + u64::from(letter.to_digit(10).unwrap_or_default()),
            unit => {
                total += number
                    * if unit == 'h' {
                        3600
                    } else if unit == 'm' {
                        60
                    } else {
                        1
                    };
                number = 0;
            }
        }
    }
    total
}

/// Runs the script that makes the secrets, and compares what it made with what the compositions mount.
pub fn check_secrets(root: &Path, compositions: &[Composition]) -> Result<Problems> {
    let folder = std::env::temp_dir().join(format!("storeline-secrets-{}", std::process::id()));
    let make =
        || std::process::Command::new("sh").arg(SECRETS_SCRIPT).arg(&folder).current_dir(root).output();
    let output = make().context("cannot run sh")?;
    if !output.status.success() {
        bail!("{SECRETS_SCRIPT} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let read = || -> Result<BTreeMap<String, String>> {
        let mut made = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            made.insert(name, std::fs::read_to_string(path)?);
        }
        Ok(made)
    };
    let made = read()?;
    make()?;
    let again = read()?;
    std::fs::remove_dir_all(&folder).ok();
    let mut problems = Problems::new();
    if made != again {
        problems.push(format!("{SECRETS_SCRIPT} changes what it made before"));
    }
    for composition in compositions {
        for (name, secret) in composition.document["secrets"].as_object().into_iter().flatten() {
            let file = secret["file"].as_str().unwrap_or_default();
            if !file.ends_with(&format!("/deploy/secrets/{name}")) || !made.contains_key(name) {
                problems.push(format!("{}: {SECRETS_SCRIPT} makes no {name}", composition.files));
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
services:
  order-service:
    image: storeline:local
    command: [order-service]
    restart: unless-stopped
    read_only: true
    cap_drop: [ALL]
    security_opt: ['no-new-privileges:true']
    mem_limit: 1g
    cpus: 1.0
    pids_limit: 10
    environment: { STORELINE_GRPC: '0.0.0.0:50053', TOKENS_FILE: /run/secrets/token }
    secrets: [token]
    ports: ['127.0.0.1:1:1/tcp']
    healthcheck: { test: [CMD, order-service, healthcheck] }
    stop_grace_period: 1m5s
secrets:
  token: { file: /x/deploy/secrets/token }
";

    fn problems(text: &str) -> Problems {
        let image = Image::of(&["order-service"]);
        Composition::parse("f".to_owned(), text).unwrap().check(Path::new("/"), &image)
    }

    #[test]
    fn a_hardened_service_passes() {
        assert_eq!(problems(GOOD), Problems::new());
        let composition = Composition::parse("f".to_owned(), GOOD).unwrap();
        assert_eq!(composition.services["order-service"].stop_grace_seconds(), 65);
    }

    #[test]
    fn each_rule_is_missed_when_it_is_broken() {
        for (good, bad) in [
            ("image: storeline:local", "image: storeline"),
            ("image: storeline:local", "image: bitnami/postgres:17"),
            ("read_only: true", "read_only: false"),
            ("cap_drop: [ALL]", "cap_drop: []"),
            ("['no-new-privileges:true']", "[]"),
            ("mem_limit: 1g", "x-none: 1"),
            ("cpus: 1.0", "x-none: 1"),
            ("pids_limit: 10", "container_name: only"),
            ("127.0.0.1:1:1", "1:1"),
            ("TOKENS_FILE", "TOKENS"),
            ("secrets: [token]", "secrets: []"),
            ("command: [order-service]", "command: [orders]"),
            ("CMD, order-service", "CMD, orders"),
            ("healthcheck: {", "x-none: {"),
            ("environment: {", "environment: { STORELINE_SAGA_ADDRESS: 'saga:1',"),
            ("environment: {", "environment: { STORELINE_SAGA_ADDRESS: 'order-service:1',"),
            ("restart:", "depends_on: { saga: { condition: service_healthy } }\n    restart:"),
            ("restart:", "depends_on: { order-service: { condition: service_started } }\n    restart:"),
        ] {
            let text = GOOD.replace(good, bad);
            assert_ne!(text, GOOD, "{good}");
            assert!(!problems(&text).is_empty(), "{bad}");
        }
    }
}
