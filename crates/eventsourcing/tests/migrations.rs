//! Bringing databases up to date beside programs that work on them, and what an operator does after a restore.

use eventsourcing::{
    EventLog, IncarnationError, LogOptions, MigrateError, Migrations, migrate, raise_incarnation,
    require_migrated,
};
use sqlx::{Connection, PgConnection};
use testkit::{APP_ROLE, SOON, TestDatabase, eventually};

const LOG: &str = "ledger";
const FIRST: Migrations =
    &[("totals", "CREATE TABLE totals (account text PRIMARY KEY, total bigint NOT NULL)")];
const BOTH: Migrations =
    &[FIRST[0], ("currencies", "ALTER TABLE totals ADD COLUMN currency text NOT NULL DEFAULT 'EUR'")];

#[tokio::test]
async fn a_program_works_on_what_its_own_migrations_and_later_ones_made_and_on_nothing_older() {
    let empty = TestDatabase::empty(LOG).await;
    let nothing = require_migrated(empty.url(), LOG, FIRST).await;
    assert!(matches!(nothing, Err(MigrateError::Behind { .. })), "{nothing:?}");

    let database = TestDatabase::new(LOG, FIRST).await;
    require_migrated(database.url(), LOG, FIRST).await.unwrap();
    let older = require_migrated(database.url(), LOG, BOTH).await;
    assert!(matches!(older, Err(MigrateError::Behind { missing: 1, .. })), "{older:?}");

    migrate(database.admin_url(), LOG, Some(APP_ROLE), BOTH).await.unwrap();
    require_migrated(database.url(), LOG, BOTH).await.unwrap();
    require_migrated(database.url(), LOG, FIRST).await.unwrap();
    let another: Migrations = &[("totals", "CREATE TABLE totals ()")];
    let foreign = require_migrated(database.url(), LOG, another).await;
    assert!(matches!(foreign, Err(MigrateError::Foreign { version: 1000, .. })), "{foreign:?}");
}

#[tokio::test]
async fn a_migration_waits_for_a_table_that_is_in_use_without_keeping_others_from_it() {
    let database = TestDatabase::new(LOG, FIRST).await;
    let mut user = PgConnection::connect(database.admin_url()).await.unwrap();
    let mut in_use = user.begin().await.unwrap();
    sqlx::query("LOCK TABLE totals IN ACCESS SHARE MODE").execute(&mut *in_use).await.unwrap();

    let url = database.admin_url().to_owned();
    let migrating = tokio::spawn(async move { migrate(&url, LOG, Some(APP_ROLE), BOTH).await });
    let mut other = PgConnection::connect(database.admin_url()).await.unwrap();
    let waits = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                  WHERE d.datname = current_database() AND l.mode = 'AccessExclusiveLock' AND NOT l.granted)";
    let started = std::time::Instant::now();
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut other).await.unwrap() {
        assert!(started.elapsed() < SOON, "the migration does not wait");
        tokio::task::yield_now().await;
    }
    // It stands behind the migration, and has its turn when that gives way.
    sqlx::query("SELECT count(*) FROM totals").execute(&mut other).await.unwrap();
    in_use.commit().await.unwrap();
    migrating.await.unwrap().unwrap();
    require_migrated(database.url(), LOG, BOTH).await.unwrap();
}

#[tokio::test]
async fn the_incarnation_is_raised_when_nobody_works_on_the_log_and_what_was_restored_with_it_goes_along() {
    let database = TestDatabase::new(LOG, FIRST).await;
    let log = EventLog::open(LogOptions::new(LOG, database.url())).await.unwrap();
    assert_eq!(log.position(7).incarnation, 1);
    let refused = raise_incarnation(database.admin_url(), LOG).await;
    assert!(matches!(refused, Err(IncarnationError::InUse { .. })), "{refused:?}");

    log.pool().close().await;
    let mut owner = PgConnection::connect(database.admin_url()).await.unwrap();
    let checkpoints = "INSERT INTO eventsourcing.checkpoints (subscription, log, incarnation, position) \
                       VALUES ('ledger.totals', 'ledger', 1, 0), ('ledger.lost', 'ledger', 1, 9), \
                              ('ledger.prices', 'market', 1, 0)";
    sqlx::query(checkpoints).execute(&mut owner).await.unwrap();
    let raised = eventually("nobody works on it any more", SOON, || async {
        match raise_incarnation(database.admin_url(), LOG).await {
            Err(IncarnationError::InUse { .. }) => None,
            raised => Some(raised),
        }
    })
    .await;
    assert_eq!(raised.unwrap(), 2);
    let log = EventLog::open(LogOptions::new(LOG, database.url())).await.unwrap();
    assert_eq!(log.position(7).incarnation, 2);
    let known = "SELECT subscription, incarnation FROM eventsourcing.checkpoints ORDER BY subscription";
    let known: Vec<(String, i32)> = sqlx::query_as(known).fetch_all(&mut owner).await.unwrap();
    let expected = [("ledger.lost", 1), ("ledger.prices", 1), ("ledger.totals", 2)];
    assert_eq!(known, expected.map(|(name, incarnation)| (name.to_owned(), incarnation)));
    let another = raise_incarnation(database.admin_url(), "market").await;
    assert!(matches!(another, Err(IncarnationError::AnotherLog { .. })), "{another:?}");
}
