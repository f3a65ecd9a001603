//! What our programs say about their own variables: `PROGRAM config --json`, printed by the code that reads them. Whatever
//! starts programs is held against this, so that a variable that was renamed, added or made required cannot be forgotten in a
//! composition or in the chart.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What a program does when no command is named.
pub const DEFAULT_COMMAND: &str = "serve";
/// The operator's command line, and the all-in-one: several commands share what it is given, and none needs all of it.
pub const COMMAND_LINE: &str = "shop";

/// What the programs say about themselves, by their names.
pub struct Programs(BTreeMap<String, Program>);

/// What one of them reads.
pub struct Program {
    variables: Vec<Variable>,
}

/// One variable.
#[derive(Debug)]
pub struct Variable {
    pub name: String,
    pub required: bool,
    /// The other name of a secret, whose value is a file's.
    pub file: Option<String>,
    pub default: Option<String>,
    pub commands: Vec<String>,
}

impl Programs {
    /// Asks each of `names`, as they were built into `folder`.
    ///
    /// # Errors
    /// When one is not built, or cannot list its variables.
    pub fn ask<'a>(folder: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
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
            programs.insert(name.to_owned(), program);
        }
        Ok(Self(programs))
    }

    pub fn get(&self, name: &str) -> Option<&Program> {
        self.0.get(name)
    }

    #[cfg(test)]
    pub fn of(name: &str, said: &Value) -> Self {
        Self(BTreeMap::from([(name.to_owned(), Program::parse(said))]))
    }
}

impl Program {
    pub fn parse(said: &Value) -> Self {
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
    pub fn read(text: &str) -> Self {
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

    /// What `command` reads.
    pub fn read_by(&self, command: &str) -> impl Iterator<Item = &Variable> {
        self.variables.iter().filter(move |variable| variable.commands.iter().any(|known| known == command))
    }

    /// A sentence for each variable that is set and not read, by `command` or by any.
    pub fn unread(&self, set: &BTreeMap<String, String>, command: Option<&str>) -> Vec<String> {
        let is_read = |name: &str| {
            self.variables.iter().any(|variable| {
                let named = variable.name == name || variable.file.as_deref() == Some(name);
                named && command.is_none_or(|command| variable.commands.iter().any(|known| known == command))
            })
        };
        let reader = command.unwrap_or("its program");
        let unread = set.keys().filter(|name| !is_read(name));
        unread.map(|name| format!("{name} is set and {reader} does not read it")).collect()
    }

    /// A sentence for each variable that `command` needs and that is not set.
    pub fn missing(&self, set: &BTreeMap<String, String>, command: &str) -> Vec<String> {
        let is_set = |variable: &&Variable| {
            let names = [Some(&variable.name), variable.file.as_ref()];
            let value = |name: &String| set.get(name).is_some_and(|value| !value.trim().is_empty());
            names.into_iter().flatten().any(value)
        };
        let needed = self.read_by(command).filter(|variable| variable.required && !is_set(variable));
        needed.map(|variable| format!("{command} needs {}, which is not set", variable.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeMap<String, String> {
        names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect()
    }

    #[test]
    fn what_is_not_read_and_what_is_missing_is_told_by_command() {
        let program = Program::parse(&serde_json::json!({ "variables": [
            { "name": "DATABASE_URL", "required": true, "fileVariable": "DATABASE_URL_FILE", "commands": ["serve"] },
            { "name": "LIMIT", "required": false, "fileVariable": null, "commands": ["migrate", "serve"] },
        ] }));
        let problems = |command: &str, names: &[&str]| {
            [program.unread(&set(names), Some(command)), program.missing(&set(names), command)].concat()
        };
        assert_eq!(problems("serve", &["DATABASE_URL_FILE", "LIMIT"]), [""; 0]);
        assert_eq!(problems("migrate", &["LIMIT"]), [""; 0]);
        assert_eq!(problems("serve", &["LIMIT"]).len(), 1);
        assert_eq!(problems("migrate", &["DATABASE_URL"]).len(), 1);
        assert_eq!(program.unread(&set(&["DATABASE_URL", "LIMITS"]), None).len(), 1);
        let blank = BTreeMap::from([("DATABASE_URL".to_owned(), " ".to_owned())]);
        assert_eq!(program.missing(&blank, "serve").len(), 1);
    }

    #[test]
    fn names_and_files_are_read_from_the_text_for_people() {
        let text = "PORT\n    where; a number; default 1\nTOKEN\n    who; or TOKEN_FILE names a file\n";
        let program = Program::read(text);
        assert_eq!(program.unread(&set(&["PORT", "TOKEN_FILE", "TOKEN"]), None), [""; 0]);
        assert_eq!(program.unread(&set(&["PORT_FILE"]), None).len(), 1);
    }
}
