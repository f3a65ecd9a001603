//! The workloads of the event log. Each does the same to our log and to the sketch, in fresh databases of the same run,
//! and has the limits measured that its figures stand beside.

use std::sync::Arc;
use std::time::Instant;

use futures::future::try_join_all;

use crate::event::{EVENTS_PER_ACCOUNT, account};
use crate::figures::Unit;
use crate::handled::Handled;
use crate::limits::Limit;
use crate::load::{closed_loop, paced_loop, quantile};
use crate::ours::Ours;
use crate::run::Run;
use crate::sketch::Sketch;
use crate::store::Store;

/// Clients of a closed loop, unless a workload says another number.
pub const CLIENTS: usize = 32;
const MANY_CLIENTS: usize = 256;
/// Appends a second while the delay to the handler is measured.
const DELAY_RATE: f64 = 200.0;
/// Commands that are given at once to fill the cache.
const TOUCHED_AT_ONCE: u64 = 2000;
/// Accounts of a client that is alone.
const OWN_ACCOUNTS: u64 = 100;

/// Does a piece of work with our log and with the sketch, in turn before one another.
macro_rules! beside_the_floor {
    ($run:ident, $work:ident $(, $argument:expr)*) => {
        let first = $run.floor_first() && $run.options().floor;
        if first {
            $work::<Sketch>($run $(, $argument)*).await?;
        }
        $work::<Ours>($run $(, $argument)*).await?;
        if $run.options().floor && !first {
            $work::<Sketch>($run $(, $argument)*).await?;
        }
    };
}

/// W1: each client appends one event to a new stream, over and over.
pub async fn w1(run: &mut Run<'_>) -> anyhow::Result<()> {
    Limit::Insert.measure(run).await?;
    beside_the_floor!(run, appends, CLIENTS);
    Limit::InsertBatch.measure(run).await?;
    beside_the_floor!(run, appends, MANY_CLIENTS);
    Ok(())
}

async fn appends<S: Store>(run: &mut Run<'_>, clients: usize) -> anyhow::Result<()> {
    let database = run.databases().fresh(S::EMPTY).await?;
    let store = S::open(&database, true).await?;
    let measured = {
        let store = store.clone();
        closed_loop(run.times(), clients, move |_, _| {
            let store = store.clone();
            async move { store.append(0).await }
        })
        .await?
    };
    store.close().await;
    run.record(format!("w1/{clients}{}", S::OF), Unit::PerSecond, measured.per_second);
    run.record(format!("w1/{clients} p50{}", S::OF), Unit::Milliseconds, measured.quantile(0.5));
    run.record(format!("w1/{clients} p99{}", S::OF), Unit::Milliseconds, measured.quantile(0.99));
    run.databases().remove(database).await
}

/// W2: each client loads an account of 20 events, decides, and appends one; with all states in memory, and with none.
pub async fn w2(run: &mut Run<'_>) -> anyhow::Result<()> {
    Limit::Cycle.measure(run).await?;
    beside_the_floor!(run, commands, true);
    beside_the_floor!(run, commands, false);
    Ok(())
}

async fn commands<S: Store>(run: &mut Run<'_>, cached: bool) -> anyhow::Result<()> {
    let database = run.databases().fresh(S::seeded(run.options().accounts)).await?;
    let store = S::open(&database, cached).await?;
    if cached {
        touch(&store, run.options().accounts).await?;
    }
    let measured = command_loop(run, &store, CLIENTS, run.options().accounts).await?;
    store.close().await;
    let name = if cached { "w2/warm" } else { "w2/cold" };
    run.record(format!("{name}{}", S::OF), Unit::PerSecond, measured.per_second);
    run.record(format!("{name} p50{}", S::OF), Unit::Milliseconds, measured.quantile(0.5));
    run.databases().remove(database).await
}

/// Looks at every account once, so that the states are in memory.
pub async fn touch<S: Store>(store: &S, accounts: u64) -> anyhow::Result<()> {
    for first in (0..accounts).step_by(TOUCHED_AT_ONCE as usize) {
        let some = first..accounts.min(first + TOUCHED_AT_ONCE);
        try_join_all(some.map(|number| store.command(account(number)))).await?;
    }
    Ok(())
}

/// Commands on accounts that are drawn evenly.
pub async fn command_loop<S: Store>(
    run: &Run<'_>,
    store: &S,
    clients: usize,
    accounts: u64,
) -> anyhow::Result<crate::load::Measured> {
    let store = store.clone();
    closed_loop(run.times(), clients, move |client, round| {
        let store = store.clone();
        // Steps that share no divisor with the number of accounts visit all of them.
        let number = (client as u64 * 313 + round * 7919) % accounts;
        async move { store.command(account(number)).await }
    })
    .await
}

/// W3: all clients work on one stream.
pub async fn w3(run: &mut Run<'_>) -> anyhow::Result<()> {
    Limit::Insert.measure(run).await?;
    beside_the_floor!(run, hot_stream);
    if !run.has("w1/32") {
        appends::<Ours>(run, CLIENTS).await?;
    }
    Ok(())
}

async fn hot_stream<S: Store>(run: &mut Run<'_>) -> anyhow::Result<()> {
    let database = run.databases().fresh(S::seeded(run.options().accounts)).await?;
    let store = S::open(&database, true).await?;
    let measured = command_loop(run, &store, CLIENTS, 1).await?;
    store.close().await;
    run.record(format!("w3{}", S::OF), Unit::PerSecond, measured.per_second);
    run.databases().remove(database).await
}

/// One client, whose streams are in memory.
pub async fn one(run: &mut Run<'_>) -> anyhow::Result<()> {
    Limit::InsertAlone.measure(run).await?;
    beside_the_floor!(run, alone);
    Ok(())
}

async fn alone<S: Store>(run: &mut Run<'_>) -> anyhow::Result<()> {
    let database = run.databases().fresh(S::seeded(run.options().accounts)).await?;
    let store = S::open(&database, true).await?;
    touch(&store, OWN_ACCOUNTS).await?;
    let measured = command_loop(run, &store, 1, OWN_ACCOUNTS).await?;
    store.close().await;
    run.record(format!("one/p50{}", S::OF), Unit::Milliseconds, measured.quantile(0.5));
    run.record(format!("one/p99{}", S::OF), Unit::Milliseconds, measured.quantile(0.99));
    run.databases().remove(database).await
}

/// W4: a subscription replays the log; then it follows appends at a steady rate, and at full speed.
pub async fn w4(run: &mut Run<'_>) -> anyhow::Result<()> {
    beside_the_floor!(run, replay);
    read_model(run).await?;
    beside_the_floor!(run, delay);
    beside_the_floor!(run, full_speed);
    Ok(())
}

async fn replay<S: Store>(run: &mut Run<'_>) -> anyhow::Result<()> {
    let database = run.databases().fresh(S::seeded(run.options().accounts)).await?;
    let store = S::open(&database, true).await?;
    let (handled, begun) = (Arc::new(Handled::default()), Instant::now());
    store.follow(handled.clone()).await?;
    ensure_all(&handled, run.options().accounts * EVENTS_PER_ACCOUNT).await?;
    let per_second = handled.count() as f64 / begun.elapsed().as_secs_f64();
    store.close().await;
    run.record(format!("w4/replay{}", S::OF), Unit::PerSecond, per_second);
    run.databases().remove(database).await
}

async fn read_model(run: &mut Run<'_>) -> anyhow::Result<()> {
    let database = run.databases().fresh(Ours::seeded(run.options().accounts)).await?;
    let store = Ours::open(&database, true).await?;
    let (handled, begun) = (Arc::new(Handled::default()), Instant::now());
    store.project_balances(handled.clone()).await?;
    ensure_all(&handled, run.options().accounts * EVENTS_PER_ACCOUNT).await?;
    let per_second = handled.count() as f64 / begun.elapsed().as_secs_f64();
    store.close().await;
    run.record("w4/replay into a table", Unit::PerSecond, per_second);
    run.databases().remove(database).await
}

async fn delay<S: Store>(run: &mut Run<'_>) -> anyhow::Result<()> {
    let database = run.databases().fresh(S::EMPTY).await?;
    let store = S::open(&database, true).await?;
    let handled = Arc::new(Handled::default());
    store.follow(handled.clone()).await?;
    let from = handled.now() + run.times().warm_up.as_nanos() as u64;
    let appended = paced_loop(run.times(), DELAY_RATE, |_| {
        let (store, at) = (store.clone(), handled.now());
        async move { store.append(at).await }
    })
    .await?;
    ensure_all(&handled, appended.done).await?;
    let delays = handled.delays(from);
    store.close().await;
    run.record(format!("w4/delay p50{}", S::OF), Unit::Milliseconds, quantile(&delays, 0.5));
    run.record(format!("w4/delay p99{}", S::OF), Unit::Milliseconds, quantile(&delays, 0.99));
    run.databases().remove(database).await
}

async fn full_speed<S: Store>(run: &mut Run<'_>) -> anyhow::Result<()> {
    let mut rates = [0.0; 2];
    for (rate, followed) in rates.iter_mut().zip([false, true]) {
        let database = run.databases().fresh(S::EMPTY).await?;
        let store = S::open(&database, true).await?;
        let handled = Arc::new(Handled::default());
        if followed {
            store.follow(handled.clone()).await?;
        }
        let appending = store.clone();
        let measured = closed_loop(run.times(), CLIENTS, move |_, _| {
            let store = appending.clone();
            async move { store.append(0).await }
        })
        .await?;
        *rate = measured.per_second;
        if followed {
            let behind = measured.done.saturating_sub(handled.count());
            run.record(format!("w4/behind at the end{}", S::OF), Unit::Count, behind as f64);
            let lost = handled.missing_of(measured.done).await + handled.repeats();
            run.record(format!("w4/lost or repeated{}", S::OF), Unit::Count, lost as f64);
            anyhow::ensure!(lost == 0, "{lost} of {} events were lost or came twice", measured.done);
        }
        store.close().await;
        run.databases().remove(database).await?;
    }
    run.record(format!("w4/full speed, alone{}", S::OF), Unit::PerSecond, rates[0]);
    run.record(format!("w4/full speed{}", S::OF), Unit::PerSecond, rates[1]);
    Ok(())
}

async fn ensure_all(handled: &Handled, wanted: u64) -> anyhow::Result<()> {
    let missing = handled.missing_of(wanted).await;
    let repeats = handled.repeats();
    anyhow::ensure!(missing == 0, "{missing} of {wanted} events did not come");
    anyhow::ensure!(repeats == 0, "{repeats} events came twice");
    Ok(())
}
