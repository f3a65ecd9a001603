//! The operator's command line of a shop, and the audit above all.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::Shop;

/// An audit reads every event of every log.
pub const AUDIT_DEADLINE: Duration = Duration::from_secs(120);

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// What it printed, if it went well.
    ///
    /// # Panics
    /// When its exit code is not 0.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Everything that it printed.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a program to its end without blocking the test's other tasks.
///
/// # Panics
/// When it does not start, or not end within `deadline`; then it is killed.
pub async fn finish(mut command: Command, deadline: Duration) -> Finished {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output();
    match tokio::time::timeout(deadline, output).await {
        Err(_) => panic!("not finished within {deadline:?}: {shown}"),
        Ok(Err(error)) => panic!("{error}: {shown}"),
        Ok(Ok(output)) => Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
    }
}

impl Shop {
    /// Runs a command of the shop's command line.
    ///
    /// # Panics
    /// When it does not end within `deadline`.
    pub async fn run(&self, arguments: &[&str], deadline: Duration) -> Finished {
        let mut command = self.command();
        command.args(arguments);
        finish(command, deadline).await
    }

    /// Checks the invariants of everything stored, and returns what the audit looked at.
    ///
    /// # Panics
    /// When one is broken.
    pub async fn audit(&self) -> Value {
        let report = self.run(&["audit", "--json"], AUDIT_DEADLINE).await.ok();
        serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report}"))
    }
}
