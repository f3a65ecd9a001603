//! All guarantees at once: two processes append, one at a time is stopped and continued, sessions are ended at random, and
//! PostgreSQL is restarted, first in good order and then as in a crash. With `STORELINE_TEST_LONG` over a million events.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eventsourcing::*;
use sqlx::{Connection, PgConnection};
use testkit::{Cluster, Stop, TestDatabase, is_long, say};

use crate::harness::{Verdict, Violation};
use crate::support::*;
use crate::writer::{EVENTS_EACH, Plan, SEED_CAPITAL, SHARED_ACCOUNTS, Writer, shared_account};

/// Commands of each process; nine in ten have ten events, the others two or none.
const COMMANDS: usize = 4_000;
const COMMANDS_LONG: usize = 70_000;
/// Pause between two ends of sessions.
const EXECUTION_PAUSE: Duration = Duration::from_millis(300);
/// For the whole of it.
const DEADLINE: Duration = Duration::from_secs(600);
const DEADLINE_LONG: Duration = Duration::from_secs(1800);
/// How long a process is stopped at least.
const STOPPED: Duration = Duration::from_millis(1500);
/// Commands of each process that are repeated in the end.
const REPEATS: usize = 500;
/// Pause of a reader while there is nothing, or its database is away.
const READ_PAUSE: Duration = Duration::from_millis(20);
/// Pause between two looks at the head of the log.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What a reader makes of the log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fold {
    position: i64,
    events: u64,
    /// Of everything read, in order.
    digest: u64,
    accounts: BTreeMap<String, (u64, i64)>,
}

impl Fold {
    fn add(&mut self, event: &RecordedEvent) -> Verdict {
        hold!(event.position > self.position, "position {} after {}", event.position, self.position);
        self.position = event.position;
        self.events += 1;
        let mut hasher = DefaultHasher::new();
        (self.digest, event.position, event.stream_id.as_str(), event.version).hash(&mut hasher);
        (event.event_id, event.command_id, &event.data).hash(&mut hasher);
        self.digest = hasher.finish();
        let (version, balance) = self.accounts.entry(event.stream_id.to_string()).or_default();
        hold!(event.version == *version + 1, "{}: {} after {version}", event.stream_id, event.version);
        *version = event.version;
        match event.decode::<Account>()? {
            Some(AccountEvent::Deposited { amount, .. }) => *balance += amount,
            Some(AccountEvent::Withdrawn { amount }) => *balance -= amount,
            None => {}
        }
        hold!(*balance >= 0, "{} is overdrawn at position {}", event.stream_id, event.position);
        Ok(())
    }

    /// Reads on until there is nothing more and `done`.
    async fn follow(mut self, log: EventLog, done: Arc<AtomicBool>) -> Result<Self, Violation> {
        loop {
            let finished = done.load(Ordering::SeqCst);
            match log.read_after(self.position, 1000).await {
                Ok(events) if events.is_empty() && finished => return Ok(self),
                Ok(events) if !events.is_empty() => {
                    for event in &events {
                        self.add(event)?;
                    }
                }
                _ => tokio::time::sleep(READ_PAUSE).await,
            }
        }
    }
}

/// Counts events and money of every account, a page at a time.
struct Sums(&'static str);

impl Projection for Sums {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        self.0
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        events: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for event in events {
            let amount = match event.decode::<Account>()? {
                Some(AccountEvent::Deposited { amount, .. }) => amount,
                Some(AccountEvent::Withdrawn { amount }) => -amount,
                None => continue,
            };
            let (balance, count) = sums.entry(format!("{}/{}", self.0, event.stream_id)).or_default();
            (*balance, *count) = (*balance + amount, *count + 1);
        }
        let (accounts, sums): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        let (balances, counts): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        sqlx::query(
            "INSERT INTO balances SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) ON CONFLICT (account) \
             DO UPDATE SET balance = balances.balance + excluded.balance, events = balances.events + excluded.events",
        )
        .bind(accounts)
        .bind(balances)
        .bind(counts)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// What a projection of this name has made of the log.
async fn table(name: &str, owner: &mut PgConnection) -> Result<BTreeMap<String, (u64, i64)>, Violation> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT split_part(account, '/', 2), events, balance FROM balances WHERE split_part(account, '/', 1) = $1",
    )
    .bind(name)
    .fetch_all(owner)
    .await?;
    Ok(rows.into_iter().map(|(account, events, balance)| (account, (events as u64, balance))).collect())
}

/// Ends a session of a service now and then, whichever it is, until `calm`. Returns how many.
async fn end_sessions(url: String, calm: Arc<AtomicBool>) -> u64 {
    let mut ended = 0;
    while !calm.load(Ordering::SeqCst) {
        tokio::time::sleep(EXECUTION_PAUSE).await;
        let Ok(mut owner) = PgConnection::connect(&url).await else { continue };
        let cut: Result<i64, _> = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
              WHERE datname = current_database() AND application_name = 'ledger' ORDER BY random() LIMIT 1) one",
        )
        .fetch_one(&mut owner)
        .await;
        ended += cut.unwrap_or(0) as u64;
    }
    ended
}

/// The run as it goes on, seen from outside.
struct Run {
    url: String,
    total: i64,
    deadline: Instant,
}

impl Run {
    /// Waits until the log has come to `part` of its expected length; 0 to 1.
    async fn reaches(&self, part: f64) -> Verdict {
        self.grows_to((self.total as f64 * part) as i64).await
    }

    async fn grows_to(&self, position: i64) -> Verdict {
        let what = format!("the log comes to position {position}");
        self.until(&what, async || self.head().await >= position).await
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) -> Verdict {
        while !condition().await {
            hold!(Instant::now() < self.deadline, "not in time: {what}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    /// 0 while the database is away.
    async fn head(&self) -> i64 {
        let Ok(mut owner) = PgConnection::connect(&self.url).await else { return 0 };
        let head = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM eventlog.events");
        head.fetch_one(&mut owner).await.unwrap_or(0)
    }

    /// Stops the process that is ahead for a while, in which the other goes on: it waits for no lock of the stopped one.
    async fn goes_on_without_one_of(&self, writers: &[Writer]) -> Verdict {
        let ahead = writers.iter().max_by_key(|writer| writer.answers().len());
        let writer = ahead.expect("there are writers");
        writer.signal("STOP");
        let stopped = Instant::now();
        let position = self.head().await + 20 * EVENTS_EACH as i64;
        // The other may have come to its end before this one stood still.
        let mut others = writers.iter().filter(|other| !std::ptr::eq(*other, writer));
        let other = others.next().expect("there are two writers");
        let goes_on = async || self.head().await >= position || other.is_through();
        let grown = self.until("the other process goes on", goes_on).await;
        tokio::time::sleep(STOPPED.saturating_sub(stopped.elapsed())).await;
        writer.signal("CONT");
        grown
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_append_while_they_are_stopped_sessions_end_and_postgresql_restarts() {
    let cluster = Cluster::start().await;
    let database = TestDatabase::on(&cluster.url(), LOG, MIGRATIONS).await;
    endure(cluster, database).await.unwrap();
}

async fn endure(mut cluster: Cluster, database: TestDatabase) -> Verdict {
    let (commands, limit) = if is_long() { (COMMANDS_LONG, DEADLINE_LONG) } else { (COMMANDS, DEADLINE) };
    let expected = 2 * commands * 9 / 10 * EVENTS_EACH as usize;
    let begin = Instant::now();
    let run = Run { url: database.admin_url().to_owned(), total: expected as i64, deadline: begin + limit };
    let processor = processor(&database).await;
    for number in 0..SHARED_ACCOUNTS {
        processor.execute(deposit(&shared_account(number), SEED_CAPITAL), context()).await?;
    }

    let (done, calm) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let awake = tokio::spawn(Fold::default().follow(open(&database).await, done.clone()));
    let replica = Replica::start(&database).await;
    replica.subscriptions.project(Arc::new(replica.log.clone()), Sums("awake")).await?;
    // It reads what is there now, and then nothing for the whole run.
    let (drowsy, now) = (open(&database).await, Arc::new(AtomicBool::new(true)));
    let asleep = Fold::default().follow(drowsy.clone(), now.clone()).await?;

    let mut writers = [0, 1].map(|process| Writer::start(Plan { process, commands }, &database, None));
    // A process whose session ends while it opens the log does not start, and has nothing to go on with.
    run.until("both append", async || writers.iter().all(|writer| !writer.answers().is_empty())).await?;
    let executioner = tokio::spawn(end_sessions(run.url.clone(), calm.clone()));
    run.reaches(0.2).await?;
    run.goes_on_without_one_of(&writers).await?;
    run.reaches(0.4).await?;
    cluster.restart(Stop::Fast).await;
    run.reaches(0.6).await?;
    cluster.restart(Stop::Immediate).await;
    run.reaches(0.8).await?;
    run.goes_on_without_one_of(&writers).await?;
    for writer in &mut writers {
        let status = writer.end(run.deadline.saturating_duration_since(Instant::now())).await;
        hold!(status.success(), "{status}: {}", writer.said());
    }
    let appending = begin.elapsed();
    calm.store(true, Ordering::SeqCst);
    let ended = executioner.await?;
    done.store(true, Ordering::SeqCst);
    let awake = awake.await??;

    let waking = Instant::now();
    let asleep = asleep.follow(drowsy, now).await?;
    let waking = waking.elapsed();
    hold!(
        awake == asleep,
        "a reader that slept read something else: {} and {} events",
        awake.events,
        asleep.events
    );
    say(format!(
        "endurance: {} events of {} commands by two processes in {:.1} s ({:.0}/s) under 2 restarts of PostgreSQL, {ended} \
         ended sessions and 2 stopped processes; a reader that slept caught up in {:.1} s ({:.0}/s)",
        awake.events,
        2 * commands,
        appending.as_secs_f64(),
        awake.events as f64 / appending.as_secs_f64(),
        waking.as_secs_f64(),
        asleep.events as f64 / waking.as_secs_f64(),
    ));

    let mut owner = PgConnection::connect(&run.url).await?;
    let mut events = SHARED_ACCOUNTS as u64;
    let mut again = 0;
    for writer in &writers {
        let answers = writer.answers();
        events += writer.plan().verify(&answers, &mut owner).await?;
        again += answers.values().filter(|(_, replayed)| *replayed).count();
        let step = (commands / REPEATS).max(1);
        writer.plan().repeat(&answers, (0..commands).step_by(step), &processor).await?;
    }
    hold!(events == awake.events, "{events} events were answered for, and {} are in the log", awake.events);
    let shared = (0..SHARED_ACCOUNTS).map(|number| shared_account(number).to_string());
    let money: i64 = shared.map(|account| awake.accounts.get(&account).map_or(0, |(_, money)| *money)).sum();
    hold!(money == SHARED_ACCOUNTS as i64 * SEED_CAPITAL, "money appeared or vanished: {money}");

    // The same for projections.
    let catching_up = Instant::now();
    let late = replica.subscriptions.project(Arc::new(replica.log.clone()), Sums("late")).await?;
    let end = replica.log.position(awake.position);
    late.wait_for(&end, limit).await?;
    let catching_up = catching_up.elapsed();
    hold!(replica.subscriptions.caught_up(limit).await, "the projection that was awake does not catch up");
    for name in ["awake", "late"] {
        hold!(
            table(name, &mut owner).await? == awake.accounts,
            "the projection `{name}` is not the fold of the log"
        );
    }
    say(format!(
        "endurance: every answer is in the log once, {again} of them came at a repeat; both projections equal the fold, the \
         late one after {:.1} s ({:.0}/s)",
        catching_up.as_secs_f64(),
        awake.events as f64 / catching_up.as_secs_f64(),
    ));
    replica.stop().await;
    Ok(())
}
