//! The floor: the least code that has the shape of our event log, so that every figure of ours has a neighbour that does
//! almost nothing but the work itself. Commands queue in front of one processor, which decides all that wait and appends
//! them in one call of a function that takes a lock, looks every command id up, checks every version and stores every
//! answer. It is no store to use: nothing is decided anew after a conflict, and the first failure ends it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, Row};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::databases::{Database, Template, sql};
use crate::event::{self, Deposit, EVENTS_PER_ACCOUNT, METADATA, account};
use crate::handled::Handled;
use crate::store::Store;

/// The plain table, which pgbench uses too, and the append.
pub const SCHEMA: &str = r#"
CREATE TABLE events (
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id   uuid   NOT NULL,
    version     bigint NOT NULL,
    type        text   NOT NULL,
    data        jsonb  NOT NULL,
    metadata    jsonb  NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stream_id, version)
);
CREATE TABLE command_results (
    scope        text   NOT NULL,
    command_id   uuid   NOT NULL,
    request_hash bigint NOT NULL,
    outcome      jsonb  NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, command_id)
);
CREATE FUNCTION append(commands uuid[], streams uuid[], versions bigint[], data text[], metadata text[],
                       read_streams uuid[], read_versions bigint[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7);
    IF EXISTS (SELECT FROM unnest(commands) AS c(id), LATERAL (
                   SELECT FROM command_results r WHERE r.scope = 'bench' AND r.command_id = c.id LIMIT 1) known)
       OR EXISTS (SELECT FROM unnest(read_streams, read_versions) AS r(id, version)
                   WHERE r.version <> COALESCE((SELECT e.version FROM events e WHERE e.stream_id = r.id
                                                 ORDER BY e.version DESC LIMIT 1), 0)) THEN
        RETURN false;
    END IF;
    INSERT INTO command_results (scope, command_id, request_hash, outcome)
    SELECT 'bench', c.id, 1, '{"ok": true}' FROM unnest(commands) AS c(id);
    INSERT INTO events (stream_id, version, type, data, metadata)
    SELECT e.stream, e.version, 'Deposited', e.data::jsonb, e.metadata::jsonb
      FROM unnest(streams, versions, data, metadata) AS e(stream, version, data, metadata);
    RETURN true;
END $$;
"#;

/// Commands that may wait.
const QUEUE: usize = 4096;
/// Commands that are appended together at most.
const BATCH: usize = 512;
/// Events read at once by the subscription.
const PAGE: i64 = 5000;
/// How often the subscription looks unasked.
const POLL: Duration = Duration::from_millis(100);

enum Work {
    /// One event to a new stream, with its data.
    Append(Uuid, String),
    /// Load, decide, append one.
    Command(Uuid),
}

#[derive(Clone, Copy, Default)]
struct Balance {
    version: i64,
    amount: i64,
}

type Job = (Work, oneshot::Sender<()>);

#[derive(Clone)]
pub struct Sketch {
    options: PgConnectOptions,
    queue: mpsc::Sender<Job>,
    /// Counts batches: the bell of subscriptions.
    appended: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Store for Sketch {
    const OF: &'static str = "/floor";
    const EMPTY: Template = Template::Plain;

    fn seeded(accounts: u64) -> Template {
        Template::PlainWith(accounts * EVENTS_PER_ACCOUNT)
    }

    async fn open(database: &Database, cached: bool) -> anyhow::Result<Self> {
        let options: PgConnectOptions = database.url.parse()?;
        let options = options.options([("plan_cache_mode", "force_generic_plan")]);
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (bell, appended) = watch::channel(0);
        let processor =
            Processor { connection: options.connect().await?, states: HashMap::new(), cached, bell };
        // Its failure reaches the clients as answers that do not come.
        tokio::spawn(processor.run(jobs));
        Ok(Self { options, queue, appended, stop: CancellationToken::new() })
    }

    async fn append(&self, at: u64) -> anyhow::Result<()> {
        let stream = Uuid::now_v7();
        self.execute(Work::Append(stream, Deposit::after(0, stream, at).json())).await
    }

    async fn command(&self, account: Uuid) -> anyhow::Result<()> {
        self.execute(Work::Command(account)).await
    }

    async fn follow(&self, handled: Arc<Handled>) -> anyhow::Result<()> {
        let connection = self.options.connect().await?;
        let (appended, stop) = (self.appended.clone(), self.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            // When it ends early, events are missing in `handled`, which whoever waits for them says.
            let _ = follow(connection, appended, handled).await;
        }));
        Ok(())
    }

    async fn close(self) {
        self.stop.cancel();
    }
}

impl Sketch {
    async fn execute(&self, work: Work) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((work, answer)).await.ok().context("the sketch has stopped")?;
        answered.await.context("the sketch has failed")
    }
}

struct Processor {
    connection: PgConnection,
    states: HashMap<Uuid, Balance>,
    cached: bool,
    bell: watch::Sender<u64>,
}

/// What one call of the append takes.
#[derive(Default)]
struct Batch {
    commands: Vec<Uuid>,
    streams: Vec<Uuid>,
    versions: Vec<i64>,
    data: Vec<String>,
    read: HashMap<Uuid, i64>,
}

impl Batch {
    fn push(&mut self, stream: Uuid, version: i64, data: String) {
        self.commands.push(Uuid::now_v7());
        self.streams.push(stream);
        self.versions.push(version);
        self.data.push(data);
        self.read.entry(stream).or_insert(version - 1);
    }
}

impl Processor {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> anyhow::Result<()> {
        let mut waiting = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut waiting, BATCH).await > 0 {
            self.load(&waiting).await?;
            let mut batch = Batch::default();
            let mut answers = Vec::with_capacity(waiting.len());
            for (work, answer) in waiting.drain(..) {
                self.decide(work, &mut batch);
                answers.push(answer);
            }
            self.append(batch).await?;
            self.bell.send_modify(|batches| *batches += 1);
            if !self.cached {
                self.states.clear();
            }
            for answer in answers {
                // Whoever does not wait any more needs no answer.
                let _ = answer.send(());
            }
        }
        Ok(())
    }

    async fn load(&mut self, waiting: &[Job]) -> anyhow::Result<()> {
        let mut missing: Vec<Uuid> = waiting
            .iter()
            .filter_map(|(work, _)| match work {
                Work::Command(account) if !self.states.contains_key(account) => Some(*account),
                _ => None,
            })
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let select = "SELECT stream_id, version, data::text FROM events WHERE stream_id = ANY($1) \
                       ORDER BY stream_id, version";
        for row in sqlx::query(select).bind(missing).fetch_all(&mut self.connection).await? {
            let deposit: Deposit = serde_json::from_str(row.try_get(2)?)?;
            let state = self.states.entry(row.try_get(0)?).or_default();
            state.version = row.try_get(1)?;
            state.amount += deposit.amount;
        }
        Ok(())
    }

    fn decide(&mut self, work: Work, batch: &mut Batch) {
        match work {
            Work::Append(stream, data) => batch.push(stream, 1, data),
            Work::Command(account) => {
                let state = self.states.entry(account).or_default();
                let deposit = Deposit::after(state.amount, account, 0);
                state.version += 1;
                state.amount += deposit.amount;
                batch.push(account, state.version, deposit.json());
            }
        }
    }

    async fn append(&mut self, batch: Batch) -> anyhow::Result<()> {
        let metadata = vec![METADATA; batch.streams.len()];
        let (read_streams, read_versions): (Vec<Uuid>, Vec<i64>) = batch.read.into_iter().unzip();
        let appended: bool = sqlx::query_scalar("SELECT append($1, $2, $3, $4, $5, $6, $7)")
            .bind(batch.commands)
            .bind(batch.streams)
            .bind(batch.versions)
            .bind(batch.data)
            .bind(metadata)
            .bind(read_streams)
            .bind(read_versions)
            .fetch_one(&mut self.connection)
            .await?;
        anyhow::ensure!(appended, "somebody else writes too");
        Ok(())
    }
}

async fn follow(
    mut connection: PgConnection,
    mut appended: watch::Receiver<u64>,
    handled: Arc<Handled>,
) -> anyhow::Result<()> {
    let select = "SELECT position, data::text FROM events WHERE position > $1 ORDER BY position LIMIT $2";
    let mut place = 0_i64;
    loop {
        appended.mark_unchanged();
        let rows = sqlx::query(select).bind(place).bind(PAGE).fetch_all(&mut connection).await?;
        if rows.is_empty() {
            let _ = tokio::time::timeout(POLL, appended.changed()).await;
        }
        for row in rows {
            let deposit: Deposit = serde_json::from_str(row.try_get(1)?)?;
            place = row.try_get(0)?;
            handled.on(place, deposit.at);
        }
    }
}

/// Fills the empty tables with so many events, and the answer to the command of each.
pub fn seed_sql(events: u64) -> [String; 2] {
    let data = sql(&Deposit::after(0, account(0), 0).json());
    let (numbered, template) = (event::numbered_sql(events), account(0));
    let events = format!(
        "INSERT INTO events (stream_id, version, type, data, metadata)
         SELECT account, version, 'Deposited', replace({data}, '{template}', account::text)::jsonb, {} FROM {numbered}",
        sql(METADATA)
    );
    let results = format!(
        "INSERT INTO command_results (scope, command_id, request_hash, outcome)
         SELECT 'bench', {}, 1, '{{\"ok\": true}}' FROM {numbered}",
        event::id_sql('8')
    );
    [events, results]
}
