//! The files of the embedded server: where they lie, how they are made, and how the server is started on them. Whether
//! it runs is not known here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::data_folder::{DataFolder, failed, hex};
use crate::database::account::Account;
use crate::database::binaries::Binaries;
use crate::database::error::from_log;
use crate::database::{ADMIN_ROLE, DatabaseError, Progress};

/// The cluster, or a link to it, in the data folder.
const NAME: &str = "postgres";
/// What the server has to say.
const LOG_NAME: &str = "postgres.log";
/// At a start a longer log is put aside as `postgres.log.old`, so that two files of about this size are the most.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;
/// This much of the log's end goes into an error.
const LOG_TAIL: u64 = 3000;
/// Where root's cluster goes when the data folder is closed to the account that runs PostgreSQL.
const SYSTEM_STATE: &str = "/var/lib/storeline";
/// For a laptop: small, durable, silent about statements (they may hold personal data), reachable from this machine only.
const SETTINGS: [&str; 18] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=100",
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "wal_level=replica",
    "max_wal_size=2GB",
    "min_wal_size=160MB",
    "checkpoint_timeout=10min",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "lc_messages=C",
    "logging_collector=off",
    "log_line_prefix=%m [%p] ",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
];

/// Memory for pages is this part of the machine's, or of what this process's control group may have; within the limits
/// that follow, in MiB. Only what has been read takes any.
const BUFFERS_PART: u64 = 16;
const LEAST_BUFFERS: u64 = 128;
const MOST_BUFFERS: u64 = 1024;
/// What the machine has, where Linux says so.
const MEMORY: &str = "/proc/meminfo";
/// What the control group may have, with version 2 of control groups.
const GROUP_MEMORY: &str = "/sys/fs/cgroup/memory.max";

/// The absolute path of the cluster without links, if it has been made.
pub(super) fn locate(folder: &DataFolder) -> Option<PathBuf> {
    fs::canonicalize(folder.path().join(NAME)).ok()
}

/// The major version whose programs can read the cluster.
pub(super) fn major(cluster: &Path) -> Result<u32, DatabaseError> {
    let unreadable =
        |reason: String| DatabaseError::ClusterUnreadable { cluster: cluster.to_owned(), reason };
    let text = fs::read_to_string(cluster.join("PG_VERSION"))
        .map_err(|error| unreadable(format!("PG_VERSION: {error}")))?;
    text.trim().parse().map_err(|_| unreadable(format!("PG_VERSION says {:?}", text.trim())))
}

/// Makes a cluster with checksums, UTF-8 and a password for its superuser. It appears under its name only when it is
/// whole, so that a crash on the way leaves nothing that looks like one.
pub(super) async fn create(
    folder: &DataFolder,
    binaries: &Binaries,
    account: Option<&Account>,
    admin_password: &str,
    progress: Progress<'_>,
) -> Result<PathBuf, DatabaseError> {
    let parent = parent_for(folder, account, progress)?;
    let draft = parent.join(format!("{NAME}.draft"));
    let password_file = parent.join(format!("{NAME}.password.draft"));
    remove_draft(&draft, &password_file);
    let result = initialize(&draft, &password_file, binaries, account, admin_password).await;
    fs::remove_file(&password_file).ok();
    if let Err(error) = result {
        remove_draft(&draft, &password_file);
        return Err(error);
    }
    let cluster = parent.join(NAME);
    fs::rename(&draft, &cluster).map_err(failed("create", &cluster))?;
    File::open(&parent).and_then(|parent| parent.sync_all()).map_err(failed("write", &parent))?;
    if parent != folder.path() {
        let link = folder.path().join(NAME);
        symlink(&cluster, &link).map_err(failed("create", &link))?;
    }
    Ok(cluster)
}

/// Usually the data folder itself.
fn parent_for(
    folder: &DataFolder,
    account: Option<&Account>,
    progress: Progress<'_>,
) -> Result<PathBuf, DatabaseError> {
    let Some(closed) = account.and_then(|account| account.blocked_at(folder.path())) else {
        return Ok(folder.path().to_owned());
    };
    let parent = Path::new(SYSTEM_STATE).join(hex(&rand::random::<[u8; 8]>()));
    DirBuilder::new().recursive(true).mode(0o711).create(&parent).map_err(failed("create", &parent))?;
    progress(&format!(
        "{} is closed to the account that runs PostgreSQL: its files go to {}, with a link to them in the data folder",
        closed.display(),
        parent.display()
    ));
    Ok(parent)
}

fn remove_draft(draft: &Path, password_file: &Path) {
    fs::remove_dir_all(draft).ok();
    fs::remove_file(password_file).ok();
}

async fn initialize(
    draft: &Path,
    password_file: &Path,
    binaries: &Binaries,
    account: Option<&Account>,
    admin_password: &str,
) -> Result<(), DatabaseError> {
    DirBuilder::new().mode(0o700).create(draft).map_err(failed("create", draft))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(password_file)
        .and_then(|mut file| file.write_all(admin_password.as_bytes()))
        .map_err(failed("write", password_file))?;
    if let Some(account) = account {
        for path in [draft, password_file] {
            chown(path, Some(account.uid), Some(account.gid)).map_err(failed("hand over", path))?;
        }
    }
    let mut log = String::new();
    for locale in locales(binaries.major) {
        let program = binaries.program("initdb");
        let mut command = command(&program, draft, account);
        command.arg("-D").arg(draft).arg(format!("--pwfile={}", password_file.display()));
        command.arg(format!("--username={ADMIN_ROLE}"));
        command.args(["--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", "--no-instructions"]);
        command.args(*locale).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|source| DatabaseError::Run { program, source })?;
        if output.status.success() {
            return Ok(());
        }
        log =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        if !log.contains("invalid locale") {
            break;
        }
    }
    Err(from_log(draft, 0, log, |log| DatabaseError::InitFailed { cluster: draft.to_owned(), log }))
}

/// Byte order for sorting, with the letters of all languages known: the same on every machine, and indexes survive an
/// upgrade of the system. Before version 17 this is the system's business, and not every system has it.
fn locales(major: u32) -> &'static [&'static [&'static str]] {
    match major {
        17.. => &[&["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]],
        _ => &[&["--locale=C.UTF-8"], &["--locale=C"]],
    }
}

/// Starts the server, which outlives this process: it has a process group of its own, so that Ctrl-C in a terminal
/// reaches the shop alone and the shop stops the server when it has finished.
pub(super) fn launch(
    cluster: &Path,
    binaries: &Binaries,
    account: Option<&Account>,
    port: u16,
    log: File,
) -> Result<Child, DatabaseError> {
    let program = binaries.program("postgres");
    let errors = log.try_clone().map_err(failed("open", cluster))?;
    let mut command = command(&program, cluster, account);
    command.arg("-D").arg(cluster).arg("-p").arg(port.to_string());
    for setting in SETTINGS {
        command.arg("-c").arg(setting);
    }
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let buffers = buffers(&read(MEMORY), &read(GROUP_MEMORY));
    command.arg("-c").arg(format!("shared_buffers={buffers}MB"));
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    command.spawn().map_err(|source| DatabaseError::Run { program, source })
}

/// MiB for pages, on a machine that says this of its memory and of this process's control group.
fn buffers(memory: &str, group: &str) -> u64 {
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let limit = group.trim().parse::<u64>().ok();
    let most = [total.map(|kib| kib >> 10), limit.map(|bytes| bytes >> 20)].into_iter().flatten().min();
    (most.unwrap_or(0) / BUFFERS_PART).clamp(LEAST_BUFFERS, MOST_BUFFERS)
}

/// `program` under the right account, in a folder it may enter, without the caller's PostgreSQL variables.
fn command(program: &Path, folder: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("HOME", folder).current_dir(folder);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// A port that nobody listens on at this moment.
pub(super) fn free_port() -> Result<u16, DatabaseError> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(taken.map_err(failed("find a free port for", Path::new("PostgreSQL")))?.port())
}

pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The server's log file, readable by its owner only.
pub(super) struct ServerLog {
    path: PathBuf,
    /// Where this start began to write.
    begin: u64,
}

impl ServerLog {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log for one more start.
    pub(super) fn open(folder: &DataFolder) -> Result<(Self, File), DatabaseError> {
        let path = folder.path().join(LOG_NAME);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
            fs::rename(&path, path.with_extension("log.old")).map_err(failed("rename", &path))?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        let begin = file.metadata().map_err(failed("open", &path))?.len();
        Ok((Self { path, begin }, file))
    }

    /// The end of what this start wrote.
    pub(super) fn tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.path)?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(LOG_TAIL))))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_a_sixteenth_of_the_memory_that_there_is_within_limits() {
        let machine = |gib: u64| format!("MemTotal:       {} kB\nMemFree: 1 kB\n", gib << 20);
        assert_eq!(buffers(&machine(8), "max\n"), 512);
        assert_eq!(buffers(&machine(8), ""), 512);
        assert_eq!(buffers(&machine(64), "max\n"), MOST_BUFFERS);
        assert_eq!(buffers(&machine(64), "4294967296\n"), 256, "a container has less than its machine");
        assert_eq!(buffers(&machine(1), "max\n"), LEAST_BUFFERS);
        assert_eq!(buffers("", ""), LEAST_BUFFERS, "a system that does not say");
    }
}
