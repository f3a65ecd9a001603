//! What a composition starts, held against what the programs say about themselves.

use anyhow::{Context, Result};

use super::Problems;
use super::compose::{Composition, Service, seconds};
use crate::programs::{COMMAND_LINE, DEFAULT_COMMAND, Program, Programs};

/// How long a stop may take, after which Docker must not have ended it yet.
const DRAIN_LIMIT: &str = "STORELINE_DRAIN_LIMIT";

/// Compares what each container of `composition` sets with what its program reads.
pub fn check(programs: &Programs, composition: &Composition) -> Result<Problems> {
    let mut problems = Problems::new();
    for (name, service) in composition.services.iter().filter(|(_, service)| service.is_ours()) {
        let words = service.words();
        let (program, arguments) = words.split_first().context("it names its program")?;
        let Some(known) = programs.get(program) else { continue };
        let found = match program.as_str() {
            COMMAND_LINE => known.unread(&service.environment(), None),
            _ => compare(known, service, arguments),
        };
        problems.extend(found.into_iter().map(|problem| format!("{}: {name}: {problem}", composition.files)));
    }
    Ok(problems)
}

fn compare(program: &Program, service: &Service, arguments: &[String]) -> Problems {
    let command = arguments.first().map_or(DEFAULT_COMMAND, String::as_str);
    if program.read_by(command).next().is_none() {
        return vec![format!("its program has no command {command}")];
    }
    let set = service.environment();
    let mut problems = [program.unread(&set, Some(command)), program.missing(&set, command)].concat();
    if let Some(health) = service.health_command() {
        let health = health.get(1).map_or("", String::as_str);
        if program.read_by(health).next().is_none() {
            problems.push(format!("its program has no command {health} for the health check"));
        }
    }
    if let Some(drain) = program.read_by(command).find(|variable| variable.name == DRAIN_LIMIT) {
        let limit = set.get(DRAIN_LIMIT).or(drain.default.as_ref()).map(String::as_str).unwrap_or_default();
        if service.stop_grace_seconds() <= seconds(limit) {
            problems.push(format!("it is ended by force before its drain limit of {limit}"));
        }
    }
    problems
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
        let programs = Programs::of("thing", &serde_json::from_str(SAID).unwrap());
        let text = format!("services: {{ a: {{ image: 'storeline:1', {service} }} }}");
        check(&programs, &Composition::parse("f".to_owned(), &text).unwrap()).unwrap()
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
