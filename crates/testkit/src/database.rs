//! A database of its own for every test, on the server that `STORELINE_TEST_DATABASE_URL` names.

use std::str::FromStr;

use eventsourcing::Migrations;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use uuid::Uuid;

/// A migrated database that is dropped with this value.
///
/// Services work in it as a role that may append and nothing more, as in production.
pub struct TestDatabase {
    server: PgConnectOptions,
    name: String,
    url: String,
    admin_url: String,
}

/// The role that services under test work as.
pub const APP_ROLE: &str = "storeline_test_app";

impl TestDatabase {
    /// Makes a database for the log `log`.
    ///
    /// # Panics
    /// When there is no server to make it on; `cargo xtask test` provides one.
    pub async fn new(log: &str, migrations: Migrations) -> Self {
        Self::on(&server_url(), log, migrations).await
    }

    /// Makes a database for the log `log` on the server that a superuser reaches at `url`.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn on(url: &str, log: &str, migrations: Migrations) -> Self {
        let database = Self::make(url, log).await;
        eventsourcing::migrate(&database.admin_url, log, Some(APP_ROLE), migrations)
            .await
            .expect("the migrations run");
        database
    }

    /// Makes a database for the log `log` with nothing in it.
    ///
    /// # Panics
    /// When there is no server to make it on; `cargo xtask test` provides one.
    pub async fn empty(log: &str) -> Self {
        Self::make(&server_url(), log).await
    }

    /// The same on the server that a superuser reaches at `url`.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn empty_on(url: &str, log: &str) -> Self {
        Self::make(url, log).await
    }

    async fn make(url: &str, log: &str) -> Self {
        let server = PgConnectOptions::from_str(url).expect("it is a PostgreSQL URL");
        let name = format!("test_{log}_{}", Uuid::new_v4().simple());
        let mut connection = connect(&server).await;
        make_app_role(&mut connection).await;
        run(&mut connection, format!("CREATE DATABASE \"{name}\"")).await;
        connection.close().await.expect("the connection closes");

        let admin = server.clone().database(&name);
        let admin_url = admin.to_url_lossy().to_string();
        let url = admin.clone().username(APP_ROLE).password(APP_ROLE).to_url_lossy().to_string();
        Self { server, name, url, admin_url }
    }

    /// For the service: may append, and nothing more.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For the test: may do everything.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// The database's name on its server.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A test's own runtime may be on its way out, so this has one of its own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                // The server of a test's own may be gone already.
                let Ok(mut connection) = server.connect().await else { return };
                run(&mut connection, format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await;
            });
        });
        // A database that stays behind is a nuisance and no reason to fail a test.
        let _ = dropped.join();
    }
}

fn server_url() -> String {
    std::env::var("STORELINE_TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!(
            "STORELINE_TEST_DATABASE_URL is not set: run the tests with `cargo xtask test`, or set it to the \
             URL of a superuser on a PostgreSQL that tests may fill"
        )
    })
}

async fn connect(server: &PgConnectOptions) -> PgConnection {
    server.connect().await.expect("the PostgreSQL of STORELINE_TEST_DATABASE_URL answers")
}

async fn run(connection: &mut PgConnection, sql: String) {
    connection.execute(AssertSqlSafe(sql)).await.expect("the statement runs");
}

/// Tests run at the same time and each may be the first.
async fn make_app_role(connection: &mut PgConnection) {
    let sql = format!(
        "DO $$ BEGIN
           PERFORM pg_advisory_xact_lock(5520110);
           IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
             CREATE ROLE {APP_ROLE} LOGIN PASSWORD '{APP_ROLE}';
           END IF;
         END $$"
    );
    run(connection, sql).await;
}
