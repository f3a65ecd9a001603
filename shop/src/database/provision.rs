//! The roles and databases that services need on a server, whoever runs it. Nothing is ever dropped here, and tables are
//! the business of migrations.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::database::error::sqlstate;
use crate::database::{DatabaseError, DatabaseUrl, DatabaseUrls};

/// A server that neither accepts nor refuses counts as unreachable after this long.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Well below PostgreSQL's 63 bytes, prefix included.
const SERVICE_NAME_LIMIT: usize = 40;

/// `storeline_<service>`; the name goes into SQL unquoted, so only plain characters pass.
pub(super) fn database_name(service: &str) -> Result<String, DatabaseError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if service.is_empty() || service.len() > SERVICE_NAME_LIMIT || !service.bytes().all(plain) {
        return Err(DatabaseError::ServiceName(service.to_owned()));
    }
    Ok(format!("storeline_{}", service.replace('-', "_")))
}

/// Logs in. Statements of these connections may hold passwords and are never logged.
pub(super) async fn connect(url: &DatabaseUrl) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(url.expose())?.disable_statement_logging();
    match tokio::time::timeout(CONNECT_DEADLINE, options.connect()).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Makes the login `role`, or gives it this password. `password` is hexadecimal.
pub(super) async fn ensure_role(
    connection: &mut PgConnection,
    role: &str,
    password: &str,
) -> Result<(), sqlx::Error> {
    let verb = match role_exists(connection, role).await? {
        true => "ALTER",
        false => "CREATE",
    };
    let password = password.replace('\'', "''");
    let statement =
        format!("{verb} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{password}'");
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

pub(super) async fn role_exists(connection: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    let (exists,) = sqlx::query_as("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(role)
        .fetch_one(connection)
        .await?;
    Ok(exists)
}

/// Makes the database if it is missing, and shuts it to everybody but its owner and the app role, which may connect and
/// nothing else. The grant comes last and is what a later call looks for, so an interrupted call is completed.
pub(super) async fn ensure_database(
    maintenance: &DatabaseUrl,
    urls: &DatabaseUrls,
) -> Result<(), DatabaseError> {
    let mut connection = connect(maintenance).await?;
    let database = &urls.database;
    let granted: Option<(bool,)> = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM aclexplode(d.datacl) AS entry \
                        JOIN pg_roles AS role ON role.oid = entry.grantee \
                        WHERE role.rolname = $2 AND entry.privilege_type = 'CONNECT') \
         FROM pg_database AS d WHERE d.datname = $1",
    )
    .bind(database)
    .bind(&urls.app_role)
    .fetch_optional(&mut connection)
    .await?;
    if granted.is_none() {
        create_database(&mut connection, database).await?;
    }
    if granted != Some((true,)) {
        restrict_schema(&urls.admin).await.map_err(|error| rights_missing(error, "prepare", database))?;
        let statements = [
            format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
            format!("GRANT CONNECT ON DATABASE {database} TO \"{}\"", urls.app_role.replace('"', "\"\"")),
        ];
        for statement in statements {
            let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await;
            done.map_err(|error| rights_missing(error, "grant rights on", database))?;
        }
    }
    connection.close().await?;
    Ok(())
}

async fn create_database(connection: &mut PgConnection, database: &str) -> Result<(), DatabaseError> {
    let statement = format!("CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0");
    match sqlx::query(AssertSqlSafe(statement)).execute(connection).await {
        Ok(_) => Ok(()),
        // Another process made it at the same moment.
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42P04" | "23505")) => Ok(()),
        Err(error) => Err(rights_missing(error, "create", database)),
    }
}

/// Up to version 14 everybody may create tables in `public`.
async fn restrict_schema(admin: &DatabaseUrl) -> Result<(), sqlx::Error> {
    let mut connection = connect(admin).await?;
    sqlx::query("REVOKE CREATE ON SCHEMA public FROM PUBLIC").execute(&mut connection).await?;
    connection.close().await
}

fn rights_missing(error: sqlx::Error, action: &str, database: &str) -> DatabaseError {
    match sqlstate(&error).as_deref() {
        Some("42501") => DatabaseError::RightsMissing {
            action: format!("{action} the database {database}"),
            reason: error.to_string(),
        },
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_name_becomes_a_database_name_and_anything_that_could_be_sql_is_refused() {
        assert_eq!(database_name("order").unwrap(), "storeline_order");
        assert_eq!(database_name("saga-orchestrator").unwrap(), "storeline_saga_orchestrator");
        for hostile in ["", "a b", "x;drop", "\"", "Order", "ü", &"x".repeat(SERVICE_NAME_LIMIT + 1)] {
            assert!(matches!(database_name(hostile), Err(DatabaseError::ServiceName(_))), "{hostile}");
        }
    }
}
