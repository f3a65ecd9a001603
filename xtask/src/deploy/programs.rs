//! The programs that a composition starts, and what each says about its own variables: `PROGRAM config --json`, printed by
//! the code that reads them. So a variable that was renamed, added or made required cannot be forgotten in a composition.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Problems;
use super::compose::{Composition, Service};

/// What a program does when no command is named.
const DEFAULT_COMMAND: &str = "serve";
/// The operator's command line: several commands share what it is given, and none needs all of it.
const COMMAND_LINE: &str = "shop";
/// How long a stop may take, after which Docker must not have ended it yet.
const DRAIN_LIMIT: &str = "STORELINE_DRAIN_LIMIT";

/// What the programs say about themselves, by their names.
pub struct Programs(BTreeMap<String, Program>);

struct Program {
    variables: Vec<Variable>,
}

#[derive(Debug)]
struct Variable {
    name: String,
    required: bool,
    /// The other name of a secret, whose value is a file's.
    file: Option<String>,
    default: Option<String>,
    commands: Vec<String>,
}

impl Programs {
    /// Asks each of `names`, as they were built into `folder`.
    pub fn ask<'a>(folder: &Path, names: impl IntoIterator<Item = &'a String>) -> Result<Self> {
        let mut programs = BTreeMap::new();
        for name in names {
            let path = folder.join(name);
            let arguments: &[&str] = if name == COMMAND_LINE { &["config"] } else { &["config", "--json"] };
            let output = Command::new(&path)
                .args(arguments)
                .env_clear()
                .output()
                .with_context(|| format!("cannot run {}: the step `build` makes it", path.display()))?;
            if !output.status.success() {
                bail!(
                    "`{name} {}` failed:\n{}",
                    arguments.join(" "),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            let program = match name == COMMAND_LINE {
                true => Program::read(&String::from_utf8_lossy(&output.stdout)),
                false => Program::parse(&serde_json::from_slice(&output.stdout)?),
            };
            programs.insert(name.clone(), program);
        }
        Ok(Self(programs))
    }

    /// Compares what each container of `composition` sets with what its program reads.
    pub fn check(&self, composition: &Composition) -> Result<Problems> {
        let mut problems = Problems::new();
        for (name, service) in composition.services.iter().filter(|(_, service)| service.is_ours()) {
            let words = service.words();
            let (program, arguments) = words.split_first().context("it names its program")?;
            let Some(known) = self.0.get(program) else { continue };
            let found = match program.as_str() {
                COMMAND_LINE => known.unknown(service, None),
                _ => known.compare(service, arguments)?,
            };
            problems
                .extend(found.into_iter().map(|problem| format!("{}: {name}: {problem}", composition.files)));
        }
        Ok(problems)
    }
}

impl Program {
    fn parse(said: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let variables = said["variables"].as_array().into_iter().flatten();
        let variables = variables.map(|variable| Variable {
            name: text(&variable["name"]).unwrap_or_default(),
            required: variable["required"] == true,
            file: text(&variable["fileVariable"]),
            default: text(&variable["default"]),
            commands: variable["commands"].as_array().into_iter().flatten().filter_map(text).collect(),
        });
        Self { variables: variables.collect() }
    }

    /// Reads the text for people, in which names alone are not indented. It does not say which command reads what.
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
                    default: None,
                    commands: Vec::new(),
                }),
            }
        }
        Self { variables }
    }

    fn compare(&self, service: &Service, arguments: &[String]) -> Result<Problems> {
        let command = arguments.first().map_or(DEFAULT_COMMAND, String::as_str);
        let read: Vec<&Variable> = self
            .variables
            .iter()
            .filter(|variable| variable.commands.iter().any(|known| known == command))
            .collect();
        if read.is_empty() {
            return Ok(vec![format!("its program has no command {command}")]);
        }
        let mut problems = self.unknown(service, Some(command));
        let set = service.environment();
        for variable in read.iter().filter(|variable| variable.required) {
            let names = [Some(&variable.name), variable.file.as_ref()];
            let is_set = |name: &&String| set.get(*name).is_some_and(|value| !value.trim().is_empty());
            if !names.iter().flatten().any(is_set) {
                problems.push(format!("{command} needs {}, which is not set", variable.name));
            }
        }
        if let Some(health) = service.health_command() {
            let health = health.get(1).map_or("", String::as_str);
            if !self.variables.iter().any(|variable| variable.commands.iter().any(|known| known == health)) {
                problems.push(format!("its program has no command {health} for the health check"));
            }
        }
        let drain = read.iter().find(|variable| variable.name == DRAIN_LIMIT);
        if let Some(drain) = drain {
            let limit =
                set.get(DRAIN_LIMIT).or(drain.default.as_ref()).map(String::as_str).unwrap_or_default();
            if service.stop_grace_seconds() <= super::compose::seconds(limit) {
                problems.push(format!("it is ended by force before its drain limit of {limit}"));
            }
        }
        Ok(problems)
    }

    /// What is set and not read, by `command` or by any.
    fn unknown(&self, service: &Service, command: Option<&str>) -> Problems {
        let environment = service.environment();
        let unread = environment.keys().filter(|name| {
            !self.variables.iter().any(|variable| {
                let named = variable.name == **name || variable.file.as_ref() == Some(*name);
                named && command.is_none_or(|command| variable.commands.iter().any(|known| known == command))
            })
        });
        unread
            .map(|name| format!("{name} is set and {} does not read it", command.unwrap_or("its program")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = r#"{ "variables": [
        { "name": "DATABASE_URL", "required": true, "secret": true, "fileVariable": "DATABASE_URL_FILE",
          "default": null, "commands": ["serve", "migrate"] },
        { "name": "STORELINE_GRPC", "required": false, "fileVariable": null, "default": "127.0.0.1:1",
          "commands": ["serve", "healthcheck"] },
        { "name": "STORELINE_DRAIN_LIMIT", "required": false, "fileVariable": null, "default": "25s",
          "commands": ["serve"] }
    ] }"#;

    fn problems(service: &str) -> Problems {
        let said: Value = serde_json::from_str(SAID).unwrap();
        let programs = Programs(BTreeMap::from([("thing".to_owned(), Program::parse(&said))]));
        let text = format!("services: {{ a: {{ image: 'storeline:1', {service} }} }}");
        programs.check(&Composition::parse("f".to_owned(), &text).unwrap()).unwrap()
    }

    #[test]
    fn what_is_set_and_read_passes() {
        for good in [
            "command: [thing], stop_grace_period: 40s, environment: { DATABASE_URL_FILE: x, STORELINE_GRPC: y }",
            "command: [thing, migrate], environment: { DATABASE_URL: x }",
        ] {
            assert_eq!(problems(good), Problems::new(), "{good}");
        }
    }

    #[test]
    fn names_and_files_are_read_from_the_text_for_people() {
        let program = Program::read(
            "PORT\n    where; a number; default 1\nTOKEN\n    who; or TOKEN_FILE names a file\n",
        );
        let service = |environment: &str| {
            let text = format!("services: {{ a: {{ environment: {{ {environment} }} }} }}");
            Composition::parse("f".to_owned(), &text).unwrap().services.remove("a").unwrap()
        };
        assert_eq!(program.unknown(&service("PORT: 1, TOKEN_FILE: x, TOKEN: x"), None), Problems::new());
        assert_eq!(program.unknown(&service("PORT_FILE: 1"), None).len(), 1);
    }

    #[test]
    fn what_is_not_read_and_what_is_missing_is_told() {
        for wrong in [
            "command: [thing], stop_grace_period: 40s",
            "command: [thing], stop_grace_period: 40s, environment: { DATABASE_URL_FILE: '' }",
            "command: [thing], stop_grace_period: 40s, environment: { DATABASE_URL: x, STORELINE_RPC: y }",
            "command: [thing], stop_grace_period: 20s, environment: { DATABASE_URL: x }",
            "command: [thing, migrate], environment: { DATABASE_URL: x, STORELINE_GRPC: y }",
            "command: [thing, play], environment: { DATABASE_URL: x }",
            "command: [thing], stop_grace_period: 40s, environment: { DATABASE_URL: x }, healthcheck: { test: [CMD, thing, ping] }",
        ] {
            assert_eq!(problems(wrong).len(), 1, "{wrong}");
        }
    }
}
