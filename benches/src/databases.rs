//! Databases for measurements: each measurement works in a fresh copy of a template, so that none finds what another
//! left. All carry the number of this process in their name and are dropped at the end, as are those that an earlier
//! run left behind when it was killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::Mutex;

use crate::{ours, sketch};

/// All names begin so; then come the process number and a counter.
const PREFIX: &str = "storeline_bench_";
/// Only for tables with rows in them: an empty one that was looked at is planned as if it stayed empty.
const VACUUM: &str = "VACUUM ANALYZE";

/// What a fresh database begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Template {
    /// Our log without events.
    Log,
    /// Our log with so many events, `EVENTS_PER_ACCOUNT` to an account.
    LogWith(u64),
    /// The plain table of pgbench and of the sketch, without rows.
    Plain,
    /// The same with so many.
    PlainWith(u64),
}

/// Events from which on copying files is cheaper than writing everything to the log.
const LARGE: u64 = 200_000;

impl Template {
    fn name(self) -> String {
        match self {
            Self::Log => "log".to_owned(),
            Self::LogWith(events) => format!("log_{events}"),
            Self::Plain => "plain".to_owned(),
            Self::PlainWith(events) => format!("plain_{events}"),
        }
    }
}

/// The server that measurements make their databases on.
pub struct Databases {
    server: PgConnectOptions,
    templates: Mutex<BTreeSet<Template>>,
    copies: AtomicU64,
}

/// One of them. It stays until it is dropped by [`Databases::remove`], or at the end.
#[derive(Debug)]
pub struct Database {
    name: String,
    pub url: String,
}

impl Databases {
    /// Connects, and drops what killed runs left behind.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let server = PgConnectOptions::from_str(url)?;
        let databases = Self { server, templates: Mutex::default(), copies: AtomicU64::new(0) };
        let alive = |name: &str| {
            let process = name.trim_start_matches(PREFIX).split('_').next().unwrap_or_default();
            Path::new("/proc").join(process).exists() && process != std::process::id().to_string()
        };
        databases.drop_all(|name| !alive(name)).await?;
        Ok(databases)
    }

    /// A fresh copy of a template. Makes the template first if it is not there.
    pub async fn fresh(&self, template: Template) -> anyhow::Result<Database> {
        let mut made = self.templates.lock().await;
        if !made.contains(&template) {
            self.make(template).await.with_context(|| format!("the template {}", template.name()))?;
            made.insert(template);
        }
        drop(made);
        self.copy_of(&self.named(&template.name()), is_large(template)).await
    }

    /// A copy of a database that nobody is connected to, with nothing dirty left to be written.
    pub async fn copy_of(&self, source: &Database, large: bool) -> anyhow::Result<Database> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let copy = self.named(&number.to_string());
        let strategy = if large { "file_copy" } else { "wal_log" };
        let create = format!("CREATE DATABASE {} TEMPLATE {} STRATEGY {strategy}", copy.name, source.name);
        let mut connection = self.server.connect().await?;
        connection.execute(AssertSqlSafe(create)).await?;
        connection.execute("CHECKPOINT").await?;
        connection.close().await?;
        Ok(copy)
    }

    /// The template itself, for what is too large to copy. What is appended to it stays.
    pub async fn shared(&self, template: Template) -> anyhow::Result<Database> {
        let mut made = self.templates.lock().await;
        if made.insert(template) {
            self.make(template).await.with_context(|| format!("the template {}", template.name()))?;
        }
        Ok(self.named(&template.name()))
    }

    /// An empty database of its own.
    pub async fn empty(&self, name: &str) -> anyhow::Result<Database> {
        let database = self.named(name);
        let mut connection = self.server.connect().await?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {}", database.name))).await?;
        connection.close().await?;
        Ok(database)
    }

    pub async fn remove(&self, database: Database) -> anyhow::Result<()> {
        self.drop_all(|name| name == database.name).await
    }

    /// Drops everything that this process made.
    pub async fn remove_all(&self) -> anyhow::Result<()> {
        let ours = format!("{PREFIX}{}_", std::process::id());
        self.drop_all(|name| name.starts_with(&ours)).await
    }

    /// What the server says of itself: its version, and every setting that is not its default.
    pub async fn describe(&self) -> anyhow::Result<(String, Vec<String>)> {
        let mut connection = self.server.connect().await?;
        let version = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        let settings = sqlx::query_scalar(
            "SELECT format('%s = %s', name, current_setting(name)) FROM pg_settings \
              WHERE name IN ('fsync', 'full_page_writes', 'jit', 'max_wal_size', 'shared_buffers', \
                             'synchronous_commit', 'wal_buffers', 'wal_compression', 'wal_level') ORDER BY name",
        )
        .fetch_all(&mut connection)
        .await?;
        connection.close().await?;
        Ok((version, settings))
    }

    fn named(&self, name: &str) -> Database {
        let name = format!("{PREFIX}{}_{name}", std::process::id());
        // Without parameters: those that sqlx writes are not known to pgbench.
        let mut url = self.server.clone().database(&name).to_url_lossy();
        url.set_query(None);
        Database { name, url: url.to_string() }
    }

    async fn drop_all(&self, unwanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let mut connection = self.server.connect().await?;
        let names: Vec<String> =
            sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)")
                .bind(PREFIX)
                .fetch_all(&mut connection)
                .await?;
        for name in names.iter().filter(|name| unwanted(name)) {
            connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
        }
        connection.close().await?;
        Ok(())
    }

    async fn make(&self, template: Template) -> anyhow::Result<()> {
        let database = self.empty(&template.name()).await?;
        match template {
            Template::Log => ours::create(&database.url).await?,
            Template::LogWith(events) => {
                ours::create(&database.url).await?;
                execute(&database.url, &ours::seed_sql(events)).await?;
                execute(&database.url, &[VACUUM.to_owned()]).await?;
            }
            Template::Plain => execute(&database.url, &[sketch::SCHEMA.to_owned()]).await?,
            Template::PlainWith(events) => {
                execute(&database.url, &[sketch::SCHEMA.to_owned()]).await?;
                execute(&database.url, &sketch::seed_sql(events)).await?;
                execute(&database.url, &[VACUUM.to_owned()]).await?;
            }
        }
        Ok(())
    }
}

fn is_large(template: Template) -> bool {
    matches!(template, Template::LogWith(events) if events > LARGE)
}

async fn execute(url: &str, statements: &[String]) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

/// Text as an SQL literal.
pub fn sql(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
