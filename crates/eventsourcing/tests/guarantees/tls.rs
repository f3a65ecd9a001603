//! A log over TLS, with `sslmode=verify-full` as the guides have it: encrypted, and with nobody but the right server.

use eventsourcing::*;
use sqlx::Connection;
use testkit::tls::Certificates;
use testkit::{Cluster, SOON, TestDatabase, eventually};

use crate::support::*;

#[tokio::test]
async fn a_log_opens_over_tls_with_the_right_authority_alone_and_says_why_not_with_another() {
    let cluster = Cluster::start().await;
    // What the server is to read belongs to whoever runs it, and is where PostgreSQL looks for it.
    let data = cluster.folder().join("cluster");
    let ours = Certificates::make_by(&data, || cluster.command("openssl"));
    let elsewhere = cluster.folder().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let others = Certificates::make(&elsewhere);
    let mut superuser = sqlx::PgConnection::connect(&cluster.url()).await.unwrap();
    for statement in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut superuser).await.unwrap();
    }
    let database = TestDatabase::on(&cluster.url(), LOG, MIGRATIONS).await;
    let open = async |authority: &std::path::Path| {
        let plain = database.url().split('?').next().unwrap_or_default();
        let url = format!("{plain}?sslmode=verify-full&sslrootcert={}", authority.display());
        EventLog::open(LogOptions::new(LOG, url)).await
    };

    // New sessions learn of the setting when the server has read it.
    let log = eventually("PostgreSQL speaks TLS", SOON, async || open(&ours.authority).await.ok()).await;
    let encrypted: bool = sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .fetch_one(log.pool())
        .await
        .unwrap();
    assert!(encrypted);
    let processor = CommandProcessor::start(log, ProcessorOptions::default());
    processor.execute(deposit(&account(1), 1), context()).await.unwrap();

    let refused =
        open(&others.authority).await.err().expect("another authority has not signed it").to_string();
    assert!(refused.contains("certificate"), "{refused}");
}
