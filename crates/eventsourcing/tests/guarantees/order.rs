//! Guarantee 2: the order of positions is the order of commits, so a reader that remembers one number misses nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use eventsourcing::*;
use sqlx::Executor;
use tokio_util::sync::CancellationToken;

use crate::harness::{CUT_OFF, Harness, Verdict, Violation};
use crate::support::*;

hold_on_a_sound_log!(
    what_commits_first_has_the_lower_position_also_when_a_transaction_is_held_open,
    a_tailing_reader_sees_every_event_once_and_in_stream_order_whatever_writers_do,
    what_another_process_appends_becomes_known_without_being_told,
);

/// Appends by turns: more than there are connections, so that each of them appends more than once.
const TURNS: usize = 20;

/// Appends to streams that are called gated wait for whoever holds the gate, after they drew their positions.
const GATE: &str = "
    CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(1);
        RETURN NEW;
    END $$;
    CREATE TRIGGER gate AFTER INSERT ON eventlog.events FOR EACH ROW
        WHEN (NEW.stream_id LIKE 'account-gated%') EXECUTE FUNCTION public.gate();";

/// Nothing is left to chance here: by turns first, and then one append that is overtaken if it can be.
pub async fn what_commits_first_has_the_lower_position_also_when_a_transaction_is_held_open(
    harness: &Harness,
) -> Verdict {
    let processors = [harness.processor().await, harness.processor().await];
    let mut last = 0;
    for turn in 0..TURNS {
        let stream = account(format!("turn-{turn}"));
        let done = processors[turn % 2].execute(deposit(&stream, 1), context()).await?;
        let position = done.position.number;
        hold!(position > last, "position {position} was committed after {last}");
        last = position;
    }

    harness.tamper(GATE).await;
    let mut owner = harness.owner().await;
    owner.execute("SELECT pg_advisory_lock(1)").await?;
    let [one, other] = processors;
    let early = tokio::spawn(async move { one.execute(deposit(&account("gated"), 1), context()).await });
    harness
        .within("the first append is held open", async || (waiting(&mut owner).await >= 1).then_some(()))
        .await?;
    let late = tokio::spawn(async move { other.execute(deposit(&account("late"), 1), context()).await });
    harness
        .within("the second append waits for the first, or overtakes it", async || {
            (late.is_finished() || waiting(&mut owner).await >= 2).then_some(())
        })
        .await?;

    let reader = harness.open().await;
    let before = reader.read_after(last, 10).await?;
    owner.execute("SELECT pg_advisory_unlock(1)").await?;
    early.await??;
    late.await??;
    let reached = before.last().map_or(last, |event| event.position);
    let after = reader.read_after(reached, 10).await?;
    let seen = before.len() + after.len();
    hold!(seen == 2, "a reader that had read up to {reached} saw {seen} of 2 events");
    Ok(())
}

/// How many sessions wait for an advisory lock of this database.
async fn waiting(owner: &mut sqlx::PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
          WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted",
    )
    .fetch_one(owner)
    .await
    .expect("the locks are listed")
}

/// Commands that are on their way at the same time.
const WRITERS: usize = 64;
/// Events of one command.
const EVENTS_EACH: usize = 10;

/// Writers that commit late, roll back, run long and are cut off, beside readers that tail: one in a process of its own,
/// one in a process that appends.
pub async fn a_tailing_reader_sees_every_event_once_and_in_stream_order_whatever_writers_do(
    harness: &Harness,
) -> Verdict {
    harness.tamper(SLOW_STREAMS).await;
    let (one, other) = (harness.processor().await, harness.processor().await);
    let done = Arc::new(AtomicBool::new(false));

    // A transaction that stays open over the whole run and sees an old snapshot of everything.
    let mut long = harness.owner().await;
    long.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM eventlog.events").await?;

    let logs = [harness.open().await, one.log().clone()];
    let readers = logs.map(|log| tokio::spawn(tail(log, done.clone())));
    let calm = Arc::new(AtomicBool::new(false));
    let executioner = harness.owner().await;
    let disturber = tokio::spawn(disturb(harness.processor().await, executioner, calm.clone()));

    let appended = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let processor = if writer.is_multiple_of(2) { one.clone() } else { other.clone() };
            tokio::spawn(write(processor, writer, appended.clone(), harness.events))
        })
        .collect();
    let mut wrong = Ok(());
    for writer in writers {
        wrong = wrong.and(writer.await?);
    }
    calm.store(true, Ordering::SeqCst);
    let (rolled_back, cut_off) = disturber.await??;
    done.store(true, Ordering::SeqCst);
    wrong?;
    long.execute("COMMIT").await?;
    let (stored, last): (i64, i64) =
        sqlx::query_as("SELECT count(*), max(position) FROM eventlog.events").fetch_one(&mut long).await?;
    for reader in readers {
        let seen = reader.await??;
        hold!(seen >= harness.events, "only {seen} events");
        hold!(seen as i64 == stored, "the reader saw {seen} of {stored} events");
    }
    hold!(rolled_back > 0 && cut_off > 0, "the writers were not disturbed");
    hold!(last > stored, "rollbacks left no holes, so nothing was tried");
    Ok(())
}

/// Reads to the end, and returns how many events there were.
async fn tail(log: EventLog, done: Arc<AtomicBool>) -> Result<usize, Violation> {
    let (mut position, mut seen) = (0, HashMap::<String, u64>::new());
    let mut count = 0;
    loop {
        let finished = done.load(Ordering::SeqCst);
        // Its connections are cut off too.
        let Ok(events) = log.read_after(position, 777).await else { continue };
        if events.is_empty() && finished {
            return Ok(count);
        }
        for event in events {
            hold!(event.position > position, "position {} after {position}", event.position);
            position = event.position;
            let version = seen.entry(event.stream_id.to_string()).or_default();
            let expected = *version + 1;
            hold!(
                event.version == expected,
                "version {} and not {expected} in {}",
                event.version,
                event.stream_id
            );
            *version = expected;
            count += 1;
        }
    }
}

async fn write(
    processor: CommandProcessor,
    writer: usize,
    appended: Arc<AtomicUsize>,
    events: usize,
) -> Verdict {
    let mut i = 0;
    while appended.load(Ordering::Relaxed) < events {
        // A few streams are shared by both processors, most belong to one writer.
        let stream = if i % 50 == 0 { account(format!("hot-{}", i % 3)) } else { account(writer) };
        match processor.execute(Deposits { stream, count: EVENTS_EACH as i64 }, context()).await {
            Ok(_) => drop(appended.fetch_add(EVENTS_EACH, Ordering::Relaxed)),
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error.into()),
        }
        i += 1;
    }
    Ok(())
}

/// Appends to streams that are called slow hold their transaction open for a while after they drew their positions, and
/// roll back when the stream is called refused.
const SLOW_STREAMS: &str = "
    CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(0.02);
        IF NEW.stream_id LIKE 'account-slow-refused-%' THEN
            RAISE EXCEPTION 'refused late';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER dawdle AFTER INSERT ON eventlog.events FOR EACH ROW
        WHEN (NEW.stream_id LIKE 'account-slow-%') EXECUTE FUNCTION public.dawdle();";

/// Appends that commit or roll back late, and processors that lose their connection. Returns how many rolled back and
/// how many were cut off.
async fn disturb(
    slow: CommandProcessor,
    mut executioner: sqlx::PgConnection,
    done: Arc<AtomicBool>,
) -> Result<(u32, i64), Violation> {
    let (mut rolled_back, mut cut_off) = (0, 0);
    for round in 0_u32.. {
        if done.load(Ordering::SeqCst) {
            break;
        }
        let kind = if round % 2 == 0 { "refused" } else { "kept" };
        match slow.execute(deposit(&account(format!("slow-{kind}-{round}")), 1), context()).await {
            Ok(_) => {}
            Err(ExecuteError::Refused(_)) => rolled_back += 1,
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error.into()),
        }
        if round % 5 == 0 {
            let sql = sqlx::AssertSqlSafe(format!("{CUT_OFF} AND query LIKE '%eventlog.append%'"));
            cut_off += sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut executioner).await?;
        }
    }
    Ok((rolled_back, cut_off))
}

pub async fn what_another_process_appends_becomes_known_without_being_told(harness: &Harness) -> Verdict {
    let (log, elsewhere) = (harness.open().await, harness.processor().await);
    let stop = CancellationToken::new();
    tokio::spawn(log.clone().follow(stop.clone()));
    let mut head = log.watch_head();
    let committed = elsewhere.execute(deposit(&account("a"), 1), context()).await?;
    let known = head.wait_for(|head| *head >= committed.position.number);
    tokio::time::timeout(harness.patience, known).await??;
    stop.cancel();
    Ok(())
}
