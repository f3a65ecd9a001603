//! `config`: every variable that a command of the binary reads. Deployment files are checked against it, so it comes from
//! the same code that reads them.

#![expect(clippy::print_stdout, reason = "printing is what a command line is for")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use service_runtime::config::{ConfigReader, Description, Requirement};

use crate::{Service, config};

/// Prints the variables of all commands.
pub(crate) fn print<S: Service>(as_json: bool) {
    let variables = variables::<S>();
    if as_json {
        println!("{:#}", to_json::<S>(&variables));
        return;
    }
    for (description, commands) in variables {
        println!("{description}");
        println!("    read by {}", commands.join(", "));
    }
}

/// In the order of reading, each with the commands that read it.
fn variables<S: Service>() -> Vec<(Description, Vec<&'static str>)> {
    let mut readers = [("serve", ConfigReader::default()), ("migrate", ConfigReader::default())];
    config::Serve::<S>::read(&mut readers[0].1);
    config::Migrate::read::<S>(&mut readers[1].1);
    let mut health = ConfigReader::default();
    config::Health::read::<S>(&mut health);
    let mut found: Vec<(Description, Vec<&'static str>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (command, reader) in
        readers.iter().map(|(name, reader)| (*name, reader)).chain([("healthcheck", &health)])
    {
        for description in reader.describe() {
            let place = *places.entry(description.name.to_string()).or_insert(found.len());
            match found.get_mut(place) {
                Some((_, commands)) => commands.push(command),
                None => found.push((description.clone(), vec![command])),
            }
        }
    }
    found
}

fn to_json<S: Service>(variables: &[(Description, Vec<&'static str>)]) -> Value {
    let variables: Vec<Value> = variables
        .iter()
        .map(|(Description { name, help, rule, requirement, secret }, commands)| {
            let default = match requirement {
                Requirement::Default(value) => Some(value),
                Requirement::Required | Requirement::Optional => None,
            };
            json!({
                "name": name,
                "help": help,
                "rule": rule,
                "required": *requirement == Requirement::Required,
                "default": default,
                "secret": secret,
                "fileVariable": secret.then(|| format!("{name}_FILE")),
                "commands": commands,
            })
        })
        .collect();
    json!({ "program": S::NAME, "version": env!("CARGO_PKG_VERSION"), "variables": variables })
}
