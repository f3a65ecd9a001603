//! Brings the server of a cluster to the point where it answers: one that runs already, or a new one. Who may do that,
//! and who stops it, is decided elsewhere.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::process::Child;

use crate::data_folder::DataFolder;
use crate::database::account::Account;
use crate::database::binaries::Binaries;
use crate::database::cluster::{self, ServerLog};
use crate::database::embedded::{ADMIN_PASSWORD, MAINTENANCE_DATABASE, POLL, STOP_DEADLINE, url};
use crate::database::error::{from_log, sqlstate};
use crate::database::postmaster::{Postmaster, Signal};
use crate::database::{ADMIN_ROLE, DatabaseError, Progress, provision};

/// A server that recovers from a crash replays up to its WAL limit before it answers.
const START_DEADLINE: Duration = Duration::from_secs(300);
/// After this long the user is told why nothing happens.
const PATIENCE: Duration = Duration::from_secs(5);
/// Somebody else may take a free port between our finding and the server's opening it.
const PORT_ATTEMPTS: u32 = 3;
const STATE: &str = "postgres.json";

/// Remembered between starts, for ourselves and for a person with psql.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    port: u16,
}

/// What a start needs to know.
pub(super) struct Launch<'a> {
    pub(super) folder: &'a DataFolder,
    pub(super) cluster: &'a Path,
    pub(super) binaries: &'a Binaries,
    pub(super) account: Option<&'a Account>,
}

impl Launch<'_> {
    /// Starts the server at `wanted_port`, or with 0 at the port of the last start or a free one, and logs in.
    pub(super) async fn start(
        &self,
        wanted_port: u16,
        password: &str,
        progress: Progress<'_>,
    ) -> Result<(Child, u16, PgConnection), DatabaseError> {
        let mut attempt = 1;
        loop {
            let port = match (wanted_port, attempt) {
                (0, 1) => self.remembered_port().map_or_else(cluster::free_port, Ok)?,
                (0, _) => cluster::free_port()?,
                (chosen, _) => chosen,
            };
            match self.try_start(port, password, progress).await {
                Err(DatabaseError::PortTaken { .. }) if wanted_port == 0 && attempt < PORT_ATTEMPTS => {
                    attempt += 1
                }
                Err(error) => return Err(error),
                Ok((child, connection)) => return Ok((child, port, connection)),
            }
        }
    }

    async fn try_start(
        &self,
        port: u16,
        password: &str,
        progress: Progress<'_>,
    ) -> Result<(Child, PgConnection), DatabaseError> {
        let (log, log_file) = ServerLog::open(self.folder)?;
        self.remember(port)?;
        let mut child = cluster::launch(self.cluster, self.binaries, self.account, port, log_file)?;
        match self.wait_until_ready(&mut child, &log, port, password, progress).await {
            Ok(connection) => Ok((child, connection)),
            // It still recovers, and what it has done so far is not thrown away.
            Err(error @ DatabaseError::StartTimeout { .. }) => Err(error),
            Err(error) => {
                // Nobody would know of this server.
                if let Some(running) = Postmaster::running_on(self.cluster) {
                    running.signal(Signal::Fast);
                    tokio::time::timeout(STOP_DEADLINE, child.wait()).await.ok();
                }
                Err(error)
            }
        }
    }

    async fn wait_until_ready(
        &self,
        child: &mut Child,
        log: &ServerLog,
        port: u16,
        password: &str,
        progress: Progress<'_>,
    ) -> Result<PgConnection, DatabaseError> {
        let begin = Instant::now();
        let mut told = false;
        loop {
            if let Ok(Some(_)) = child.try_wait() {
                return Err(from_log(self.cluster, port, log.tail(), |log_text| {
                    DatabaseError::StartFailed {
                        cluster: self.cluster.to_owned(),
                        log_file: log.path().to_owned(),
                        log: log_text,
                    }
                }));
            }
            let ready = Postmaster::running_on(self.cluster).is_some_and(|server| server.port == Some(port));
            if ready
                && let Probe::Answers(connection) = probe(self.cluster, self.folder, port, password).await?
            {
                return Ok(connection);
            }
            if begin.elapsed() > START_DEADLINE {
                return Err(DatabaseError::StartTimeout {
                    cluster: self.cluster.to_owned(),
                    seconds: START_DEADLINE.as_secs(),
                    log_file: log.path().to_owned(),
                    log: log.tail(),
                });
            }
            if !told && begin.elapsed() > PATIENCE {
                told = true;
                progress(&format!(
                    "PostgreSQL is still starting, it may be recovering (see {})",
                    log.path().display()
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn remembered_port(&self) -> Option<u16> {
        let text = std::fs::read(self.folder.path().join(STATE)).ok()?;
        let state: State = serde_json::from_slice(&text).ok()?;
        cluster::is_free(state.port).then_some(state.port)
    }

    fn remember(&self, port: u16) -> Result<(), DatabaseError> {
        let text = serde_json::to_vec(&State { port }).expect("a number is always valid JSON");
        Ok(self.folder.write(STATE, &text)?)
    }
}

/// The server that runs on `cluster` already, once it answers. A server that is starting or stopping is waited for.
pub(super) async fn find_running(
    cluster: &Path,
    folder: &DataFolder,
    password: &str,
    progress: Progress<'_>,
) -> Result<Option<(u16, PgConnection)>, DatabaseError> {
    let begin = Instant::now();
    let mut told = false;
    while let Some(running) = Postmaster::running_on(cluster) {
        if let Some(port) = running.port
            && let Probe::Answers(connection) = probe(cluster, folder, port, password).await?
        {
            return Ok(Some((port, connection)));
        }
        if begin.elapsed() > START_DEADLINE {
            let log = format!("process {} does not answer", running.pid);
            return Err(DatabaseError::ClusterInUse { cluster: cluster.to_owned(), log });
        }
        if !told && begin.elapsed() > PATIENCE {
            told = true;
            progress(&format!("waiting for the PostgreSQL that runs on the data (process {})", running.pid));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(None)
}

enum Probe {
    Answers(PgConnection),
    NotYet,
}

/// Tries to log in at `port`, and makes sure that it is the server of `cluster` which answers there.
async fn probe(
    cluster: &Path,
    folder: &DataFolder,
    port: u16,
    password: &str,
) -> Result<Probe, DatabaseError> {
    let mut connection =
        match provision::connect(&url(ADMIN_ROLE, password, port, MAINTENANCE_DATABASE)).await {
            Ok(connection) => connection,
            Err(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => return Ok(Probe::NotYet),
            Err(error) => {
                return match sqlstate(&error).as_deref() {
                    // starting up, shutting down, recovering
                    Some("57P03" | "57P01") => Ok(Probe::NotYet),
                    Some("28P01" | "28000") => Err(DatabaseError::AdminPassword {
                        cluster: cluster.to_owned(),
                        file: folder.path().join(ADMIN_PASSWORD),
                    }),
                    _ => Err(error.into()),
                };
            }
        };
    let (served,): (String,) =
        sqlx::query_as("SELECT current_setting('data_directory')").fetch_one(&mut connection).await?;
    match Path::new(&served) == cluster {
        true => Ok(Probe::Answers(connection)),
        false => Ok(Probe::NotYet),
    }
}
