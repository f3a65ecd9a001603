//! The processor's loop. Two connections take turns: while one batch is being appended, the next is decided on
//! its states and sent, so that the database need not wait for this process nor this process for the database.
//! What the second batch stands on is checked by the database like everything else; when the first fails, both
//! are decided anew, one after the other.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use lru::LruCache;
use metrics::{Counter, Histogram};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::ProcessorOptions;
use super::batch::{Decided, Forming, Jobs, Loaded, without_repeats};
use super::job::{Job, Verdict};
use crate::fault;
use crate::log::{AppendConnection, AppendError, Appended, EventLog, KnownCommand};
use crate::operation::{States, Versioned};
use crate::snapshot;
use crate::stream::StreamId;

/// Batches that are with the database at the same time: one that it appends, and one that waits for the lock.
const IN_FLIGHT: usize = 2;
/// Pause before a batch is submitted again while the database is away.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often other tasks get their turn before a batch is closed. Callers that were just answered often come
/// again at once, and the fixed costs of an append are worth some 20 events. One that comes alone does not wait.
const GATHERINGS: usize = 3;
/// So many commands that wait while nothing is under way are appended in two halves, of which one is prepared while
/// the other is written. With fewer, the fixed costs of a second append outweigh what the turns bring.
const WORTH_HALVING: usize = 64;

type Finished<T, E> = BoxFuture<'static, (AppendConnection, Result<T, E>)>;

pub(super) struct Worker {
    log: EventLog,
    options: ProcessorOptions,
    cache: Option<LruCache<StreamId, Versioned>>,
    /// Connections without work, the one used last on top.
    idle: Vec<AppendConnection>,
    /// Batches that are being appended, the oldest first: jobs, states, calls.
    in_flight: VecDeque<Decided>,
    pending: Vec<States>,
    appends: FuturesOrdered<Finished<Appended, AppendError>>,
    /// The next batch, if it has to be loaded for, and that load.
    forming: Option<(Forming, Finished<Loaded, sqlx::Error>)>,
    /// Commands of the batch that came back last.
    landed: usize,
    /// Whether batches are decided anew after a failure: then nothing is presumed.
    recovering: bool,
    figures: Figures,
}

struct Figures {
    commands: Histogram,
    seconds: Histogram,
    conflicts: Counter,
}

/// Why a batch, or what is left of it, has to be decided anew.
struct Failed {
    jobs: Jobs,
    why: Failure,
}

enum Failure {
    /// Streams had moved on.
    Stale,
    /// Some of its commands were answered before, or what it stood on failed; that is no fault of the others.
    Other,
    /// One of its commands cannot be stored.
    Refused,
    Unknown(String),
}

impl Worker {
    pub fn new(log: EventLog, options: ProcessorOptions) -> Self {
        let name = || log.name().to_owned();
        let figures = Figures {
            commands: metrics::histogram!("eventlog_batch_commands", "log" => name()),
            seconds: metrics::histogram!("eventlog_append_seconds", "log" => name()),
            conflicts: metrics::counter!("eventlog_conflicts_total", "log" => name()),
        };
        Self {
            cache: NonZeroUsize::new(options.cached_streams).map(LruCache::new),
            idle: (0..IN_FLIGHT).map(|_| AppendConnection::new(log.connect_options())).collect(),
            in_flight: VecDeque::with_capacity(IN_FLIGHT),
            pending: Vec::with_capacity(IN_FLIGHT),
            appends: FuturesOrdered::new(),
            forming: None,
            landed: 0,
            recovering: false,
            log,
            options,
            figures,
        }
    }

    /// Ends when all senders are gone and everybody is answered.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Jobs::with_capacity(self.options.batch);
        let mut open = true;
        loop {
            let free = self.forming.is_none() && !self.idle.is_empty();
            // A much smaller batch would overtake the one before.
            let least = self.in_flight.back().map_or(1, |ahead| ahead.jobs.len().div_ceil(2));
            let wanted = Wanted { least, most: self.options.batch, in_company: self.landed > 1 };
            tokio::select! {
                biased;
                Some((connection, result)) = self.appends.next(), if !self.appends.is_empty() => {
                    self.idle.push(connection);
                    let decided = self.landed();
                    if let Some(failed) = self.settle(decided, result) {
                        self.recover(failed).await;
                    }
                }
                (connection, loaded) = load(&mut self.forming), if self.forming.is_some() => {
                    self.idle.push(connection);
                    self.loaded(loaded).await;
                }
                () = gather(&mut queue, &mut jobs, wanted), if free && open => {
                    if jobs.is_empty() {
                        open = false;
                        continue;
                    }
                    let halved = self.in_flight.is_empty() && jobs.len() >= WORTH_HALVING;
                    let rest = jobs.split_off(if halved { jobs.len() / 2 } else { jobs.len() });
                    let (batch, repeats) = without_repeats(std::mem::take(&mut jobs));
                    jobs = repeats;
                    jobs.extend(rest);
                    self.form(Forming::new(batch));
                }
                else => return,
            }
        }
    }

    /// Decides a batch as far as possible, and sends it to the log or asks for the streams that it needs.
    fn form(&mut self, mut forming: Forming) {
        let missing = forming.decide(&self.pending, self.cache.as_ref(), !self.recovering);
        let mut connection = self.idle.pop().expect("a batch is begun when a connection has no work");
        if missing.is_empty() {
            return self.send(connection, forming.into_decided());
        }
        let load = async move {
            let loaded = Loaded::from(&mut connection, missing).await;
            (connection, loaded)
        };
        self.forming = Some((forming, Box::pin(load)));
    }

    fn send(&mut self, mut connection: AppendConnection, mut decided: Decided) {
        if decided.jobs.is_empty() {
            return self.idle.push(connection);
        }
        self.figures.commands.record(decided.jobs.len() as f64);
        let foundation = self.in_flight.iter().rev().find_map(Decided::foundation);
        let call = decided.call(foundation.as_ref());
        self.pending.push(std::mem::take(&mut decided.states));
        self.in_flight.push_back(decided);
        let seconds = self.figures.seconds.clone();
        self.appends.push_back(Box::pin(async move {
            let begun = Instant::now();
            fault::point("append.before");
            let result = connection.append(call).await;
            fault::point("append.after");
            seconds.record(begun.elapsed().as_secs_f64());
            (connection, result)
        }));
    }

    async fn loaded(&mut self, loaded: Result<Loaded, sqlx::Error>) {
        let Some((mut forming, _)) = self.forming.take() else { return };
        match loaded {
            Ok(loaded) => {
                forming.take_in(loaded);
                self.form(forming);
            }
            Err(error) => {
                let (jobs, why) = (forming.into_jobs(), Failure::Unknown(error.to_string()));
                self.recover(Failed { jobs, why }).await;
            }
        }
    }

    /// The oldest batch in flight, which has come back.
    fn landed(&mut self) -> Decided {
        let mut decided = self.in_flight.pop_front().expect("every append has its batch");
        decided.states = self.pending.remove(0);
        self.landed = decided.jobs.len();
        decided
    }

    /// Answers whom a finished append lets it answer. Returns the others.
    fn settle(&mut self, decided: Decided, result: Result<Appended, AppendError>) -> Option<Failed> {
        let (jobs, why) = match result {
            Ok(Appended::Committed { position, recorded_at }) => {
                self.committed(decided, position, recorded_at);
                return None;
            }
            Ok(Appended::Conflict { stale, known }) => {
                self.forget(&stale);
                let moved_on = !stale.is_empty();
                self.figures.conflicts.increment(u64::from(moved_on));
                let why = if moved_on { Failure::Stale } else { Failure::Other };
                (self.answer_known(decided, known), why)
            }
            Ok(Appended::Unfounded) => (decided.into_jobs(), Failure::Other),
            Err(AppendError::Refused(error)) if decided.jobs.len() == 1 => {
                tracing::error!(log = self.log.name(), %error, "the database refuses a command");
                let why = refusal(&error);
                decided.into_jobs().into_iter().for_each(|job| job.answer(Verdict::Refused(why.clone())));
                return None;
            }
            Err(AppendError::Refused(_)) => (decided.into_jobs(), Failure::Refused),
            Err(AppendError::Unknown(why)) => (decided.into_jobs(), Failure::Unknown(why)),
        };
        (!jobs.is_empty()).then_some(Failed { jobs, why })
    }

    /// After a failure: what was decided on top of it cannot stand, or cannot be told from what can. Waits for what
    /// is with the database, and then carries every batch through by itself, in order.
    async fn recover(&mut self, failed: Failed) {
        let mut all = vec![failed];
        while let Some((connection, result)) = self.appends.next().await {
            self.idle.push(connection);
            let decided = self.landed();
            all.extend(self.settle(decided, result));
        }
        if let Some((forming, load)) = self.forming.take() {
            self.idle.push(load.await.0);
            all.push(Failed { jobs: forming.into_jobs(), why: Failure::Other });
        }
        self.recovering = true;
        for failed in all {
            self.carry_through(failed).await;
        }
        self.recovering = false;
    }

    /// Decides and appends until everybody is answered, or the limits of [`ProcessorOptions`] are reached.
    async fn carry_through(&mut self, failed: Failed) {
        let mut groups = VecDeque::from([failed]);
        while let Some(Failed { mut jobs, mut why }) = groups.pop_front() {
            let (begun, mut conflicts) = (Instant::now(), 0);
            loop {
                match &why {
                    Failure::Stale => conflicts += 1,
                    Failure::Other => {}
                    Failure::Refused if jobs.len() > 1 => {
                        // Each alone, so that the others are not refused with the one.
                        let alone =
                            jobs.into_iter().map(|job| Failed { jobs: vec![job], why: Failure::Other });
                        groups.extend(alone);
                        break;
                    }
                    Failure::Refused => {}
                    Failure::Unknown(why) => {
                        if !self.may_retry(begun, why).await {
                            jobs.into_iter().for_each(|job| job.answer(Verdict::Unavailable(why.clone())));
                            break;
                        }
                    }
                }
                if conflicts > self.options.conflicts {
                    jobs.into_iter().for_each(|job| job.answer(Verdict::Contended));
                    break;
                }
                let Some(failed) = self.attempt(jobs).await else { break };
                Failed { jobs, why } = failed;
            }
        }
    }

    /// Decides and appends jobs while nothing else is under way. Returns those that are not answered.
    async fn attempt(&mut self, jobs: Jobs) -> Option<Failed> {
        self.form(Forming::new(jobs));
        while self.forming.is_some() {
            let (connection, loaded) = load(&mut self.forming).await;
            self.idle.push(connection);
            let (mut forming, _) = self.forming.take()?;
            match loaded {
                Ok(loaded) => {
                    forming.take_in(loaded);
                    self.form(forming);
                }
                Err(error) => {
                    let why = Failure::Unknown(error.to_string());
                    return Some(Failed { jobs: forming.into_jobs(), why });
                }
            }
        }
        let (connection, result) = self.appends.next().await?;
        self.idle.push(connection);
        let decided = self.landed();
        self.settle(decided, result)
    }

    fn committed(&mut self, mut decided: Decided, last: i64, recorded_at: DateTime<Utc>) {
        fault::point("reply.before");
        // Announced before it is answered: who reads after an answer must find its events.
        self.log.announce_events(last, decided.take_recorded(last, recorded_at));
        let position = self.log.position(last);
        // While the callers prepare what they do next, the rest is done here.
        for (job, _) in decided.jobs {
            job.answer(Verdict::Stands { position: position.clone() });
        }
        fault::point("reply.after");
        for (stream, state) in &decided.states {
            snapshot::take_if_due(&self.log, stream, state, decided.read.get(stream).copied());
        }
        if let Some(cache) = &mut self.cache {
            for stream in decided.read.keys().filter(|stream| !decided.states.contains_key(stream)) {
                cache.promote(stream);
            }
            for (stream, state) in decided.states {
                cache.put(stream, state);
            }
        }
    }

    /// Answers the commands that were answered before, and gives the others back.
    fn answer_known(&self, decided: Decided, known: Vec<KnownCommand>) -> Jobs {
        let mut known: HashMap<(String, Uuid), KnownCommand> =
            known.into_iter().map(|k| ((k.scope.clone(), k.command_id), k)).collect();
        let mut others = Vec::new();
        for job in decided.into_jobs() {
            match known.remove(&(job.context().scope.clone(), job.context().command_id)) {
                Some(KnownCommand { request_hash, outcome, position, .. }) => {
                    let position = self.log.position(position);
                    job.answer(Verdict::Known { request_hash, outcome, position });
                }
                None => others.push(job),
            }
        }
        others
    }

    /// Waits a little and allows another try, unless the patience is at an end. What was committed is not known,
    /// so nothing in memory is.
    async fn may_retry(&mut self, begun: Instant, why: &str) -> bool {
        tracing::warn!(log = self.log.name(), error = why, "the event log does not answer");
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
        let more = begun.elapsed() < self.options.patience;
        if more {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        more
    }

    fn forget(&mut self, streams: &[StreamId]) {
        if let Some(cache) = &mut self.cache {
            for stream in streams {
                cache.pop(stream);
            }
        }
    }
}

/// How many commands make a batch.
struct Wanted {
    least: usize,
    most: usize,
    /// Several were just answered and may come again.
    in_company: bool,
}

/// Waits for jobs, and takes all that come while other tasks have their turn. Loses none when it is dropped in
/// between: `jobs` may hold some already. Fewer than wanted come only when the queue is closed.
async fn gather(queue: &mut mpsc::Receiver<Box<dyn Job>>, jobs: &mut Jobs, wanted: Wanted) {
    while jobs.len() < wanted.least {
        if queue.recv_many(jobs, wanted.most - jobs.len()).await == 0 {
            return;
        }
    }
    let gatherings = if wanted.in_company || jobs.len() > 1 { GATHERINGS } else { 0 };
    for _ in 0..gatherings {
        let before = jobs.len();
        tokio::task::yield_now().await;
        while jobs.len() < wanted.most
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        if jobs.len() == before {
            return;
        }
    }
}

/// The end of the load that a batch waits for.
async fn load(
    forming: &mut Option<(Forming, Finished<Loaded, sqlx::Error>)>,
) -> (AppendConnection, Result<Loaded, sqlx::Error>) {
    match forming {
        Some((_, load)) => load.await,
        None => std::future::pending().await,
    }
}

/// The database's reason without the values it may quote.
fn refusal(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => format!("SQLSTATE {}", error.code().unwrap_or_default()),
        None => "not a value that can be stored".to_owned(),
    }
}
