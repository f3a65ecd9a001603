//! The workloads W1 to W4, the same for every library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::bail;
use sqlx::PgPool;

use crate::event::{ACCOUNTS, EVENTS_PER_ACCOUNT, account};
use crate::handled::Handled;
use crate::load::{Times, closed_loop, paced_loop, quantile};
use crate::peer::{Outcome, Peer};

const CLIENTS: usize = 32;
const DELAY_RATE: f64 = 200.0;
/// Streams that are filled at the same time.
const SEEDERS: u64 = 8;
/// The account of W3, which is none of the seeded ones.
const HOT: u64 = ACCOUNTS + 1;

pub async fn run<P: Peer>(what: &str, times: Times, peer: Arc<P>, pool: &PgPool) -> anyhow::Result<()> {
    match what {
        "w1" => {
            let (peer, conflicts) = (peer.clone(), Arc::new(AtomicU64::new(0)));
            let measured = closed_loop(times, CLIENTS, move |_, _| {
                let (peer, conflicts) = (peer.clone(), conflicts.clone());
                async move { persist(&conflicts, || peer.append(0)).await }
            })
            .await?;
            print("append", measured.per_second);
        }
        "w2" => commands(times, peer, ACCOUNTS, 0, "command").await?,
        "w3" => {
            peer.seed(account(HOT), EVENTS_PER_ACCOUNT).await?;
            commands(times, peer, 1, HOT, "hot").await?;
            let stale: i64 =
                sqlx::query_scalar(P::STALE).bind(account(HOT).to_string()).fetch_one(pool).await?;
            print("hot, stale decisions", stale as f64);
        }
        "w4" => w4(times, peer).await?,
        unknown => bail!("there is no work `{unknown}`"),
    }
    Ok(())
}

/// Fills in the accounts through the library.
pub async fn seed<P: Peer>(peer: Arc<P>) -> anyhow::Result<()> {
    let mut seeders = tokio::task::JoinSet::new();
    for seeder in 0..SEEDERS {
        let peer = peer.clone();
        seeders.spawn(async move {
            for number in (seeder..ACCOUNTS).step_by(SEEDERS as usize) {
                peer.seed(account(number), EVENTS_PER_ACCOUNT).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = seeders.join_next().await {
        ended??;
    }
    Ok(())
}

/// Tries until it is done, and counts how often somebody else was first.
async fn persist<Fut: Future<Output = anyhow::Result<Outcome>>>(
    conflicts: &AtomicU64,
    attempt: impl Fn() -> Fut,
) -> anyhow::Result<()> {
    while attempt().await? == Outcome::Conflict {
        conflicts.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn commands<P: Peer>(
    times: Times,
    peer: Arc<P>,
    accounts: u64,
    first: u64,
    name: &str,
) -> anyhow::Result<()> {
    let conflicts = Arc::new(AtomicU64::new(0));
    let counted = conflicts.clone();
    let measured = closed_loop(times, CLIENTS, move |client, round| {
        let (peer, conflicts) = (peer.clone(), counted.clone());
        let account = account(first + (client as u64 * 313 + round * 7919) % accounts);
        async move { persist(&conflicts, || peer.command(account)).await }
    })
    .await?;
    let conflicts = conflicts.load(Ordering::Relaxed) as f64;
    print(name, measured.per_second);
    print(&format!("{name}, failed attempts in 100"), 100.0 * conflicts / (conflicts + measured.done as f64));
    Ok(())
}

async fn w4<P: Peer>(times: Times, peer: Arc<P>) -> anyhow::Result<()> {
    let (handled, begun, seeded) =
        (Arc::new(Handled::default()), Instant::now(), ACCOUNTS * EVENTS_PER_ACCOUNT);
    let subscribes = peer.follow(handled.clone()).await?;
    let missing = handled.missing_of(seeded).await;
    anyhow::ensure!(missing == 0, "{missing} of {seeded} events did not come");
    print("replay", seeded as f64 / begun.elapsed().as_secs_f64());
    if !subscribes {
        return Ok(());
    }
    let from = handled.now() + times.warm_up.as_nanos() as u64;
    let conflicts = Arc::new(AtomicU64::new(0));
    let appended = paced_loop(times, DELAY_RATE, |_| {
        let (peer, conflicts, at) = (peer.clone(), conflicts.clone(), handled.now());
        async move { persist(&conflicts, || peer.append(at)).await }
    })
    .await?;
    let lost = handled.missing_of(seeded + appended.done).await;
    let delays = handled.delays(from);
    print("delay p50", quantile(&delays, 0.5));
    print("delay p99", quantile(&delays, 0.99));
    print("delay, lost", lost as f64);

    let (before, writer) = (handled.count(), peer.clone());
    let measured = closed_loop(times, CLIENTS, move |_, _| {
        let (peer, conflicts) = (writer.clone(), conflicts.clone());
        async move { persist(&conflicts, || peer.append(0)).await }
    })
    .await?;
    let wanted = before + measured.done;
    print("full speed", measured.per_second);
    print("full speed, lost", handled.missing_of(wanted).await as f64);
    print("repeated", handled.repeats() as f64);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is read by the program that calls this one")]
fn print(name: &str, value: f64) {
    println!("{name}\t{value}");
}
