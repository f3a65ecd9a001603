//! Projections, reactors and tasks: every effect once, whatever is delivered twice, late or by a zombie.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventsourcing::*;
use sqlx::{Connection, Executor, PgConnection};
use support::*;
use testkit::{SOON, eventually};

/// Sums deposits; fails on command.
#[derive(Clone, Default)]
struct Balances {
    poison: Arc<Mutex<HashSet<String>>>,
    away: Arc<AtomicBool>,
}

impl Projection for Balances {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "balances"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(HandlerError::Unreachable("somebody is away".into()));
        }
        if self.poison.lock().expect("no test panicked with it").contains(event.stream_id.key()) {
            return Err(HandlerError::Poison("this cannot be".into()));
        }
        let amount = match event.decode::<Account>()? {
            Some(AccountEvent::Deposited { amount, .. }) => amount,
            Some(AccountEvent::Withdrawn { amount }) => -amount,
            None => return Ok(()),
        };
        sqlx::query(
            "INSERT INTO balances VALUES ($1, $2, 1) ON CONFLICT (account) \
             DO UPDATE SET balance = balances.balance + excluded.balance, events = balances.events + 1",
        )
        .bind(event.stream_id.key())
        .bind(amount)
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn table(log: &EventLog) -> Vec<(String, i64, i64)> {
    sqlx::query_as("SELECT account, balance, events FROM balances ORDER BY account")
        .fetch_all(log.pool())
        .await
        .expect("the table is read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_projection_run_by_several_replicas_that_lose_their_leases_applies_every_event_once() {
    let database = database().await;
    let writer = processor(&database).await;
    let replicas = [Replica::start(&database).await, Replica::start(&database).await];
    for replica in &replicas {
        replica.subscriptions.project(Arc::new(replica.log.clone()), Balances::default()).await.unwrap();
    }
    let mut executioner = PgConnection::connect(database.admin_url()).await.unwrap();
    let mut last = None;
    for round in 0..20 {
        for i in 0..20 {
            let committed = writer.execute(deposit(&account(i % 7), 1), context()).await.unwrap();
            last = Some(committed.position);
        }
        if round % 4 == 1 {
            // Every session ends, the one with the leases too: for a while nobody knows who runs it.
            executioner
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND application_name = 'ledger'",
                )
                .await
                .unwrap();
        }
    }
    let last = last.unwrap().number;
    let log = &replicas[0].log;
    eventually("the projection has seen everything", SOON, || async {
        let at: Result<i64, _> = sqlx::query_scalar(
            "SELECT position FROM eventsourcing.checkpoints WHERE subscription = 'balances'",
        )
        .fetch_one(log.pool())
        .await;
        at.ok().filter(|at| *at == last)
    })
    .await;
    // Connections that were cut and not used since would be given out as they are.
    let rows = table(&open(&database).await).await;
    assert_eq!(rows.iter().map(|(_, balance, _)| balance).sum::<i64>(), 400);
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn when_the_replica_that_runs_a_subscription_stops_another_takes_over() {
    let database = database().await;
    let writer = processor(&database).await;
    let (first, second) = (Replica::start(&database).await, Replica::start(&database).await);
    let running =
        first.subscriptions.project(Arc::new(first.log.clone()), Balances::default()).await.unwrap();
    let committed = writer.execute(deposit(&account("a"), 1), context()).await.unwrap();
    running.wait_for(&committed.position, SOON).await.unwrap();
    let waiting =
        second.subscriptions.project(Arc::new(second.log.clone()), Balances::default()).await.unwrap();
    waiting.wait_for(&committed.position, SOON).await.expect("the other replica's checkpoint counts");
    assert_eq!(waiting.status().state, SubscriptionState::StandBy);
    first.stop().await;
    let committed = writer.execute(deposit(&account("a"), 1), context()).await.unwrap();
    waiting.wait_for(&committed.position, SOON).await.unwrap();
    assert_eq!(table(&second.log).await, [("a".into(), 2, 2)]);
    second.stop().await;
}

#[tokio::test]
async fn a_replica_that_stands_still_keeps_neither_its_leases_nor_the_locks_of_its_transaction() {
    let database = database().await;
    let (still, other) = (open(&database).await, open(&database).await);
    // Nobody keeps the lease, and nobody goes on with the transaction: so it is in a process that stands still.
    let leases = Leases::new(still.connect_options().clone());
    let held = leases.try_acquire("balances").await.unwrap();
    assert!(held.is_some());
    let mut transaction = still.pool().begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(7)";
    sqlx::query(lock).execute(&mut *transaction).await.unwrap();

    let heirs = Leases::new(other.connect_options().clone());
    assert_eq!(heirs.try_acquire("balances").await.unwrap(), None);
    let (lease, locked) = tokio::join!(
        eventually("the lease is free", SOON, || async {
            heirs.try_acquire("balances").await.unwrap_or(None)
        }),
        tokio::time::timeout(SOON, sqlx::query(lock).execute(other.pool())),
    );
    assert!(locked.unwrap().is_ok(), "the lock is free");
    assert!(heirs.holds(lease));
    assert!(transaction.commit().await.is_err(), "it finds out when it goes on");
}

#[tokio::test]
async fn a_poison_message_is_parked_with_the_later_ones_of_its_key_and_other_keys_go_on() {
    let database = database().await;
    let writer = processor(&database).await;
    let replica = Replica::start(&database).await;
    let projection = Balances::default();
    projection.poison.lock().unwrap().insert("bad".into());
    let handle =
        replica.subscriptions.project(Arc::new(replica.log.clone()), projection.clone()).await.unwrap();
    let mut last = None;
    for stream in ["good", "bad", "good", "bad", "bad", "good"] {
        last = Some(writer.execute(deposit(&account(stream), 1), context()).await.unwrap().position);
    }
    handle.wait_for(last.as_ref().unwrap(), SOON).await.unwrap();
    assert_eq!(table(&replica.log).await, [("good".into(), 3, 3)]);
    let parked = replica.subscriptions.parked(None, None, 10).await.unwrap();
    assert_eq!(parked.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["account-bad"; 3]);
    assert_eq!(parked.iter().map(|p| p.error.is_some()).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(parked[0].attempts, 5);

    // Redriving what is still wrong changes nothing; once it is mended all of it is handled, in order.
    let redrive = || replica.subscriptions.redrive("balances", "account-bad");
    assert_eq!(redrive().await.unwrap(), 3);
    eventually("the redrive has failed", SOON, || async {
        let first = replica.subscriptions.parked_message("balances", parked[0].position).await.unwrap();
        (first.unwrap().attempts == 6).then_some(())
    })
    .await;
    projection.poison.lock().unwrap().clear();
    redrive().await.unwrap();
    eventually("nothing is parked", SOON, || async {
        replica.subscriptions.parked_counts().await.unwrap().is_empty().then_some(())
    })
    .await;
    assert_eq!(table(&replica.log).await, [("bad".into(), 3, 3), ("good".into(), 3, 3)]);

    // The key is free again.
    let next = writer.execute(deposit(&account("bad"), 1), context()).await.unwrap().position;
    eventually("the key's next message is handled", SOON, || async {
        (table(&replica.log).await[0].1 == 4).then_some(())
    })
    .await;
    handle.wait_for(&next, SOON).await.unwrap();
    replica.stop().await;
}

#[tokio::test]
async fn a_discarded_message_is_given_up_and_those_behind_it_can_be_redriven() {
    let database = database().await;
    let writer = processor(&database).await;
    let replica = Replica::start(&database).await;
    let projection = Balances::default();
    projection.poison.lock().unwrap().insert("bad".into());
    let handle =
        replica.subscriptions.project(Arc::new(replica.log.clone()), projection.clone()).await.unwrap();
    let first = writer.execute(deposit(&account("bad"), 100), context()).await.unwrap().position;
    let second = writer.execute(deposit(&account("bad"), 1), context()).await.unwrap().position;
    handle.wait_for(&second, SOON).await.unwrap();
    assert!(replica.subscriptions.discard("balances", first.number).await.unwrap());
    assert!(!replica.subscriptions.discard("balances", first.number).await.unwrap());
    projection.poison.lock().unwrap().clear();
    replica.subscriptions.redrive("balances", "account-bad").await.unwrap();
    eventually("the later message is handled", SOON, || async {
        (table(&replica.log).await == [("bad".into(), 1, 1)]).then_some(())
    })
    .await;
    replica.stop().await;
}

#[tokio::test]
async fn an_unreachable_dependency_never_parks_and_is_waited_for() {
    let database = database().await;
    let writer = processor(&database).await;
    let replica = Replica::start(&database).await;
    let projection = Balances::default();
    projection.away.store(true, Ordering::SeqCst);
    let handle =
        replica.subscriptions.project(Arc::new(replica.log.clone()), projection.clone()).await.unwrap();
    let position = writer.execute(deposit(&account("a"), 1), context()).await.unwrap().position;
    eventually("it retries", SOON, || async {
        matches!(handle.status().state, SubscriptionState::Retrying(_)).then_some(())
    })
    .await;
    assert!(handle.wait_for(&position, Duration::from_millis(200)).await.is_err());
    assert!(replica.subscriptions.parked_counts().await.unwrap().is_empty());
    projection.away.store(false, Ordering::SeqCst);
    handle.wait_for(&position, SOON).await.unwrap();
    replica.stop().await;
}

#[tokio::test]
async fn above_the_limit_of_parked_keys_the_subscription_stops_and_says_so() {
    let database = database().await;
    let writer = processor(&database).await;
    let projection = Balances::default();
    for i in 0..4 {
        projection.poison.lock().unwrap().insert(i.to_string());
        writer.execute(deposit(&account(i), 1), context()).await.unwrap();
    }
    let replica = Replica::start(&database).await;
    let options =
        SubscriptionOptions { parked_keys: 2, attempts: 1, page: 1, ..SubscriptionOptions::default() };
    let handle =
        replica.subscriptions.project_with(Arc::new(replica.log.clone()), projection, options).await.unwrap();
    eventually("it stops", SOON, || async {
        matches!(handle.status().state, SubscriptionState::Stopped(_)).then_some(())
    })
    .await;
    replica.stop().await;
}

#[tokio::test]
async fn a_consumer_that_is_ahead_of_its_log_or_of_another_incarnation_stops_and_says_so() {
    let database = database().await;
    let writer = processor(&database).await;
    writer.execute(deposit(&account("a"), 1), context()).await.unwrap();
    for (incarnation, position, expected) in [(1, 500, "lost events"), (2, 1, "restored")] {
        let replica = Replica::start(&database).await;
        sqlx::query(
            "INSERT INTO eventsourcing.checkpoints (subscription, log, incarnation, position) \
             VALUES ('balances', 'ledger', $1, $2) \
             ON CONFLICT (subscription, log, partition) DO UPDATE SET incarnation = $1, position = $2",
        )
        .bind(incarnation)
        .bind(position)
        .execute(replica.log.pool())
        .await
        .unwrap();
        let handle =
            replica.subscriptions.project(Arc::new(replica.log.clone()), Balances::default()).await.unwrap();
        let why = eventually("it stops", SOON, || async {
            match handle.status().state {
                SubscriptionState::Stopped(why) => Some(why),
                _ => None,
            }
        })
        .await;
        assert!(why.contains(expected), "{why}");
        replica.stop().await;
    }
}

/// Pays one unit of interest for every deposit that is not interest itself.
struct Interest {
    processor: CommandProcessor,
    deliveries: Arc<AtomicUsize>,
}

impl Reactor for Interest {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "interest"
    }

    async fn react(&self, event: &RecordedEvent, commands: &Commands) -> Result<(), HandlerError> {
        self.deliveries.fetch_add(1, Ordering::SeqCst);
        if let Some(AccountEvent::Deposited { .. }) = event.decode::<Account>()?
            && event.stream_id.key().starts_with("saver")
        {
            let interest = account(format!("interest-of-{}", event.stream_id.key()));
            self.processor.execute(deposit(&interest, 1), commands.context(0)).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_reactor_that_gets_everything_again_from_the_start_has_no_second_effect() {
    let database = database().await;
    let writer = processor(&database).await;
    let mut last = None;
    for i in 0..30 {
        last =
            Some(writer.execute(deposit(&account(format!("saver{}", i % 3)), 9), context()).await.unwrap());
    }
    let deliveries = Arc::new(AtomicUsize::new(0));
    for round in 0..3 {
        let replica = Replica::start(&database).await;
        sqlx::query("UPDATE eventsourcing.checkpoints SET position = 0")
            .execute(replica.log.pool())
            .await
            .unwrap();
        let reactor = Interest { processor: writer.clone(), deliveries: deliveries.clone() };
        let handle = replica.subscriptions.react(Arc::new(replica.log.clone()), reactor).await.unwrap();
        let end = last.as_ref().unwrap().position.number + 30;
        let mut at = handle.checkpoint();
        tokio::time::timeout(SOON, at.wait_for(|at| *at >= end)).await.expect("it catches up").unwrap();
        for i in 0..3 {
            let paid = balance(&replica.log, &account(format!("interest-of-saver{i}"))).await;
            assert_eq!(paid.balance, 10, "in round {round}");
        }
        replica.stop().await;
    }
    assert!(deliveries.load(Ordering::SeqCst) >= 150);
}

#[tokio::test]
async fn integration_events_carry_position_stream_version_and_correlation_and_skip_what_is_private() {
    let database = database().await;
    let writer = processor(&database).await;
    let stream = account("a");
    writer.execute(deposit(&stream, 10), context()).await.unwrap();
    writer.execute(withdraw(&stream, 4), context()).await.unwrap();
    let last = writer.execute(deposit(&stream, 3), context()).await.unwrap().position.number;
    let feed = LogFeed::new(writer.log().clone(), "/shop/ledger", |event| {
        Ok(event.decode::<Account>()?.and_then(|event| match event {
            AccountEvent::Deposited { amount, .. } => {
                Some(Published { event_type: "Deposited", data: vec![amount as u8] })
            }
            AccountEvent::Withdrawn { .. } => None,
        }))
    });
    let page = feed.read(0, Place::default(), 2).await.unwrap();
    assert_eq!(
        (page.messages.len(), page.up_to),
        (1, Place::at(last - 1)),
        "a private event moves the reader too"
    );
    let page = feed.read(0, page.up_to, 2).await.unwrap();
    let event = &page.messages[0];
    assert_eq!((event.position, event.version, event.data.as_slice()), (last, 3, &[3_u8][..]));
    assert_eq!((event.subject.as_str(), event.correlation_id.as_str()), ("account-a", "c"));
    let parked: IntegrationEvent =
        serde_json::from_value(serde_json::to_value(event).unwrap()).expect("it survives being parked");
    assert_eq!(parked, *event);
}
