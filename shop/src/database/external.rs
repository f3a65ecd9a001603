//! A PostgreSQL server that somebody else runs, named by an address. The shop makes its databases there if it may, and
//! never stops, configures or upgrades the server.

use sqlx::{Connection, PgConnection};
use url::Url;

use crate::data_folder::DataFolder;
use crate::database::embedded::APP_PASSWORD;
use crate::database::error::sqlstate;
use crate::database::{
    APP_ROLE, DatabaseError, DatabaseUrl, DatabaseUrls, OLDEST_MAJOR, Progress, provision,
};

/// A server that answered and whose login is good.
#[derive(Debug)]
pub struct ExternalDatabase {
    /// As given: the maintenance database and the login that owns what is made.
    admin: DatabaseUrl,
    /// None when the login may not make roles: services then work with its own rights.
    app_password: Option<String>,
    /// `host:port`, without anything secret.
    address: String,
    version: String,
}

impl ExternalDatabase {
    /// Connects, checks the version and makes the app role if the login may. Its password lies in the data folder.
    ///
    /// # Errors
    /// `Address`, `Unreachable`, `LoginRefused`, `ServerTooOld` or `AppRoleTaken`.
    pub async fn connect(
        address: &str,
        folder: &DataFolder,
        progress: impl Fn(&str) + Send + Sync,
    ) -> Result<Self, DatabaseError> {
        let admin = parse(address)?;
        let address =
            format!("{}:{}", admin.0.host_str().unwrap_or("localhost"), admin.0.port().unwrap_or(5432));
        let mut connection = provision::connect(&admin).await.map_err(|error| refused(&address, error))?;
        let (number, version): (i32, String) = sqlx::query_as(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version')",
        )
        .fetch_one(&mut connection)
        .await?;
        if number / 10_000 < i32::try_from(OLDEST_MAJOR).unwrap_or(i32::MAX) {
            return Err(DatabaseError::ServerTooOld { address, version });
        }
        let app_password = prepare_app_role(&mut connection, &admin, &address, folder, &progress).await?;
        connection.close().await?;
        Ok(Self { admin, app_password, address, version })
    }

    /// See [`crate::database::Database::ensure_database`].
    ///
    /// # Errors
    /// `ServiceName`, `RightsMissing` or `Query`.
    pub async fn ensure_database(&self, service: &str) -> Result<DatabaseUrls, DatabaseError> {
        let urls = self.urls(service)?;
        provision::ensure_database(&self.admin, &urls).await?;
        Ok(urls)
    }

    /// See [`crate::database::Database::urls`].
    ///
    /// # Errors
    /// `ServiceName`.
    pub fn urls(&self, service: &str) -> Result<DatabaseUrls, DatabaseError> {
        let database = provision::database_name(service)?;
        let admin = on_database(&self.admin, &database);
        let (app, app_role) = match &self.app_password {
            Some(password) => (as_login(&admin, APP_ROLE, password), APP_ROLE.to_owned()),
            None => (admin.clone(), login_of(&admin)),
        };
        Ok(DatabaseUrls { database, admin, app, app_role })
    }

    /// The address as it was given.
    #[must_use]
    pub fn admin_url(&self) -> DatabaseUrl {
        self.admin.clone()
    }

    /// One line for the user.
    #[must_use]
    pub fn description(&self) -> String {
        format!("PostgreSQL {} at {} (DATABASE_URL)", self.version, self.address)
    }
}

/// The password of the app role, or None when services have to work with the rights of the given login.
async fn prepare_app_role(
    connection: &mut PgConnection,
    admin: &DatabaseUrl,
    address: &str,
    folder: &DataFolder,
    progress: Progress<'_>,
) -> Result<Option<String>, DatabaseError> {
    let (may_create,): (bool,) =
        sqlx::query_as("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&mut *connection)
            .await?;
    let exists = provision::role_exists(connection, APP_ROLE).await?;
    if !exists && !may_create {
        progress(&format!(
            "The login of DATABASE_URL may not make roles: services work with its own rights, and only triggers protect \
             the logs. Better: let an administrator create the role {APP_ROLE}"
        ));
        return Ok(None);
    }
    let password = folder.secret(APP_PASSWORD)?;
    if !exists {
        provision::ensure_role(connection, APP_ROLE, &password).await?;
        return Ok(Some(password));
    }
    match provision::connect(&as_login(admin, APP_ROLE, &password)).await {
        Ok(probe) => probe.close().await?,
        // The password is checked before the right to connect to this very database.
        Err(error) if sqlstate(&error).as_deref() == Some("42501") => {}
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("28P01" | "28000")) => {
            let file = folder.path().join(APP_PASSWORD);
            return Err(DatabaseError::AppRoleTaken { address: address.to_owned(), file });
        }
        Err(error) => return Err(refused(address, error)),
    }
    Ok(Some(password))
}

fn parse(address: &str) -> Result<DatabaseUrl, DatabaseError> {
    let refuse = |reason: &str| DatabaseError::Address { reason: reason.to_owned() };
    let url = Url::parse(address.trim()).map_err(|error| refuse(&error.to_string()))?;
    match url.scheme() {
        "postgres" | "postgresql" => Ok(DatabaseUrl(url)),
        other => Err(refuse(&format!("it begins with {other}:"))),
    }
}

/// The messages of the server and the driver name users and hosts, never passwords.
fn refused(address: &str, error: sqlx::Error) -> DatabaseError {
    let address = address.to_owned();
    let reason = error.to_string();
    match sqlstate(&error).as_deref() {
        Some("28P01" | "28000" | "3D000" | "42501") => DatabaseError::LoginRefused { address, reason },
        _ => match error {
            sqlx::Error::Configuration(_) => DatabaseError::Address { reason },
            _ => DatabaseError::Unreachable { address, reason },
        },
    }
}

fn on_database(url: &DatabaseUrl, database: &str) -> DatabaseUrl {
    let mut url = url.0.clone();
    url.set_path(database);
    let without_name: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != "dbname")
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    url.set_query(None);
    if !without_name.is_empty() {
        url.query_pairs_mut().extend_pairs(without_name);
    }
    DatabaseUrl(url)
}

fn as_login(url: &DatabaseUrl, role: &str, password: &str) -> DatabaseUrl {
    let mut url = url.0.clone();
    if url.set_username(role).and_then(|()| url.set_password(Some(password))).is_err() {
        // An address without a host, as for a unix socket, carries the login in its query.
        url.query_pairs_mut().append_pair("user", role).append_pair("password", password);
    }
    DatabaseUrl(url)
}

fn login_of(url: &DatabaseUrl) -> String {
    let in_query = url.0.query_pairs().find(|(key, _)| key == "user").map(|(_, value)| value.into_owned());
    in_query.unwrap_or_else(|| url.0.username().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_options_when_database_and_login_change() {
        let given = parse("postgresql://boss:s%40t@db.example:6543/postgres?sslmode=require").unwrap();
        let url = as_login(&on_database(&given, "storeline_order"), "storeline_app", "beef");
        assert_eq!(
            url.expose(),
            "postgresql://storeline_app:beef@db.example:6543/storeline_order?sslmode=require"
        );
        assert_eq!(login_of(&given), "boss");
    }

    #[test]
    fn an_address_of_a_unix_socket_gets_its_login_in_the_query() {
        let given = parse("postgres:///postgres?host=/run/postgresql&user=boss").unwrap();
        let url = as_login(&on_database(&given, "storeline_order"), "storeline_app", "beef");
        assert!(url.expose().contains("/storeline_order?"), "{}", url.expose());
        assert!(url.expose().ends_with("user=storeline_app&password=beef"), "{}", url.expose());
        assert_eq!(login_of(&given), "boss");
    }

    #[test]
    fn neither_debug_output_nor_errors_show_a_password() {
        let url = parse("postgres://boss:hunter2@db.example/postgres").unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
        for wrong in ["mysql://boss:hunter2@db.example/postgres", "hunter2"] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(!message.contains("hunter2"), "{message}");
            assert!(message.contains("postgres://USER"), "{message}");
        }
    }
}
