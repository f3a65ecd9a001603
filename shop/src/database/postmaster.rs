//! The server process of a cluster, as the file `postmaster.pid` in it and the system's process table tell it. A number
//! in a file proves nothing after a crash or in a container, so it counts only when the process was started on this
//! cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What PostgreSQL says about its running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: u32,
    /// Where it accepts connections; None while it starts, recovers or stops. Whoever answers on the configured port
    /// before that is somebody else.
    pub(super) port: Option<u16>,
}

/// Signals that PostgreSQL understands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    /// Fast shutdown: sessions end, a checkpoint is written.
    Fast,
    #[cfg(test)]
    Kill,
}

impl Postmaster {
    /// The live server on `cluster`, if there is one.
    pub(super) fn running_on(cluster: &Path) -> Option<Self> {
        let found = Self::parse(&fs::read_to_string(pid_file(cluster)).ok()?)?;
        command_line(found.pid)
            .is_some_and(|line| line.contains(&*cluster.to_string_lossy()))
            .then_some(found)
    }

    fn parse(file: &str) -> Option<Self> {
        let lines: Vec<&str> = file.lines().map(str::trim).collect();
        let pid = lines.first()?.parse().ok()?;
        let ready = lines.get(7).is_some_and(|status| *status == "ready");
        let port = lines.get(3).and_then(|line| line.parse().ok()).filter(|_| ready);
        Some(Self { pid, port })
    }

    /// Sends `signal`. A process that is gone already is as good as signalled.
    pub(super) fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Fast => "INT",
            #[cfg(test)]
            Signal::Kill => "KILL",
        };
        // The shell's own `kill` is on every system; a program of that name is not.
        let command = format!("kill -{name} {}", self.pid);
        if let Err(error) = Command::new("sh").args(["-c", &command]).output() {
            tracing::warn!(%error, "cannot signal the database server");
        }
    }
}

/// Removes a `postmaster.pid` whose number now belongs to a process that has nothing to do with the cluster. PostgreSQL
/// itself would take that process for a server and refuse to start. Where it cannot be told, the file stays.
pub(super) fn remove_misleading_pid_file(cluster: &Path) {
    let path = pid_file(cluster);
    let Some(recorded) = fs::read_to_string(&path).ok().and_then(|text| Postmaster::parse(&text)) else {
        return;
    };
    let Some(line) = command_line(recorded.pid) else { return };
    if line.contains(&*cluster.to_string_lossy()) || works_in(cluster) != Some(false) {
        return;
    }
    tracing::warn!(
        pid = recorded.pid,
        "removing a postmaster.pid left by a crash: its number belongs to another program"
    );
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(%error, "cannot remove the stale postmaster.pid");
    }
}

fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

/// The command line of a live process; None when there is none with that number.
fn command_line(pid: u32) -> Option<String> {
    if Path::new("/proc/self/cmdline").exists() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&line).replace('\0', " "));
    }
    let output = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether any process has the cluster as its working folder, as all of PostgreSQL's have, those included that outlive
/// their server for a moment. None where the system does not tell.
fn works_in(cluster: &Path) -> Option<bool> {
    let processes = fs::read_dir("/proc").ok()?;
    fs::read_link("/proc/self/cwd").ok()?;
    let mut folders =
        processes.flatten().filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    Some(folders.any(|folder| folder == cluster))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchFolder;

    #[test]
    fn the_pid_file_is_read_in_every_phase_of_the_server() {
        let ready = "4711\n/data/postgres\n1700000000\n55432\n\n127.0.0.1\n  1234  5678\nready   \n";
        let expected = Postmaster { pid: 4711, port: Some(55432) };
        assert_eq!(Postmaster::parse(ready), Some(expected));
        for phase in ["starting", "stopping"] {
            let file = ready.replace("ready   ", phase);
            assert_eq!(Postmaster::parse(&file), Some(Postmaster { pid: 4711, port: None }), "{phase}");
        }
        assert_eq!(Postmaster::parse("4711\n"), Some(Postmaster { pid: 4711, port: None }));
        assert_eq!(Postmaster::parse(""), None);
    }

    #[test]
    fn a_process_with_the_recorded_number_that_is_no_server_of_this_cluster_does_not_count() {
        let scratch = ScratchFolder::new();
        let own_number = std::process::id();
        fs::write(pid_file(scratch.path()), format!("{own_number}\n/elsewhere\n1\n5432\n")).unwrap();
        assert_eq!(Postmaster::running_on(scratch.path()), None);
        remove_misleading_pid_file(scratch.path());
        let told = cfg!(target_os = "linux");
        assert_eq!(pid_file(scratch.path()).exists(), !told, "the file would keep PostgreSQL from starting");
    }
}
