//! The PostgreSQL that a shop in one process keeps its logs in: its own under the data folder, or one given by an
//! address. Every service gets a database of its own with two logins, one that owns the schema and one that works in it.
//! What is in those databases is the business of the services; this module never looks inside.

mod account;
mod binaries;
mod cluster;
mod download;
mod embedded;
mod error;
mod external;
mod launch;
mod postmaster;
mod provision;
#[cfg(test)]
mod tests;

use std::fmt;

pub use binaries::BinarySearch;
pub use embedded::{EmbeddedOptions, EmbeddedPostgres};
pub use error::DatabaseError;
pub use external::ExternalDatabase;

use crate::data_folder::DataFolder;

/// The oldest major version of PostgreSQL that the shop runs on.
pub const OLDEST_MAJOR: u32 = 14;
/// The login that owns databases and runs migrations on an embedded server.
pub const ADMIN_ROLE: &str = "storeline_admin";
/// The login that services work with. It may connect, and otherwise only do what migrations grant it.
pub const APP_ROLE: &str = "storeline_app";

/// Tells the user what is going on during steps that may take seconds.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// The server behind the shop.
#[derive(Debug)]
pub enum Database {
    /// A private cluster under the data folder, started and stopped by the shop.
    Embedded(EmbeddedPostgres),
    /// A server that somebody else runs.
    External(ExternalDatabase),
}

impl Database {
    /// The server at `database_url` if there is one, else the embedded one, started.
    ///
    /// # Errors
    /// Whatever keeps the server from serving, with what to do about it.
    pub async fn start(
        folder: &DataFolder,
        database_url: Option<&str>,
        options: &EmbeddedOptions,
        progress: impl Fn(&str) + Send + Sync,
    ) -> Result<Self, DatabaseError> {
        match database_url {
            Some(url) => Ok(Self::External(ExternalDatabase::connect(url, folder, &progress).await?)),
            None => Ok(Self::Embedded(EmbeddedPostgres::start(folder, options, &progress).await?)),
        }
    }

    /// The same for a command line tool beside a shop that may be running; see [`EmbeddedPostgres::attach`].
    ///
    /// # Errors
    /// As for [`Database::start`].
    pub async fn attach(
        folder: &DataFolder,
        database_url: Option<&str>,
        options: &EmbeddedOptions,
        progress: impl Fn(&str) + Send + Sync,
    ) -> Result<Self, DatabaseError> {
        match database_url {
            Some(url) => Ok(Self::External(ExternalDatabase::connect(url, folder, &progress).await?)),
            None => Ok(Self::Embedded(EmbeddedPostgres::attach(folder, options, &progress).await?)),
        }
    }

    /// Makes the database of `service` if it is not there, lets the app role connect and nobody else.
    ///
    /// # Errors
    /// `RightsMissing` when the server does not permit it, `Query` for anything else.
    pub async fn ensure_database(&self, service: &str) -> Result<DatabaseUrls, DatabaseError> {
        match self {
            Self::Embedded(server) => server.ensure_database(service).await,
            Self::External(server) => server.ensure_database(service).await,
        }
    }

    /// Where the database of `service` is, whether it exists or not.
    ///
    /// # Errors
    /// `ServiceName` when no database can have that name.
    pub fn urls(&self, service: &str) -> Result<DatabaseUrls, DatabaseError> {
        match self {
            Self::Embedded(server) => server.urls(service),
            Self::External(server) => server.urls(service),
        }
    }

    /// The maintenance database, as the login that may create databases.
    #[must_use]
    pub fn admin_url(&self) -> DatabaseUrl {
        match self {
            Self::Embedded(server) => server.admin_url(),
            Self::External(server) => server.admin_url(),
        }
    }

    /// One line for the user: which server, where. Without secrets.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Self::Embedded(server) => server.description(),
            Self::External(server) => server.description(),
        }
    }

    /// What a person does when the server stops answering.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Embedded(server) => server.advice(),
            Self::External(_) => {
                "look after the server of DATABASE_URL; the shop goes on by itself once it answers \
                                  again"
                    .to_owned()
            }
        }
    }

    /// Stops a server that this process owns; leaves any other alone.
    ///
    /// # Errors
    /// `StopTimeout` when it does not go in time.
    pub async fn stop(self) -> Result<(), DatabaseError> {
        match self {
            Self::Embedded(server) => server.stop().await,
            Self::External(_) => Ok(()),
        }
    }
}

/// The addresses of one service's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrls {
    /// `storeline_<service>`.
    pub database: String,
    /// Owns the schema: migrations only.
    pub admin: DatabaseUrl,
    /// What the service runs with.
    pub app: DatabaseUrl,
    /// The role inside `app`, to which migrations grant what services may do.
    pub app_role: String,
}

/// An address with a password in it: shown only on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(url::Url);

impl DatabaseUrl {
    /// The address with its password, for whoever connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "DatabaseUrl({}:{}{}, redacted)",
            self.0.host_str().unwrap_or(""),
            self.0.port().unwrap_or(0),
            self.0.path()
        )
    }
}
