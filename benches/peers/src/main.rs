//! `bench-peers LIBRARY WORK URL SECONDS`: one piece of work with one library on one database. Prints a figure a line, as
//! a name, a tab and a number; the benchmark program calls it and says what the names mean.

#[path = "../../src/event.rs"]
#[expect(dead_code, reason = "shared with the benchmarks of our log, which use the rest")]
mod event;
#[path = "../../src/handled.rs"]
mod handled;
#[path = "../../src/load.rs"]
#[expect(dead_code, reason = "shared with the benchmarks of our log, which use the rest")]
mod load;

mod disintegrate;
mod esrs;
mod peer;
mod postgres_es;
mod work;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use load::Times;

/// Connections of a library; all else is as sqlx has it.
const CONNECTIONS: u32 = 16;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, what, url, seconds] = arguments.as_slice() else {
        bail!("bench-peers LIBRARY WORK URL SECONDS");
    };
    let measured = Duration::from_secs_f64(seconds.parse().context("SECONDS is a number")?);
    let times = Times { warm_up: Duration::from_secs(1).min(measured / 3), measured };
    let options = PgConnectOptions::from_str(url)?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
    if what == "create" {
        return create(library, &pool).await;
    }
    match library.as_str() {
        "postgres-es" => {
            work::run(what, times, Arc::new(postgres_es::PostgresEs::open(pool.clone())), &pool).await
        }
        "disintegrate" => {
            work::run(what, times, Arc::new(disintegrate::Disintegrate::open(pool.clone())), &pool).await
        }
        "esrs" => work::run(what, times, Arc::new(esrs::Esrs::open(pool.clone()).await?), &pool).await,
        unknown => bail!("there is no library `{unknown}`"),
    }
}

/// Makes a library's tables, and fills in the accounts that W2 and the replay need.
async fn create(library: &str, pool: &PgPool) -> anyhow::Result<()> {
    match library {
        "postgres-es" => {
            sqlx::raw_sql(postgres_es::SCHEMA).execute(pool).await?;
            work::seed(Arc::new(postgres_es::PostgresEs::open(pool.clone()))).await?;
        }
        "disintegrate" => {
            sqlx::raw_sql(disintegrate::SCHEMA).execute(pool).await?;
            work::seed(Arc::new(disintegrate::Disintegrate::open(pool.clone()))).await?;
        }
        // It makes its tables itself.
        "esrs" => work::seed(Arc::new(esrs::Esrs::open(pool.clone()).await?)).await?,
        unknown => bail!("there is no library `{unknown}`"),
    }
    sqlx::raw_sql("VACUUM ANALYZE").execute(pool).await?;
    Ok(())
}

/// What every library's deposit carries: the common one, with the number of events that its decision had seen in place
/// of an amount, so that two decisions on the same state can be told.
pub fn deposit(account: uuid::Uuid, seen: i64, at: u64) -> event::Deposit {
    event::Deposit { amount: seen, ..event::Deposit::after(0, account, at) }
}
