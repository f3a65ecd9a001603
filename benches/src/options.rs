//! The command line of the benchmark program.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::WORKLOADS;
use crate::event::ACCOUNTS;
use crate::load::Times;
use crate::run::Workload;

/// The workloads that only run when they are asked for.
const PEERS: &str = "peers";
const RELAY: &str = "relay";
const CLUSTER: &str = "cluster";
/// Runs of `--report`.
pub const REPORT_RUNS: usize = 5;
/// Measured for each figure, unless told otherwise.
pub const MEASURED: Duration = Duration::from_secs(3);
/// Warm-up before each figure, at most; a third of the measured time if that is less.
const WARM_UP: Duration = Duration::from_secs(1);
/// As many as one client alone works on.
const LEAST_ACCOUNTS: u64 = 100;
/// Runs at most: more would tell of the machine's day rather than of the program.
const MAX_RUNS: usize = 100;
/// The longest measured time of a figure, in seconds.
const MAX_SECONDS: f64 = 600.0;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Names of workloads; empty for all.
    pub only: Vec<String>,
    pub runs: usize,
    /// Write BENCHMARKS.md.
    pub report: bool,
    /// Growth up to 10^7 events.
    pub long: bool,
    /// Other libraries too.
    pub peers: bool,
    /// Measure the sketch beside ours.
    pub floor: bool,
    /// Measure the limits beside ours.
    pub limits: bool,
    /// Accounts that the seeded workloads begin with. Another number than the usual makes other workloads of them.
    pub accounts: u64,
    pub measured: Duration,
}

impl Options {
    /// `None` when the help is asked for.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            only: Vec::new(),
            runs: 0,
            report: false,
            long: false,
            peers: false,
            floor: true,
            limits: true,
            accounts: ACCOUNTS,
            measured: MEASURED,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--report" => options.report = true,
                "--long" => options.long = true,
                "--peers" => options.peers = true,
                "--no-floor" => options.floor = false,
                "--no-limits" => options.limits = false,
                "--only" => options.only.extend(value()?.split(',').map(str::to_lowercase)),
                "--runs" => options.runs = value()?.parse().context("--runs needs a number")?,
                "--accounts" => {
                    options.accounts = value()?.parse().context("--accounts needs a number")?;
                    if !(LEAST_ACCOUNTS..=ACCOUNTS).contains(&options.accounts) {
                        bail!("--accounts is from {LEAST_ACCOUNTS} to {ACCOUNTS}");
                    }
                }
                "--seconds" => {
                    let seconds: f64 = value()?.parse().context("--seconds needs a number")?;
                    if !(seconds > 0.0 && seconds <= MAX_SECONDS) {
                        bail!("--seconds is above 0 and at most {MAX_SECONDS}");
                    }
                    options.measured = Duration::from_secs_f64(seconds);
                }
                unknown => bail!("`{unknown}` is not understood"),
            }
        }
        if options.runs == 0 {
            options.runs = if options.report { REPORT_RUNS } else { 1 };
        }
        if options.runs > MAX_RUNS {
            bail!("{MAX_RUNS} runs at most");
        }
        if options.report && options.accounts != ACCOUNTS {
            bail!("a report is about {ACCOUNTS} accounts");
        }
        if let Some(unknown) = options.only.iter().find(|name| WORKLOADS.iter().all(|w| w.name != **name)) {
            bail!("there is no workload `{unknown}`");
        }
        Ok(Some(options))
    }

    /// Whether a workload runs: when it is named, or when none is and it is not one of the further ones.
    pub fn includes(&self, workload: &Workload) -> bool {
        let further = match workload.name {
            PEERS => !self.peers,
            name => [RELAY, CLUSTER].contains(&name),
        };
        if self.only.is_empty() { !further } else { self.only.iter().any(|name| name == workload.name) }
    }

    pub fn times(&self) -> Times {
        Times { warm_up: WARM_UP.min(self.measured / 3), measured: self.measured }
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = "\
Usage: cargo xtask bench [OPTIONS]

Prints every figure beside a limit that is measured in the same run. Let nothing else run on the machine meanwhile.

  --only NAME,..   only these workloads
  --runs N         so many runs; medians with lowest and highest (1, with --report 5)
  --seconds S      measured for each figure (3), after a warm-up of a third of it and at most 1
  --accounts N     streams of 20 events that w2, w3, one and w4 begin with (10,000), for a quick look
  --report         writes BENCHMARKS.md
  --long           growth up to 10^7 events and search in 10^6 products, which take some minutes to fill in
  --peers          W1 to W4 with other libraries too
  --no-floor       without the sketch beside ours
  --no-limits      without pgbench and the bare servers beside ours

workloads:
"
    .to_owned();
    for workload in &WORKLOADS {
        text.push_str(&format!("  {:<10} {}\n", workload.name, workload.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn workloads_are_chosen_by_name_in_any_case() {
        let options = parse("--only W1,w3 --runs 2 --seconds 0.5").unwrap().unwrap();
        assert_eq!((options.only, options.runs), (vec!["w1".to_owned(), "w3".to_owned()], 2));
        assert_eq!(options.measured, Duration::from_millis(500));
    }

    #[test]
    fn other_libraries_only_run_when_they_are_asked_for() {
        let names = |line| {
            let options = parse(line).unwrap().unwrap();
            let chosen = WORKLOADS.iter().filter(|workload| options.includes(workload));
            chosen.map(|workload| workload.name).collect::<Vec<_>>()
        };
        assert!(!names("").contains(&"peers") && names("").contains(&"growth"));
        assert!(!names("").contains(&"cluster") && names("--only cluster") == ["cluster"]);
        assert!(names("--peers").contains(&"peers") && names("--peers").contains(&"w1"));
        assert_eq!(names("--only peers"), ["peers"]);
    }

    #[test]
    fn a_report_takes_the_median_of_five() {
        assert_eq!(parse("--report").unwrap().unwrap().runs, 5);
        assert_eq!(parse("").unwrap().unwrap().runs, 1);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [
            "--fast",
            "--only",
            "--only w9",
            "--runs many",
            "--runs 101",
            "--seconds 0",
            "--seconds -1",
            "--accounts 5",
            "--report --accounts 100",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn the_help_names_every_workload() {
        assert!(WORKLOADS.iter().all(|workload| help().contains(workload.about)));
    }
}
