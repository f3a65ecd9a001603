//! What earlier reports measured, so that a report need not measure everything at once: some workloads take minutes and
//! others hours. Each table of BENCHMARKS.md comes whole from one measurement, the newest that has it, and says which.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::figures::Runs;
use crate::rows::{Filled, Row, filled};

/// Runs of some workloads under the same circumstances.
#[derive(Serialize, Deserialize)]
pub struct Measurement {
    /// The command that repeats it.
    pub command: String,
    /// What it ran on, as names and values.
    pub machine: Vec<(String, String)>,
    pub runs: Runs,
    /// What failed, with its reason.
    pub failures: Vec<String>,
}

/// Measurements, the newest first.
#[derive(Default, Serialize, Deserialize)]
pub struct Archive(pub Vec<Measurement>);

impl Archive {
    /// Reads what earlier reports kept; nothing when there was none.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read(path) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Adds a measurement and forgets those that have nothing any more that a newer one has not.
    pub fn add(&mut self, measurement: Measurement) {
        self.0.insert(0, measurement);
        let mut known: Vec<String> = Vec::new();
        self.0.retain(|measurement| {
            let names = measurement.runs.names();
            let has_own = names.iter().any(|name| !known.iter().any(|other| other == name));
            known.extend(names.into_iter().map(str::to_owned));
            has_own
        });
    }

    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// The place of the newest measurement that has one of these rows, and the rows that it has.
    pub fn table(&self, rows: &[Row]) -> Option<(usize, Vec<Filled>)> {
        self.newest(|runs| {
            let filled = filled(rows, runs);
            (!filled.is_empty()).then_some(filled)
        })
    }

    /// The place of the newest measurement in which something is found.
    pub fn newest<T>(&self, find: impl Fn(&Runs) -> Option<T>) -> Option<(usize, T)> {
        self.0.iter().enumerate().find_map(|(place, measurement)| Some((place, find(&measurement.runs)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Figure, Unit};

    fn measurement(command: &str, names: &[&str]) -> Measurement {
        let figure = Figure { unit: Unit::PerSecond, value: 1.0 };
        let run = names.iter().map(|name| ((*name).to_owned(), figure)).collect();
        let command = command.to_owned();
        Measurement { command, machine: Vec::new(), runs: Runs(vec![run]), failures: Vec::new() }
    }

    #[test]
    fn a_measurement_is_kept_as_long_as_it_has_something_that_no_newer_one_has() {
        let mut archive = Archive::default();
        for (command, names) in
            [("a", vec!["w1", "w2"]), ("b", vec!["search"]), ("c", vec!["w1"]), ("d", vec!["w2"])]
        {
            archive.add(measurement(command, &names));
        }
        let commands: Vec<&str> = archive.0.iter().map(|measurement| measurement.command.as_str()).collect();
        assert_eq!(commands, ["d", "c", "b"]);
    }

    #[test]
    fn what_was_kept_is_read_as_it_was() {
        let mut archive = Archive::default();
        archive.add(measurement("a", &["w1"]));
        let text = serde_json::to_string(&archive).unwrap();
        let read: Archive = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
