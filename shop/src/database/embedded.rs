//! A PostgreSQL server of our own under the data folder. It is an ordinary server process that outlives a crash of the
//! shop; the next start finds and adopts it. It is no general tool to manage clusters: one folder, one cluster, one
//! server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::process::Child;

use crate::data_folder::{DataFolder, DataFolderError};
use crate::database::account::Account;
use crate::database::binaries::{Binaries, BinarySearch, NotFound};
use crate::database::cluster;
use crate::database::launch::{Launch, find_running};
use crate::database::postmaster::{Postmaster, Signal, remove_misleading_pid_file};
use crate::database::{
    ADMIN_ROLE, APP_ROLE, DatabaseError, DatabaseUrl, DatabaseUrls, Progress, download, provision,
};

/// A fast shutdown writes one checkpoint.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// How long a tool waits for a shop that is just starting its server.
const ATTACH_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a server that starts or stops.
pub(super) const POLL: Duration = Duration::from_millis(15);
pub(super) const ADMIN_PASSWORD: &str = "postgres-admin.password";
pub(super) const APP_PASSWORD: &str = "postgres-app.password";
pub(super) const MAINTENANCE_DATABASE: &str = "postgres";

/// What may be chosen about the embedded server.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The TCP port on 127.0.0.1; 0 takes the one of the last start, or a free one.
    pub port: u16,
    /// Where the server's programs are found.
    pub binaries: BinarySearch,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { port: 0, binaries: BinarySearch::on_this_machine() }
    }
}

/// A running embedded server. Dropping it leaves the server running, to be adopted later; [`EmbeddedPostgres::stop`]
/// ends it.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    cluster: PathBuf,
    major: u32,
    port: u16,
    admin_password: String,
    app_password: String,
    origin: Origin,
    /// Held by a tool that had to start the server itself, so that no shop starts on it before it is stopped again.
    _lock: Option<DataFolder>,
}

/// Where the running server came from.
#[derive(Debug)]
enum Origin {
    Started(Child),
    /// Left behind by an owner of the folder that died; now ours to stop.
    Adopted,
    /// Run by the owner of the folder, which is another process.
    Borrowed,
}

impl EmbeddedPostgres {
    /// Starts the server on the folder's cluster, or adopts the one that runs there; makes the cluster first if there is
    /// none, and downloads PostgreSQL if the machine has none. `folder` must be owned, not attached.
    ///
    /// # Errors
    /// Each says what to do; see [`DatabaseError`].
    pub async fn start(
        folder: &DataFolder,
        options: &EmbeddedOptions,
        progress: impl Fn(&str) + Send + Sync,
    ) -> Result<Self, DatabaseError> {
        let progress: Progress<'_> = &progress;
        let admin_password = folder.secret(ADMIN_PASSWORD)?;
        let app_password = folder.secret(APP_PASSWORD)?;
        let account = Account::for_postgres()?;
        let (cluster, binaries) = match cluster::locate(folder) {
            Some(cluster) => {
                if let Some((port, connection)) =
                    find_running(&cluster, folder, &admin_password, progress).await?
                {
                    let major = cluster::major(&cluster)?;
                    progress(&format!("PostgreSQL {major} still runs on port {port}: adopted"));
                    let server = Self {
                        cluster,
                        major,
                        port,
                        admin_password,
                        app_password,
                        origin: Origin::Adopted,
                        _lock: None,
                    };
                    return server.with_roles(connection).await;
                }
                let major = cluster::major(&cluster)?;
                let binaries =
                    find_binaries(options, Some(major), account.as_ref(), progress).await?.map_err(
                        |reason| DatabaseError::ClusterMajor { cluster: cluster.clone(), major, reason },
                    )?;
                (cluster, binaries)
            }
            None => {
                let binaries = find_binaries(options, None, account.as_ref(), progress)
                    .await?
                    .map_err(|reason| DatabaseError::NoBinaries { reason })?;
                progress(&format!("Making a PostgreSQL {} cluster, once", binaries.version));
                let cluster =
                    cluster::create(folder, &binaries, account.as_ref(), &admin_password, progress).await?;
                (cluster, binaries)
            }
        };
        remove_misleading_pid_file(&cluster);
        let launched = Launch { folder, cluster: &cluster, binaries: &binaries, account: account.as_ref() };
        let (child, port, connection) = launched.start(options.port, &admin_password, progress).await?;
        let major = binaries.major;
        let origin = Origin::Started(child);
        let server = Self { cluster, major, port, admin_password, app_password, origin, _lock: None };
        server.with_roles(connection).await
    }

    /// For tools: uses the server that the folder's owner runs, or starts it if nobody owns the folder. A server that
    /// was started here is stopped by [`EmbeddedPostgres::stop`], a borrowed one is left alone.
    ///
    /// # Errors
    /// As for [`EmbeddedPostgres::start`]; `Held` when the owner has no server within a minute.
    pub async fn attach(
        folder: &DataFolder,
        options: &EmbeddedOptions,
        progress: impl Fn(&str) + Send + Sync,
    ) -> Result<Self, DatabaseError> {
        let deadline = Instant::now() + ATTACH_DEADLINE;
        loop {
            let lock = match DataFolder::open(folder.path()) {
                Ok(lock) => lock,
                Err(held @ DataFolderError::Held { .. }) => {
                    if let Some(server) = Self::borrow_from_owner(folder, &progress).await? {
                        return Ok(server);
                    }
                    if Instant::now() > deadline {
                        return Err(held.into());
                    }
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Err(other) => return Err(other.into()),
            };
            let mut server = Self::start(&lock, options, &progress).await?;
            server._lock = Some(lock);
            return Ok(server);
        }
    }

    async fn borrow_from_owner(
        folder: &DataFolder,
        progress: Progress<'_>,
    ) -> Result<Option<Self>, DatabaseError> {
        let Some(cluster) = cluster::locate(folder) else { return Ok(None) };
        let admin_password = folder.secret(ADMIN_PASSWORD)?;
        let app_password = folder.secret(APP_PASSWORD)?;
        let Some((port, connection)) = find_running(&cluster, folder, &admin_password, progress).await?
        else {
            return Ok(None);
        };
        connection.close().await?;
        let major = cluster::major(&cluster)?;
        let origin = Origin::Borrowed;
        Ok(Some(Self { cluster, major, port, admin_password, app_password, origin, _lock: None }))
    }

    async fn with_roles(self, mut connection: PgConnection) -> Result<Self, DatabaseError> {
        provision::ensure_role(&mut connection, APP_ROLE, &self.app_password).await?;
        connection.close().await?;
        Ok(self)
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of `database` as the superuser.
    #[must_use]
    pub fn connection_url(&self, database: &str) -> DatabaseUrl {
        url(ADMIN_ROLE, &self.admin_password, self.port, database)
    }

    /// The maintenance database as the superuser.
    #[must_use]
    pub fn admin_url(&self) -> DatabaseUrl {
        self.connection_url(MAINTENANCE_DATABASE)
    }

    /// See [`crate::database::Database::ensure_database`].
    ///
    /// # Errors
    /// `ServiceName` or `Query`.
    pub async fn ensure_database(&self, service: &str) -> Result<DatabaseUrls, DatabaseError> {
        let urls = self.urls(service)?;
        provision::ensure_database(&self.admin_url(), &urls).await?;
        Ok(urls)
    }

    /// See [`crate::database::Database::urls`].
    ///
    /// # Errors
    /// `ServiceName`.
    pub fn urls(&self, service: &str) -> Result<DatabaseUrls, DatabaseError> {
        let database = provision::database_name(service)?;
        Ok(DatabaseUrls {
            admin: self.connection_url(&database),
            app: url(APP_ROLE, &self.app_password, self.port, &database),
            app_role: APP_ROLE.to_owned(),
            database,
        })
    }

    /// What a person does when it stops answering while the shop runs.
    #[must_use]
    pub fn advice(&self) -> String {
        "stop the shop and start it again, it starts its PostgreSQL too. Why it went stands in postgres.log in the \
         data folder; if its disk is full, free some space first"
            .to_owned()
    }

    /// One line for the user.
    #[must_use]
    pub fn description(&self) -> String {
        let how = match self.origin {
            Origin::Started(_) => "started",
            Origin::Adopted => "adopted",
            Origin::Borrowed => "run by another process",
        };
        format!(
            "PostgreSQL {} on 127.0.0.1:{}, {how}, data in {}",
            self.major,
            self.port,
            self.cluster.display()
        )
    }

    /// Ends the server with a fast shutdown and waits for it; leaves a borrowed one alone.
    ///
    /// # Errors
    /// `StopTimeout`.
    pub async fn stop(self) -> Result<(), DatabaseError> {
        if matches!(self.origin, Origin::Borrowed) {
            return Ok(());
        }
        let deadline = Instant::now() + STOP_DEADLINE;
        if let Some(running) = Postmaster::running_on(&self.cluster) {
            running.signal(Signal::Fast);
        }
        let mut child = match self.origin {
            Origin::Started(child) => Some(child),
            Origin::Adopted | Origin::Borrowed => None,
        };
        loop {
            let gone = match &mut child {
                Some(child) => matches!(child.try_wait(), Ok(Some(_))),
                None => Postmaster::running_on(&self.cluster).is_none(),
            };
            if gone {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(DatabaseError::StopTimeout { seconds: STOP_DEADLINE.as_secs() });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The inner Err says why there are no programs that will do, here or to be downloaded.
async fn find_binaries(
    options: &EmbeddedOptions,
    major: Option<u32>,
    account: Option<&Account>,
    progress: Progress<'_>,
) -> Result<Result<Binaries, String>, DatabaseError> {
    let reason = match options.binaries.find(major, account) {
        Ok(found) => return Ok(Ok(found)),
        Err(NotFound::Refused(error)) => return Err(error),
        Err(NotFound::Nothing(reason)) => reason,
    };
    let Some(cache) = &options.binaries.downloads else { return Ok(Err(reason)) };
    let fetched = download::fetch(cache, major, account, progress).await;
    Ok(fetched.map_err(|failure| format!("{reason}; {failure}")))
}

pub(super) fn url(role: &str, password: &str, port: u16, database: &str) -> DatabaseUrl {
    let text = format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable");
    DatabaseUrl(url::Url::parse(&text).expect("hexadecimal passwords and checked names make a valid address"))
}
