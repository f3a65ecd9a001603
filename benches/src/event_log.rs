//! Appends, commands, a hot stream, one client alone, replay and tail, beside pgbench on plain tables.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventsourcing::{CommandProcessor, Feed};
use futures::future::try_join_all;
use uuid::Uuid;

use crate::ledger::{Account, AccountEvent, context, deposit, fresh_log, processor};
use crate::limits::{self, Limits};
use crate::load::{closed_loop, quantile};
use crate::{CLIENTS, Environment, figure, rate, time};

const STREAMS: u64 = 10_000;
const PER_STREAM: u64 = 20;
const REPLAYED: usize = STREAMS as usize * PER_STREAM as usize;
/// Appends a second while the tail is measured.
const TAIL_RATE: u64 = 200;
const TAIL_EVENTS: u64 = 2000;
const CACHED: usize = 20_000;

pub async fn run(environment: &Environment) -> anyhow::Result<()> {
    let limits = limits::measure(environment).await?;
    appends(environment, &limits).await?;
    hot_stream(environment, &limits).await?;
    alone(environment, &limits).await?;

    let log = fresh_log(&environment.server, "bench_commands").await?;
    seed(&processor(&log, CACHED)).await?;
    replay(&log).await?;
    for (what, cached) in
        [("load 20, decide, append; states cached", CACHED), ("load 20, decide, append; nothing cached", 0)]
    {
        let commands = processor(&log, cached);
        // Warm states are what is measured, so every stream is looked at once before.
        if cached > 0 {
            touch_all(&commands).await?;
        }
        let measured = closed_loop(CLIENTS, move |client, round| {
            let commands = commands.clone();
            async move {
                let stream = (round.wrapping_mul(31).wrapping_add(client as u64 * 313)) % STREAMS;
                commands.execute(deposit(&key(stream), 0), context()).await?;
                Ok(())
            }
        })
        .await?;
        rate(what, measured.per_second, limits.cycle, "pgbench, the same in plain SQL");
    }
    tail(environment).await
}

async fn appends(environment: &Environment, limits: &Limits) -> anyhow::Result<()> {
    for clients in [CLIENTS, 256] {
        let commands = processor(&fresh_log(&environment.server, "bench_appends").await?, CACHED);
        let measured = closed_loop(clients, move |_, _| {
            let commands = commands.clone();
            async move {
                let key = Uuid::now_v7().simple().to_string();
                commands.execute(deposit(&key, 0), context()).await?;
                Ok(())
            }
        })
        .await?;
        let what = format!("append 1 event to a new stream, {clients} clients");
        rate(&what, measured.per_second, limits.insert, "pgbench, one row, 32 clients");
        figure("  p50, p99", &format!("{:.2}, {:.2} ms", measured.quantile(0.5), measured.quantile(0.99)));
    }
    Ok(())
}

async fn hot_stream(environment: &Environment, limits: &Limits) -> anyhow::Result<()> {
    let commands = processor(&fresh_log(&environment.server, "bench_hot").await?, CACHED);
    let measured = closed_loop(CLIENTS, move |_, _| {
        let commands = commands.clone();
        async move {
            commands.execute(deposit("hot", 0), context()).await?;
            Ok(())
        }
    })
    .await?;
    rate(
        "commands on one stream, 32 clients",
        measured.per_second,
        limits.insert,
        "pgbench, one row, 32 clients",
    );
    Ok(())
}

async fn alone(environment: &Environment, limits: &Limits) -> anyhow::Result<()> {
    let commands = processor(&fresh_log(&environment.server, "bench_alone").await?, CACHED);
    let measured = closed_loop(1, move |_, round| {
        let commands = commands.clone();
        async move {
            commands.execute(deposit(&(round % 100).to_string(), 0), context()).await?;
            Ok(())
        }
    })
    .await?;
    let ours = measured.quantile(0.5);
    time("one client's command, p50", ours, limits.insert_alone_ms, "pgbench, one row, one client (mean)");
    Ok(())
}

fn key(stream: u64) -> String {
    // Spread over the key space, so that the index is not filled in order.
    format!("{:016x}", stream.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

async fn seed(commands: &CommandProcessor) -> anyhow::Result<()> {
    for _ in 0..PER_STREAM {
        touch_all(commands).await?;
    }
    Ok(())
}

async fn touch_all(commands: &CommandProcessor) -> anyhow::Result<()> {
    let streams: Vec<String> = (0..STREAMS).map(key).collect();
    for some in streams.chunks(2000) {
        try_join_all(some.iter().map(|key| commands.execute(deposit(key, 0), context()))).await?;
    }
    Ok(())
}

async fn replay(log: &eventsourcing::EventLog) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut position, mut count, mut sum) = (0, 0, 0);
    while count < REPLAYED {
        let page = log.read(position, 5000).await?;
        position = page.up_to;
        for event in &page.messages {
            if let Some(AccountEvent::Deposited { amount, .. }) = event.decode::<Account>()? {
                sum += amount;
                count += 1;
            }
        }
    }
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    figure(&format!("replay {count} events into a counter ({sum})"), &format!("{per_second:.0}/s"));
    Ok(())
}

/// From the call of append to the handler, in the same process, at a steady rate.
async fn tail(environment: &Environment) -> anyhow::Result<()> {
    let log = fresh_log(&environment.server, "bench_tail").await?;
    let commands = processor(&log, CACHED);
    let epoch = Instant::now();
    let reader = {
        let log = Arc::new(log);
        tokio::spawn(async move {
            let (mut position, mut lags) = (0, Vec::new());
            let mut head = log.watch_head();
            while lags.len() < TAIL_EVENTS as usize {
                let page = log.read(position, 500).await?;
                if page.messages.is_empty() {
                    head.wait_for(|head| *head > position).await?;
                }
                position = page.up_to;
                for event in page.messages {
                    if let Some(AccountEvent::Deposited { at, .. }) = event.decode::<Account>()? {
                        lags.push(epoch.elapsed().saturating_sub(Duration::from_nanos(at as u64)));
                    }
                }
            }
            anyhow::Ok(lags)
        })
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / TAIL_RATE as u32);
    for i in 0..TAIL_EVENTS {
        ticks.tick().await;
        let commands = commands.clone();
        tokio::spawn(async move {
            let at = epoch.elapsed().as_nanos() as i64;
            commands.execute(deposit(&i.to_string(), at), context()).await
        });
    }
    let mut lags = reader.await??;
    lags.sort_unstable();
    let (p50, p99) = (quantile(&lags, 0.5), quantile(&lags, 0.99));
    figure(&format!("append to handler at {TAIL_RATE}/s, p50, p99"), &format!("{p50:.2}, {p99:.2} ms"));
    Ok(())
}
