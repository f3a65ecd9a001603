//! What follows a log: a projection's effect happens once, a reactor's commands too, and what is parked keeps its order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eventsourcing::*;
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, watch};

use crate::harness::{Harness, Verdict, Wrong};
use crate::support::*;

hold_on_a_sound_log!(
    a_runner_that_lost_its_lease_without_knowing_has_no_effect,
    what_a_page_did_before_it_failed_is_taken_back_with_it,
    a_reactor_that_gets_everything_again_has_no_second_effect,
    what_waits_behind_a_parked_message_is_handled_after_it_and_in_order,
);

/// Counts deposits.
struct Balances {
    /// Fails once after so many events.
    fail_after: Option<usize>,
    failed: AtomicBool,
    /// Where to write instead of to the transaction.
    beside: Option<PgPool>,
}

impl Balances {
    fn new() -> Self {
        Self { fail_after: None, failed: AtomicBool::new(false), beside: None }
    }
}

impl Projection for Balances {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "balances"
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        let Some(AccountEvent::Deposited { amount, .. }) = event.decode::<Account>()? else { return Ok(()) };
        let count = sqlx::query(
            "INSERT INTO balances VALUES ($1, $2, 1) ON CONFLICT (account) \
             DO UPDATE SET balance = balances.balance + excluded.balance, events = balances.events + 1",
        )
        .bind(event.stream_id.key())
        .bind(amount);
        match &self.beside {
            Some(pool) => count.execute(pool).await?,
            None => count.execute(connection).await?,
        };
        Ok(())
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        events: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        for (done, event) in events.iter().enumerate() {
            if self.fail_after == Some(done) && !self.failed.swap(true, Ordering::SeqCst) {
                return Err(HandlerError::Unreachable("somebody is away".into()));
            }
            self.apply(connection, event).await?;
        }
        Ok(())
    }
}

async fn counted(log: &EventLog) -> i64 {
    let sum = "SELECT coalesce(sum(events), 0)::bigint FROM balances";
    sqlx::query_scalar(sum).fetch_one(log.pool()).await.unwrap()
}

/// A log whose first page is held back after it was read.
struct HeldBack {
    log: EventLog,
    is_first: AtomicBool,
    read: Notify,
    go_on: Notify,
}

impl Feed for HeldBack {
    type Message = RecordedEvent;

    fn log(&self) -> &str {
        self.log.name()
    }

    fn incarnation(&self) -> i32 {
        Feed::incarnation(&self.log)
    }

    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<RecordedEvent>, FeedError>> {
        Box::pin(async move {
            let page = self.log.read(partition, after, limit).await?;
            if !page.messages.is_empty() && self.is_first.swap(false, Ordering::SeqCst) {
                self.read.notify_one();
                self.go_on.notified().await;
            }
            Ok(page)
        })
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.log.newest(partition)
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.log.watch_head()
    }
}

/// The runner of one replica stands still with a page in its hands; another takes over and handles it; then the first
/// goes on as if nothing had happened.
pub async fn a_runner_that_lost_its_lease_without_knowing_has_no_effect(harness: &Harness) -> Verdict {
    const EVENTS: i64 = 10;
    let writer = harness.processor().await;
    for i in 0..EVENTS {
        writer.execute(deposit(&account(i % 3), 1), context()).await?;
    }
    let (zombie, heir) = (Replica::start(&harness.database).await, Replica::start(&harness.database).await);
    let feed = Arc::new(HeldBack {
        log: zombie.log.clone(),
        is_first: AtomicBool::new(true),
        read: Notify::new(),
        go_on: Notify::new(),
    });
    let asleep = zombie.subscriptions.project(feed.clone(), Balances::new()).await?;
    tokio::time::timeout(harness.patience, feed.read.notified()).await?;
    // The leases are locks of a session, and end with it.
    harness
        .tamper(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await;
    heir.subscriptions.project(Arc::new(heir.log.clone()), Balances::new()).await?;
    harness
        .within("another replica takes over", async || (counted(&heir.log).await == EVENTS).then_some(()))
        .await?;
    feed.go_on.notify_one();
    harness
        .within("the first replica finds out", async || {
            let noticed = asleep.status().state != SubscriptionState::Running;
            (noticed || counted(&heir.log).await != EVENTS).then_some(())
        })
        .await?;
    let counted = counted(&heir.log).await;
    hold!(counted == EVENTS, "{EVENTS} events had {counted} effects");
    for replica in [zombie, heir] {
        replica.stop().await;
    }
    Ok(())
}

pub async fn what_a_page_did_before_it_failed_is_taken_back_with_it(harness: &Harness) -> Verdict {
    const EVENTS: usize = 5;
    let writer = harness.processor().await;
    let mut last = None;
    for _ in 0..EVENTS {
        last = Some(writer.execute(deposit(&account("a"), 1), context()).await?.position);
    }
    let replica = Replica::start(&harness.database).await;
    let beside = (harness.wrong == Wrong::EffectOutsideOfTransaction).then(|| replica.log.pool().clone());
    let projection = Balances { fail_after: Some(EVENTS - 2), beside, ..Balances::new() };
    let handle = replica.subscriptions.project(Arc::new(replica.log.clone()), projection).await?;
    handle.wait_for(&last.expect("there are events"), harness.patience).await?;
    let counted = counted(&replica.log).await;
    hold!(counted == EVENTS as i64, "{EVENTS} events had {counted} effects");
    replica.stop().await;
    Ok(())
}

/// Pays one unit of interest for every deposit that is not interest itself.
struct Interest {
    processor: CommandProcessor,
    wrong: Wrong,
}

impl Reactor for Interest {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "interest"
    }

    async fn react(&self, event: &RecordedEvent, commands: &Commands) -> Result<(), HandlerError> {
        if event.stream_id.key().starts_with("saver") {
            let interest = account(format!("interest-of-{}", event.stream_id.key()));
            let context = match self.wrong {
                Wrong::RandomCommandIds => context(),
                _ => commands.context(0),
            };
            self.processor.execute(deposit(&interest, 1), context).await?;
        }
        Ok(())
    }
}

pub async fn a_reactor_that_gets_everything_again_has_no_second_effect(harness: &Harness) -> Verdict {
    const SAVERS: i64 = 3;
    const DEPOSITS: i64 = 10;
    let writer = harness.processor().await;
    for i in 0..SAVERS * DEPOSITS {
        writer.execute(deposit(&account(format!("saver{}", i % SAVERS)), 9), context()).await?;
    }
    for round in 0..3 {
        let replica = Replica::start(&harness.database).await;
        harness.tamper("UPDATE eventsourcing.checkpoints SET position = 0").await;
        let reactor = Interest { processor: writer.clone(), wrong: harness.wrong };
        let handle = replica.subscriptions.react(Arc::new(replica.log.clone()), reactor).await?;
        // What it appends in the first round it reads too.
        let end = writer.log().head().await? + if round == 0 { SAVERS * DEPOSITS } else { 0 };
        handle.wait_for(&replica.log.position(end), harness.patience).await?;
        for i in 0..SAVERS {
            let paid = balance(&replica.log, &account(format!("interest-of-saver{i}"))).await.balance;
            hold!(paid == DEPOSITS, "{paid} for {DEPOSITS} deposits in round {round}");
        }
        replica.stop().await;
    }
    Ok(())
}

/// Writes down in which order it handles what. Cannot handle the first message of the account `bad` before it is mended.
#[derive(Clone, Default)]
struct Journal {
    mended: Arc<AtomicBool>,
}

impl Projection for Journal {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        "journal"
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        event: &IntegrationEvent,
    ) -> Result<(), HandlerError> {
        let account = String::from_utf8_lossy(&event.data).into_owned();
        if account == "bad" && event.version == 1 && !self.mended.load(Ordering::SeqCst) {
            return Err(HandlerError::Poison("this cannot be".into()));
        }
        sqlx::query("INSERT INTO journal (account, version) VALUES ($1, $2)")
            .bind(account)
            .bind(event.version as i64)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// What is published of a log, each message under a key of its own if that is what is wrong.
struct Keyed {
    feed: LogFeed,
    wrong: Wrong,
}

impl Feed for Keyed {
    type Message = IntegrationEvent;

    fn log(&self) -> &str {
        self.feed.log()
    }

    fn incarnation(&self) -> i32 {
        self.feed.incarnation()
    }

    fn read(
        &self,
        partition: i32,
        after: Place,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
        Box::pin(async move {
            let mut page = self.feed.read(partition, after, limit).await?;
            if self.wrong == Wrong::KeyPerMessage {
                page.messages.iter_mut().for_each(|message| message.subject = message.id.to_string());
            }
            Ok(page)
        })
    }

    fn newest(&self, partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
        self.feed.newest(partition)
    }

    fn head(&self) -> watch::Receiver<i64> {
        self.feed.head()
    }
}

pub async fn what_waits_behind_a_parked_message_is_handled_after_it_and_in_order(
    harness: &Harness,
) -> Verdict {
    let writer = harness.processor().await;
    let mut last = None;
    for name in ["good", "bad", "good", "bad", "bad", "good"] {
        last = Some(writer.execute(deposit(&account(name), 1), context()).await?.position);
    }
    let replica = Replica::start(&harness.database).await;
    let feed = LogFeed::new(replica.log.clone(), "/tests/ledger", |event| {
        let data = event.stream_id.key().as_bytes().to_vec();
        Ok(Some(Published { event_type: "Deposited", data }))
    });
    let feed = Arc::new(Keyed { feed, wrong: harness.wrong });
    let journal = Journal::default();
    let handle = replica.subscriptions.project(feed, journal.clone()).await?;
    handle.wait_for(&last.expect("there are events"), harness.patience).await?;

    let early: Vec<String> =
        sqlx::query_scalar("SELECT account FROM journal").fetch_all(replica.log.pool()).await?;
    hold!(early == ["good"; 3], "handled while a message was parked: {early:?}");
    journal.mended.store(true, Ordering::SeqCst);
    replica.subscriptions.redrive("journal", "account-bad").await?;
    harness
        .within("nothing is parked", async || {
            replica.subscriptions.parked_counts().await.unwrap().is_empty().then_some(())
        })
        .await?;
    let order: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM journal WHERE account = 'bad' ORDER BY place")
            .fetch_all(replica.log.pool())
            .await?;
    hold!(order == [1, 2, 3], "handled in the order {order:?}");
    replica.stop().await;
    Ok(())
}
