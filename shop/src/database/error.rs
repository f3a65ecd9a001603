//! Why there is no database, each with what its reader can do about it. No message carries a password or an address that
//! contains one.

use std::path::{Path, PathBuf};

use crate::data_folder::DataFolderError;
use crate::database::{ADMIN_ROLE, APP_ROLE, OLDEST_MAJOR};

/// What can go wrong between the shop and its PostgreSQL server.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    #[error(
        "no PostgreSQL server programs of version {OLDEST_MAJOR} or newer here ({reason}). Install them \
         (Debian: apt-get install postgresql; macOS: brew install postgresql), name their folder in POSTGRES_BIN, or \
         name a running server in DATABASE_URL"
    )]
    NoBinaries { reason: String },
    #[error("POSTGRES_BIN names {path}, which cannot be used: {reason}. Correct it or remove it")]
    BinariesUnusable { path: PathBuf, reason: String },
    #[error(
        "the data in {cluster} was made by PostgreSQL {major}, and there are no programs of that version here \
         ({reason}). Install PostgreSQL {major}, or name the folder of its programs in POSTGRES_BIN. Other versions \
         cannot read the data"
    )]
    ClusterMajor { cluster: PathBuf, major: u32, reason: String },
    #[error(
        "{cluster} is no readable PostgreSQL cluster ({reason}). Restore it from a backup, or move it away to begin anew"
    )]
    ClusterUnreadable { cluster: PathBuf, reason: String },
    #[error(
        "PostgreSQL refuses to run as root and there is neither an account `postgres` nor `nobody`. Create one, or \
         start the shop as an ordinary user"
    )]
    NoAccount,
    #[error(
        "the disk of {path} is full. Free some space and start again; nothing acknowledged is lost.\n{log}"
    )]
    DiskFull { path: PathBuf, log: String },
    #[error(
        "port {port} for PostgreSQL is taken. Choose another, or leave it out and a free one is taken.\n{log}"
    )]
    PortTaken { port: u16, log: String },
    #[error("PostgreSQL may not use {path}. Give its files back to the account that runs it.\n{log}")]
    NotPermitted { path: PathBuf, log: String },
    #[error(
        "another PostgreSQL runs on the data in {cluster} but does not answer. Stop it and start again.\n{log}"
    )]
    ClusterInUse { cluster: PathBuf, log: String },
    #[error("making the cluster {cluster} failed. Nothing was left behind; the cause is below.\n{log}")]
    InitFailed { cluster: PathBuf, log: String },
    #[error("PostgreSQL did not start on {cluster}. The end of its log, {log_file}, says why.\n{log}")]
    StartFailed { cluster: PathBuf, log_file: PathBuf, log: String },
    #[error(
        "PostgreSQL on {cluster} does not accept connections after {seconds} s. It may still be recovering: look into \
         {log_file} and start again.\n{log}"
    )]
    StartTimeout { cluster: PathBuf, seconds: u64, log_file: PathBuf, log: String },
    #[error(
        "PostgreSQL did not stop within {seconds} s. It goes on with what it does and is adopted at the next start"
    )]
    StopTimeout { seconds: u64 },
    #[error("cannot run {program}: {source}. Check that it is installed and may be executed")]
    Run { program: PathBuf, source: std::io::Error },
    #[error(
        "DATABASE_URL is no PostgreSQL address ({reason}). It looks like postgres://USER:PASSWORD@HOST:5432/postgres"
    )]
    Address { reason: String },
    #[error(
        "no PostgreSQL answers at {address} ({reason}). Check that it runs and that DATABASE_URL names it"
    )]
    Unreachable { address: String, reason: String },
    #[error("PostgreSQL at {address} refuses the login ({reason}). Check user and password")]
    LoginRefused { address: String, reason: String },
    #[error(
        "PostgreSQL at {address} is version {version}, and {OLDEST_MAJOR} or newer is needed. Upgrade it"
    )]
    ServerTooOld { address: String, version: String },
    #[error(
        "the login of DATABASE_URL may not {action} ({reason}). Let an administrator do it once, or give the login the \
         right: ALTER ROLE ... CREATEDB"
    )]
    RightsMissing { action: String, reason: String },
    #[error(
        "the server at {address} has a role {APP_ROLE} whose password is not the one in {file}. Put its password into \
         that file, or, if no other shop uses this server, drop the role"
    )]
    AppRoleTaken { address: String, file: PathBuf },
    #[error(
        "the server on {cluster} does not take the password of {ADMIN_ROLE} in {file}. Restore that file from a backup"
    )]
    AdminPassword { cluster: PathBuf, file: PathBuf },
    #[error(
        "`{0}` cannot name a service's database: lower case letters, digits, - and _, at most 40 characters"
    )]
    ServiceName(String),
    #[error("the database server answered: {0}")]
    Query(#[from] sqlx::Error),
}

/// Reads from the programs' own words what happened. `otherwise` is for words that say nothing known.
pub(super) fn from_log(
    cluster: &Path,
    port: u16,
    log: String,
    otherwise: impl FnOnce(String) -> DatabaseError,
) -> DatabaseError {
    let says = |words: &str| log.contains(words);
    let cluster = cluster.to_owned();
    if says("No space left on device") || says("Disk quota exceeded") {
        DatabaseError::DiskFull { path: cluster, log }
    } else if says("Address already in use") || says("could not create any TCP/IP sockets") {
        DatabaseError::PortTaken { port, log }
    } else if says("lock file \"postmaster.pid\" already exists") || says("pre-existing shared memory block")
    {
        DatabaseError::ClusterInUse { cluster, log }
    } else if says("Permission denied") || says("has wrong ownership") || says("has invalid permissions") {
        DatabaseError::NotPermitted { path: cluster, log }
    } else {
        otherwise(log)
    }
}

/// The code that PostgreSQL gives an error (`42501`), if it was PostgreSQL that answered.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|answer| answer.code()).map(|code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> DatabaseError {
        from_log(Path::new("/data/postgres"), 5432, log.to_owned(), |log| DatabaseError::InitFailed {
            cluster: "/data/postgres".into(),
            log,
        })
    }

    #[test]
    fn a_full_disk_in_the_servers_log_says_what_to_do_and_shows_the_log() {
        let log = "FATAL:  could not write lock file \"postmaster.pid\": No space left on device";
        let error = read(log);
        assert!(matches!(error, DatabaseError::DiskFull { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("Free some space") && message.contains(log), "{message}");
    }

    #[test]
    fn what_the_log_says_decides_the_error() {
        let taken = "could not bind IPv4 address \"127.0.0.1\": Address already in use";
        assert!(matches!(read(taken), DatabaseError::PortTaken { port: 5432, .. }));
        let held = "FATAL:  lock file \"postmaster.pid\" already exists";
        assert!(matches!(read(held), DatabaseError::ClusterInUse { .. }));
        let owned = "FATAL:  data directory \"/data/postgres\" has wrong ownership";
        assert!(matches!(read(owned), DatabaseError::NotPermitted { .. }));
        assert!(matches!(
            read("PANIC:  could not locate a valid checkpoint record"),
            DatabaseError::InitFailed { .. }
        ));
    }
}
