//! How figures change as logs grow: appends, commands and the time to an order's confirmation with 10^4 to 10^7 events.
//! What is in the logs is written past the append, and stands in the read models and answers too where there are some.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::databases::Template;
use crate::event::{ACCOUNTS, EVENTS_PER_ACCOUNT};
use crate::event_log::{CLIENTS, command_loop, touch};
use crate::figures::Unit;
use crate::load::closed_loop;
use crate::orders;
use crate::ours::Ours;
use crate::run::Run;
use crate::shop::{Data, SERVICES, Shop};
use crate::store::Store;

/// Events in the log, as powers of ten.
pub const POWERS: [u32; 3] = [4, 5, 6];
/// The further one with `--long`.
pub const LONG_POWER: u32 = 7;
/// From this power on a database is not copied for every measurement: what one adds to it is little.
const SHARED_FROM: u32 = 7;
/// How long the first order's saga may take to its end.
const SETTLED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// W1, W2 and order latency by the number of events in the log.
pub async fn growth(run: &mut Run<'_>) -> anyhow::Result<()> {
    let long = run.options().long.then_some(LONG_POWER);
    for power in POWERS.into_iter().chain(long) {
        log(run, power).await?;
        if run.shop().is_ok() {
            order_latency(run, power).await?;
        }
    }
    Ok(())
}

async fn log(run: &mut Run<'_>, power: u32) -> anyhow::Result<()> {
    let events = 10_u64.pow(power);
    let accounts = (events / EVENTS_PER_ACCOUNT).min(ACCOUNTS);
    let template = Template::LogWith(events);
    for (name, commands) in [("append", false), ("command", true)] {
        let shared = power >= SHARED_FROM;
        let databases = run.databases();
        let database =
            if shared { databases.shared(template).await? } else { databases.fresh(template).await? };
        let store = Ours::open(&database, true).await?;
        let measured = if commands {
            touch(&store, accounts).await?;
            command_loop(run, &store, CLIENTS, accounts).await?
        } else {
            let store = store.clone();
            closed_loop(run.times(), CLIENTS, move |_, _| {
                let store = store.clone();
                async move { store.append(0).await }
            })
            .await?
        };
        store.close().await;
        run.record(figure(name, power), Unit::PerSecond, measured.per_second);
        if !shared {
            databases.remove(database).await?;
        }
    }
    Ok(())
}

/// The name of a figure at a size.
pub fn figure(name: &str, power: u32) -> String {
    format!("growth/10^{power}/{name}")
}

async fn order_latency(run: &mut Run<'_>, power: u32) -> anyhow::Result<()> {
    let mut grown = run.setup().grown_shops.lock().await;
    if let std::collections::btree_map::Entry::Vacant(vacant) = grown.entry(power) {
        let data = Data::new()?;
        fill(run, &data, 10_u64.pow(power)).await.context("the shop's logs cannot be filled")?;
        vacant.insert(data);
    }
    let data = grown.get(&power).context("it was just filled")?;
    let shop = Shop::start(run.shop()?, data).await?;
    orders::alone(run, &shop.rest, &figure("order", power)).await?;
    shop.stop().await
}

/// Makes a shop whose logs have so many events together: one order is placed, and then multiplied in the logs and read
/// models of all services while the shop does not run.
async fn fill(run: &Run<'_>, data: &Data, events: u64) -> anyhow::Result<()> {
    let shop = Shop::start(run.shop()?, data).await?;
    shop.stock().await?;
    let order = orders::order(&shop.rest, 0).await?.id;
    let mut databases = Vec::new();
    for service in SERVICES {
        databases.push((service, shop.database(service).await?));
    }
    let per_order = settled(&mut databases, &order).await?;
    shop.kill().await?;
    let mut heads = Vec::new();
    for (service, database) in &mut databases {
        multiply(database, &order, events / per_order)
            .await
            .with_context(|| format!("the service {service}"))?;
        let head: i64 = sqlx::query_scalar("SELECT COALESCE(max(position), 0) FROM eventlog.events")
            .fetch_one(&mut *database)
            .await?;
        heads.push((*service, head));
    }
    for (_, mut database) in databases {
        for (log, head) in &heads {
            sqlx::query("UPDATE eventsourcing.checkpoints SET position = $2 WHERE log = $1")
                .bind(log)
                .bind(head)
                .execute(&mut database)
                .await?;
        }
        sqlx::raw_sql("VACUUM ANALYZE").execute(&mut database).await?;
        database.close().await?;
    }
    Ok(())
}

/// Waits until the order's saga has ended. Returns how many events the order has in all logs.
async fn settled(databases: &mut [(&str, PgConnection)], order: &str) -> anyhow::Result<u64> {
    let begun = Instant::now();
    loop {
        let (mut events, mut ended) = (0_i64, false);
        for (_, database) in databases.iter_mut() {
            let row = sqlx::query(
                "SELECT count(*), COALESCE(bool_or(type = 'SagaEnded'), false) FROM eventlog.events \
                  WHERE stream_id LIKE '%' || $1",
            )
            .bind(order)
            .fetch_one(&mut *database)
            .await?;
            events += row.try_get::<i64, _>(0)?;
            ended |= row.try_get::<bool, _>(1)?;
        }
        if ended {
            return Ok(events.unsigned_abs().max(1));
        }
        ensure!(begun.elapsed() < SETTLED, "the saga of the first order does not end");
        tokio::time::sleep(LOOK).await;
    }
}

/// Repeats whatever one service keeps of an order, under further ids: every id in a row gets other first digits, the same
/// in all rows of one further order, so that they belong together as those of the first do.
async fn multiply(database: &mut PgConnection, order: &str, times: u64) -> anyhow::Result<()> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname NOT LIKE '\\_%'",
    )
    .fetch_all(&mut *database)
    .await?;
    let of_order = format!("to_jsonb(t)::text LIKE '%{order}%'");
    let stream = format!("stream_id LIKE '%{order}'");
    let mut parts: Vec<(String, String)> =
        tables.into_iter().map(|table| (format!("public.{table}"), of_order.clone())).collect();
    // Results before events: which commands are the first order's is asked of its events.
    let of_command = format!("command_id IN (SELECT command_id FROM eventlog.events WHERE {stream})");
    parts.push(("eventlog.command_results".to_owned(), of_command));
    parts.push(("eventlog.events".to_owned(), stream));
    for (table, condition) in parts {
        let any: bool = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT EXISTS (SELECT FROM {table} t WHERE {condition})"
        )))
        .fetch_one(&mut *database)
        .await?;
        if any {
            sqlx::raw_sql(AssertSqlSafe(multiplied(&table, &condition, times)))
                .execute(&mut *database)
                .await?;
        }
    }
    Ok(())
}

/// Stands in a text where an id's first digits were.
const DIGITS: &str = "@@@@@@@@";

/// Ids stand alone or within texts, with dashes or behind `sim_`. The numbers stay below the first digits of real ids,
/// which are a time.
fn multiplied(table: &str, condition: &str, times: u64) -> String {
    let id = r"[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})";
    // The places of the digits are looked for once, and not in every copy.
    format!(
        r"INSERT INTO {table} OVERRIDING USER VALUE
          SELECT r.* FROM generate_series(1, {times}) n
           CROSS JOIN (SELECT regexp_replace(regexp_replace(to_jsonb(t)::text, '{id}', '{DIGITS}\1', 'g'),
                                             'sim_[0-9a-f]{{8}}', 'sim_{DIGITS}', 'g') AS text,
                              (to_jsonb(t) ->> 'version')::bigint AS version
                         FROM {table} t WHERE {condition} OFFSET 0) one
           CROSS JOIN LATERAL jsonb_populate_record(NULL::{table},
                   replace(one.text, '{DIGITS}', lpad(to_hex(n), 8, '0'))::jsonb) r
           ORDER BY n, one.version"
    )
}
