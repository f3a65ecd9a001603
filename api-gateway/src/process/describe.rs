//! `config`: every variable that a command reads. Deployment files are checked against it, so it comes from the same
//! code that reads them.

#![expect(clippy::print_stdout, reason = "printing is what a command line is for")]

use serde_json::{Value, json};
use service_runtime::config::{ConfigReader, Description, Requirement};

use super::{NAME, config};

/// Prints the variables of all commands.
pub fn print(as_json: bool) {
    let variables = variables();
    if as_json {
        let variables: Vec<Value> = variables.iter().map(to_json).collect();
        let version = env!("CARGO_PKG_VERSION");
        println!("{:#}", json!({ "program": NAME, "version": version, "variables": variables }));
        return;
    }
    for (description, commands) in variables {
        println!("{description}");
        println!("    read by {}", commands.join(", "));
    }
}

/// In the order of reading, each with the commands that read it.
fn variables() -> Vec<(Description, Vec<&'static str>)> {
    let (mut serve, mut health) = (ConfigReader::default(), ConfigReader::default());
    config::Serve::read(&mut serve);
    config::Health::read(&mut health);
    // What `healthcheck` reads, `serve` reads too.
    let described = serve.describe().iter().map(|variable| {
        let asked = health.describe().iter().any(|other| other.name == variable.name);
        let commands = if asked { vec!["serve", "healthcheck"] } else { vec!["serve"] };
        (variable.clone(), commands)
    });
    described.collect()
}

fn to_json((description, commands): &(Description, Vec<&'static str>)) -> Value {
    let Description { name, help, rule, requirement, secret } = description;
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
}
