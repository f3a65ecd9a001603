//! The embedded server against real server programs: each test makes a real cluster, so each tells a whole story.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use sqlx::{AssertSqlSafe, Connection};

use super::error::sqlstate;
use super::postmaster::{Postmaster, Signal};
use super::*;
use crate::data_folder::DataFolderError;
use crate::scratch::ScratchFolder;

fn quiet(_: &str) {}

async fn start(folder: &DataFolder) -> EmbeddedPostgres {
    EmbeddedPostgres::start(folder, &EmbeddedOptions::default(), quiet).await.unwrap()
}

async fn execute(url: &DatabaseUrl, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = provision::connect(url).await?;
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

async fn count(url: &DatabaseUrl, table: &str) -> i64 {
    let mut connection = provision::connect(url).await.unwrap();
    let statement = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let (rows,): (i64,) = sqlx::query_as(statement).fetch_one(&mut connection).await.unwrap();
    rows
}

fn running(data: &Path) -> Option<Postmaster> {
    Postmaster::running_on(&data.join("postgres").canonicalize().unwrap())
}

/// A server that a failed assertion leaves behind must not outlive the test.
struct StopOnDrop<'a>(&'a Path);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(left) =
            self.0.join("postgres").canonicalize().ok().and_then(|path| Postmaster::running_on(&path))
        {
            left.signal(Signal::Kill);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_survive_a_stop_and_a_kill_of_the_server_and_the_port_stays() {
    let scratch = ScratchFolder::new();
    let data = scratch.path().join("data");
    let _guard = StopOnDrop(&data);
    let folder = DataFolder::open(&data).unwrap();
    let server = start(&folder).await;
    let port = server.port();
    let urls = server.ensure_database("order").await.unwrap();
    assert_eq!(urls.database, "storeline_order");
    execute(&urls.admin, "CREATE TABLE kept (id int)").await.unwrap();
    execute(&urls.admin, "INSERT INTO kept VALUES (1)").await.unwrap();
    server.stop().await.unwrap();
    assert_eq!(running(&data), None, "stop returns when the server is gone");

    let server = start(&folder).await;
    assert_eq!(server.port(), port);
    assert_eq!(server.ensure_database("order").await.unwrap(), urls, "addresses stay the same");
    assert_eq!(count(&urls.admin, "kept").await, 1);
    execute(&urls.admin, "INSERT INTO kept VALUES (2)").await.unwrap();
    running(&data).unwrap().signal(Signal::Kill);
    drop(server);

    let server = start(&folder).await;
    assert_eq!(count(&server.urls("order").unwrap().admin, "kept").await, 2);
    let (setting,): (String,) = {
        let mut connection = provision::connect(&server.admin_url()).await.unwrap();
        sqlx::query_as("SELECT concat_ws(',', current_setting('fsync'), current_setting('synchronous_commit'), current_setting('data_checksums'), current_setting('server_encoding'))")
            .fetch_one(&mut connection).await.unwrap()
    };
    assert_eq!(setting, "on,on,on,UTF8");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_role_may_connect_to_its_database_and_nothing_else() {
    let scratch = ScratchFolder::new();
    let data = scratch.path().join("data");
    let _guard = StopOnDrop(&data);
    let folder = DataFolder::open(&data).unwrap();
    let server = start(&folder).await;
    let urls = server.ensure_database("inventory").await.unwrap();
    server.ensure_database("inventory").await.unwrap();
    execute(&urls.admin, "CREATE TABLE closed (id int)").await.unwrap();
    execute(&urls.app, "SELECT 1").await.unwrap();
    let denied =
        ["SELECT * FROM closed", "CREATE TABLE mine (id int)", "CREATE SCHEMA mine", "CREATE DATABASE mine"];
    for statement in denied {
        let error = execute(&urls.app, statement).await.unwrap_err();
        assert_eq!(sqlstate(&error).as_deref(), Some("42501"), "{statement}: {error}");
    }
    let stranger =
        url::Url::parse(&urls.app.expose().replace("storeline_app:", "storeline_app:wrong")).unwrap();
    let error = execute(&DatabaseUrl(stranger), "SELECT 1").await.unwrap_err();
    assert_eq!(sqlstate(&error).as_deref(), Some("28P01"), "no password, no entry");

    let taken = EmbeddedOptions { port: server.port(), ..EmbeddedOptions::default() };
    let other = DataFolder::open(scratch.path().join("other")).unwrap();
    let error = EmbeddedPostgres::start(&other, &taken, quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::PortTaken { .. }), "{error}");
    server.stop().await.unwrap();

    fs::remove_file(data.join("postgres-admin.password")).unwrap();
    let error = EmbeddedPostgres::start(&folder, &EmbeddedOptions::default(), quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::AdminPassword { .. }), "{error}");
    assert_eq!(running(&data), None, "a start that failed leaves no server behind");
}

/// A process that a failed assertion leaves behind must not outlive the test either.
struct Victim(std::process::Child);

impl Victim {
    fn kill(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Named in the environment of the process that the next test kills.
const VICTIM_FOLDER: &str = "STORELINE_TEST_VICTIM_FOLDER";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is the process that another test kills"]
async fn victim_serves_until_it_is_killed() {
    let Some(path) = std::env::var_os(VICTIM_FOLDER) else { return };
    let folder = DataFolder::open(path).unwrap();
    let server = start(&folder).await;
    let urls = server.ensure_database("order").await.unwrap();
    execute(&urls.admin, "CREATE TABLE acknowledged (id int)").await.unwrap();
    execute(&urls.admin, "INSERT INTO acknowledged VALUES (1)").await.unwrap();
    println!("\nserving");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_outlives_its_killed_shop_is_adopted_and_tools_use_it_beside_the_owner() {
    let scratch = ScratchFolder::new();
    let data = scratch.path().join("data");
    let _guard = StopOnDrop(&data);
    let victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "database::tests::victim_serves_until_it_is_killed", "--ignored", "--nocapture"])
        .env(VICTIM_FOLDER, &data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut victim = Victim(victim);
    let mut lines = BufReader::new(victim.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "serving"), "the victim never served");
    let left = running(&data).unwrap();

    let refused = DataFolder::open(&data).unwrap_err();
    assert!(refused.to_string().contains(&format!("process {}", victim.0.id())), "{refused}");
    let tool = DataFolder::attach(&data).unwrap();
    let borrowed = EmbeddedPostgres::attach(&tool, &EmbeddedOptions::default(), quiet).await.unwrap();
    let urls = borrowed.urls("order").unwrap();
    assert_eq!(count(&urls.admin, "acknowledged").await, 1);
    borrowed.stop().await.unwrap();
    assert_eq!(running(&data).as_ref(), Some(&left), "a tool never stops the owner's server");

    victim.kill();
    let folder = DataFolder::open(&data).unwrap();
    let server = start(&folder).await;
    assert_eq!(running(&data).map(|found| found.pid), Some(left.pid), "adopted, not restarted");
    assert!(server.description().contains("adopted"), "{}", server.description());
    assert_eq!(count(&urls.admin, "acknowledged").await, 1);
    server.stop().await.unwrap();
    assert_eq!(running(&data), None, "an adopted server is ours to stop");
    drop(folder);

    let started = EmbeddedPostgres::attach(&tool, &EmbeddedOptions::default(), quiet).await.unwrap();
    assert_eq!(count(&urls.admin, "acknowledged").await, 1);
    let refused = DataFolder::open(&data).unwrap_err();
    assert!(
        matches!(refused, DataFolderError::Held { .. }),
        "a tool that started the server owns the folder"
    );
    started.stop().await.unwrap();
    assert_eq!(running(&data), None);
    DataFolder::open(&data).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_server_gets_databases_and_its_refusals_say_what_to_do() {
    let scratch = ScratchFolder::new();
    let data = scratch.path().join("data");
    let _guard = StopOnDrop(&data);
    let owner = DataFolder::open(&data).unwrap();
    let server = start(&owner).await;
    let port = server.port();
    let sql = [
        "DROP ROLE storeline_app",
        "CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'geheim'",
        "CREATE ROLE guest LOGIN PASSWORD 'geheim'",
        "CREATE ROLE founder LOGIN CREATEDB PASSWORD 'geheim'",
    ];
    for statement in sql {
        execute(&server.admin_url(), statement).await.unwrap();
    }
    let address = |login: &str| format!("postgres://{login}:geheim@127.0.0.1:{port}/postgres");
    let folder = DataFolder::open(scratch.path().join("shop")).unwrap();

    let founder = ExternalDatabase::connect(&address("founder"), &folder, quiet).await.unwrap();
    let urls = founder.ensure_database("payment").await.unwrap();
    assert_eq!(
        (urls.app_role.as_str(), &urls.app),
        ("founder", &urls.admin),
        "no role to be had: its own rights"
    );
    execute(&urls.app, "CREATE TABLE mine (id int)").await.unwrap();

    let guest = ExternalDatabase::connect(&address("guest"), &folder, quiet).await.unwrap();
    let error = guest.ensure_database("order").await.unwrap_err();
    assert!(matches!(error, DatabaseError::RightsMissing { .. }), "{error}");

    let boss = ExternalDatabase::connect(&address("boss"), &folder, quiet).await.unwrap();
    let urls = boss.ensure_database("order").await.unwrap();
    assert_eq!(urls.app_role, APP_ROLE);
    execute(&urls.app, "SELECT 1").await.unwrap();
    assert!(execute(&urls.app, "CREATE TABLE mine (id int)").await.is_err());
    ExternalDatabase::connect(&address("boss"), &folder, quiet).await.unwrap();

    let stranger = DataFolder::open(scratch.path().join("stranger")).unwrap();
    let error = ExternalDatabase::connect(&address("boss"), &stranger, quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::AppRoleTaken { .. }), "{error}");

    let wrong = address("boss").replace("geheim", "falsch");
    let error = ExternalDatabase::connect(&wrong, &folder, quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::LoginRefused { .. }), "{error}");
    assert!(!error.to_string().contains("falsch"), "{error}");
    server.stop().await.unwrap();
    let error = ExternalDatabase::connect(&address("boss"), &folder, quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_another_version_or_a_broken_one_is_left_alone_with_advice() {
    let scratch = ScratchFolder::new();
    let folder = DataFolder::open(scratch.path()).unwrap();
    let cluster = scratch.path().join("postgres");
    fs::create_dir(&cluster).unwrap();
    let mut options = EmbeddedOptions::default();
    options.binaries.downloads = None;
    let error = EmbeddedPostgres::start(&folder, &options, quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::ClusterUnreadable { .. }), "{error}");
    fs::write(cluster.join("PG_VERSION"), "12\n").unwrap();
    let error = EmbeddedPostgres::start(&folder, &options, quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::ClusterMajor { major: 12, .. }), "{error}");
    assert!(error.to_string().contains("Install PostgreSQL 12"), "{error}");
}

#[tokio::test]
async fn a_machine_without_postgresql_is_told_how_to_get_it() {
    let scratch = ScratchFolder::new();
    let folder = DataFolder::open(scratch.path().join("data")).unwrap();
    let options = EmbeddedOptions { port: 0, binaries: BinarySearch::only(Vec::new()) };
    let error = EmbeddedPostgres::start(&folder, &options, quiet).await.unwrap_err();
    assert!(matches!(error, DatabaseError::NoBinaries { .. }), "{error}");
    assert!(error.to_string().contains("DATABASE_URL"), "{error}");
}

/// As root, and the folder is root's alone: the usual clone in /root.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_postgresqls_account_cannot_reach_gets_a_link_to_one_it_can() {
    let scratch = ScratchFolder::new();
    let home = scratch.path().join("home");
    fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
    let data = home.join("data");
    let _guard = StopOnDrop(&data);
    let folder = DataFolder::open(&data).unwrap();
    let server = start(&folder).await;
    server.ensure_database("order").await.unwrap();
    server.stop().await.unwrap();
    let cluster = data.join("postgres").canonicalize().unwrap();
    let is_root = fs::metadata(&home).unwrap().uid() == 0;
    assert_eq!(!cluster.starts_with(&data), is_root, "{}", cluster.display());
    let server = start(&folder).await;
    server.stop().await.unwrap();
    if is_root {
        fs::remove_dir_all(cluster.parent().unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "downloads 15 MB: `cargo xtask test` runs it"]
async fn download_serves_a_machine_without_postgresql_and_happens_once() {
    let scratch = ScratchFolder::new();
    let data = scratch.path().join("data");
    let _guard = StopOnDrop(&data);
    let folder = DataFolder::open(&data).unwrap();
    let binaries = BinarySearch::only(Vec::new()).or_download_into(scratch.path().join("cache"));
    let options = EmbeddedOptions { port: 0, binaries };
    let messages = std::sync::Mutex::new(Vec::new());
    let record = |message: &str| messages.lock().unwrap().push(message.to_owned());
    let server = EmbeddedPostgres::start(&folder, &options, record).await.unwrap();
    let urls = server.ensure_database("order").await.unwrap();
    for extension in ["pg_trgm", "pgcrypto"] {
        execute(&urls.admin, &format!("CREATE EXTENSION {extension}")).await.unwrap();
    }
    server.stop().await.unwrap();
    let server = EmbeddedPostgres::start(&folder, &options, record).await.unwrap();
    execute(&urls.app, "SELECT 1").await.unwrap();
    server.stop().await.unwrap();
    let messages = messages.into_inner().unwrap();
    let downloads = messages.iter().filter(|message| message.contains("downloading")).count();
    assert_eq!(downloads, 1, "{messages:?}");
}
