//! A relay dies, or is frozen and comes back after another has taken its place.
#![cfg(debug_assertions)]

use std::os::unix::process::ExitStatusExt;

use testkit::fault::RELAY_POINTS;
use testkit::{SOON, eventually, is_long, say};

use crate::child::RelayProcess;
use crate::harness::*;

/// At which passings of a point the relay dies.
const PASSINGS: &[u32] = &[1, 3];
const PASSINGS_LONG: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8];
/// How an aborted process ends.
const SIGABRT: i32 = 6;

#[tokio::test]
async fn wherever_a_relay_dies_the_next_one_leaves_nothing_out() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    for point in RELAY_POINTS {
        for passing in if is_long() { PASSINGS_LONG } else { PASSINGS } {
            let fault = format!("{point}:{passing}");
            let mut dying = RelayProcess::start(database.url(), &options, Some(&fault));
            let ended = tokio::select! {
                ended = dying.ended() => ended,
                () = write_for_ever(&replica) => unreachable!("it writes for ever"),
            };
            assert_eq!(ended.signal(), Some(SIGABRT), "{fault} was not reached, it ended with {ended}");
        }
    }
    let _last = RelayProcess::start(database.url(), &options, None);
    replica.write(50).await;
    caught_up(&replica).await;
    let (records, events) = verify(&replica, &options).await;
    say(format!("kills of the relay: {events} events in {records} records, none missing"));
    replica.stop().await;
}

async fn write_for_ever(replica: &Replica) {
    loop {
        replica.write(20).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_relay_that_was_frozen_and_wakes_after_another_took_over_harms_nothing() {
    let (database, options) = (database().await, options());
    let replica = Replica::open(database.url()).await;
    let zombie = RelayProcess::start(database.url(), &options, None);
    replica.write(200).await;
    caught_up(&replica).await;

    // In the middle of its work, and then its session is gone.
    tokio::join!(replica.write(300), async { zombie.signal("-STOP") });
    end_sessions_with_leases(database.admin_url()).await;
    let _relay = replica.relay(&options).await.unwrap();
    replica.write(100).await;
    caught_up(&replica).await;
    // Now both send.
    tokio::join!(replica.write(500), async { zombie.signal("-CONT") });
    caught_up(&replica).await;
    let (records, events) = verify(&replica, &options).await;
    say(format!("a zombie beside a relay: {events} events in {records} records, none missing"));
    replica.stop().await;
}

/// Ends the sessions that hold leases, as a server does with a client that does not answer any more.
async fn end_sessions_with_leases(url: &str) {
    use sqlx::Connection;
    let mut owner = sqlx::PgConnection::connect(url).await.unwrap();
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks \
                  WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let none_left = "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted \
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let sessions: i64 = sqlx::query_scalar(ended).fetch_one(&mut owner).await.unwrap();
    assert!(sessions >= 1, "the relay held a lease");
    let owner = tokio::sync::Mutex::new(owner);
    eventually("the lease is free", SOON, || async {
        let mut owner = owner.lock().await;
        let free: bool = sqlx::query_scalar(none_left).fetch_one(&mut *owner).await.unwrap();
        free.then_some(())
    })
    .await;
}
