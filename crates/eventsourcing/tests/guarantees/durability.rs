//! Guarantee 4: what was acknowledged is on disk.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use testkit::Stop;
use uuid::Uuid;

use crate::harness::{Harness, Verdict};
use crate::support::*;

hold_on_a_sound_log!(an_append_that_would_not_be_durable_is_refused);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_crash_of_postgresql_on_a_sound_log() {
    let harness = Harness::with_cluster(LAZY).await;
    what_was_acknowledged_is_there_after_a_crash_of_postgresql(&harness).await.unwrap();
}

/// A server that writes down by itself what nobody waits for as late as it can.
pub const LAZY: &[&str] = &["wal_writer_delay=10s", "wal_writer_flush_after=1GB"];
const CRASHES: usize = 4;
/// Answers before each crash, at least.
const ACKNOWLEDGED: usize = 100;
const CLIENTS: usize = 8;

pub async fn an_append_that_would_not_be_durable_is_refused(harness: &Harness) -> Verdict {
    let mut careless = PgConnection::connect(harness.database.url()).await?;
    let appends = sqlx::query(
        "SELECT p.proname::text, array_agg(format_type(a.type, NULL) ORDER BY a.place)::text[] \
           FROM pg_proc p, unnest(p.proargtypes) WITH ORDINALITY AS a(type, place) \
          WHERE p.pronamespace = 'eventlog'::regnamespace AND p.proname LIKE 'append%' GROUP BY p.oid",
    )
    .fetch_all(&mut careless)
    .await?;
    hold!(!appends.is_empty(), "there is no append");
    for append in appends {
        let (name, types): (String, Vec<String>) = (append.get(0), append.get(1));
        let nothing = types.iter().map(|name| match name.ends_with("[]") {
            true => format!("'{{}}'::{name}"),
            false => format!("NULL::{name}"),
        });
        let call = format!("SELECT * FROM eventlog.{name}({})", nothing.collect::<Vec<_>>().join(", "));
        careless.execute("SET synchronous_commit = off").await?;
        let refused = careless.execute(AssertSqlSafe(call.clone())).await.err();
        let refused = refused.map(|error| error.to_string()).unwrap_or_default();
        hold!(refused.contains("durable"), "eventlog.{name} without durability: {refused}");
        careless.execute("SET synchronous_commit = on").await?;
        let accepted = careless.execute(AssertSqlSafe(call)).await;
        hold!(accepted.is_ok(), "eventlog.{name} with durability: {accepted:?}");
    }
    Ok(())
}

/// Clients that append until the server crashes, several times: under them, or when the last of them has just been
/// answered. Only then is the answer sure to be about what no later page of the write-ahead log took to the disk.
pub async fn what_was_acknowledged_is_there_after_a_crash_of_postgresql(harness: &Harness) -> Verdict {
    let cluster = harness.cluster.as_ref().expect("this check has a server of its own");
    let mut cluster = cluster.lock().await;
    let mut acknowledged = HashSet::new();
    for crash in 0..CRASHES {
        let (gone, calm) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (acknowledge, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let processor = harness.processor().await;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (processor, acknowledge) = (processor.clone(), acknowledge.clone());
                let (gone, calm) = (gone.clone(), calm.clone());
                tokio::spawn(async move {
                    while !calm.load(Ordering::SeqCst) {
                        let id = Uuid::now_v7();
                        let answer = processor.execute(deposit(&account(id), 1), context_of(id)).await;
                        // An answer that comes after the restart says nothing about the crash.
                        if gone.load(Ordering::SeqCst) {
                            return;
                        }
                        if answer.is_ok() {
                            acknowledge.send(id).ok();
                        }
                    }
                })
            })
            .collect();
        for _ in 0..ACKNOWLEDGED {
            acknowledged.extend(tokio::time::timeout(harness.patience, answers.recv()).await?);
        }
        let clients = futures::future::join_all(clients);
        if crash % 2 == 0 {
            cluster.stop(Stop::Immediate).await;
            gone.store(true, Ordering::SeqCst);
            cluster.start_again().await;
            clients.await.into_iter().collect::<Result<(), _>>()?;
        } else {
            calm.store(true, Ordering::SeqCst);
            clients.await.into_iter().collect::<Result<(), _>>()?;
            let last = Uuid::now_v7();
            processor.execute(deposit(&account(last), 1), context_of(last)).await?;
            acknowledged.insert(last);
            cluster.restart(Stop::Immediate).await;
        }
        drop(acknowledge);
        while let Some(answer) = answers.recv().await {
            acknowledged.insert(answer);
        }
    }
    let mut owner = harness.owner().await;
    let stored: Vec<Uuid> =
        sqlx::query_scalar("SELECT command_id FROM eventlog.events").fetch_all(&mut owner).await?;
    let stored: HashSet<Uuid> = stored.into_iter().collect();
    let lost = acknowledged.difference(&stored).count();
    hold!(lost == 0, "{lost} of {} acknowledged commands are lost", acknowledged.len());
    Ok(())
}
