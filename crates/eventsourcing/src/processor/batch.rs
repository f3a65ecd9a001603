//! The processor's loop: take what waits, load, decide, append, answer; and what happens when the append
//! meets a conflict, an answer from before, a refusal or silence.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lru::LruCache;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::ProcessorOptions;
use super::job::{Job, Ran, Verdict};
use crate::fault;
use crate::log::{
    AppendConnection, AppendError, Appended, Batch, CommandRow, EventLog, KnownCommand, LoadError,
    RecordedEvent, load_states,
};
use crate::operation::{PendingEvent, StateCodec, Versioned, View};
use crate::snapshot;
use crate::stream::StreamId;

/// Pause before a batch is submitted again while the database is away.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// An operation that still asks for further streams after this many loads is broken.
const MAX_LOADS: usize = 16;

type Jobs = Vec<Box<dyn Job>>;

pub(super) struct Worker {
    log: EventLog,
    options: ProcessorOptions,
    connection: AppendConnection,
    cache: Option<LruCache<StreamId, Versioned>>,
}

/// A batch after all of its jobs were decided.
#[derive(Default)]
struct Decided {
    /// Every stream that was looked at, with the version that the log must still have.
    read: HashMap<StreamId, u64>,
    /// States that are newer than the cache, or not in it.
    states: HashMap<StreamId, Versioned>,
    /// Jobs in the order in which they were decided, with their events.
    jobs: Vec<(Box<dyn Job>, Vec<PendingEvent>)>,
}

impl Worker {
    pub fn new(log: EventLog, options: ProcessorOptions, cached: Option<NonZeroUsize>) -> Self {
        let connection = AppendConnection::new(log.connect_options());
        Self { log, options, connection, cache: cached.map(LruCache::new) }
    }

    pub async fn run(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(self.options.batch);
        while waiting.recv_many(&mut jobs, self.options.batch).await > 0 {
            metrics::histogram!("eventlog_batch_commands", "log" => self.log.name().to_owned())
                .record(jobs.len() as f64);
            let mut batches = VecDeque::from([std::mem::take(&mut jobs)]);
            while let Some(batch) = batches.pop_front() {
                let (batch, repeats) = without_repeats(batch);
                if let Some(refused) = self.process(batch).await {
                    // Somebody in it cannot be stored: each alone, so that the others are not refused with it.
                    batches.extend(refused.into_iter().map(|job| vec![job]));
                }
                if !repeats.is_empty() {
                    batches.push_front(repeats);
                }
            }
        }
    }

    /// Carries a batch through to the answers. Gives it back when the database refused it and it has more
    /// than one command.
    async fn process(&mut self, mut jobs: Jobs) -> Option<Jobs> {
        let started = Instant::now();
        let mut conflicts = 0;
        while !jobs.is_empty() {
            let decided = match self.decide(jobs).await {
                Ok(decided) => decided,
                Err((returned, error)) => {
                    jobs = returned;
                    self.connection.drop_broken();
                    if !self.may_retry(started, &error.to_string(), &mut jobs).await {
                        return None;
                    }
                    continue;
                }
            };
            let call = Instant::now();
            fault::point("append.before");
            let result = self.connection.append(&as_batch(&decided)).await;
            fault::point("append.after");
            metrics::histogram!("eventlog_append_seconds", "log" => self.log.name().to_owned())
                .record(call.elapsed().as_secs_f64());
            match result {
                Ok(Appended::Committed { position, recorded_at }) => {
                    self.committed(decided, position, recorded_at);
                    return None;
                }
                Ok(Appended::Conflict { stale, known }) => {
                    self.forget(&stale);
                    jobs = self.answer_known(decided, known);
                    if !stale.is_empty() {
                        conflicts += 1;
                        metrics::counter!("eventlog_conflicts_total", "log" => self.log.name().to_owned())
                            .increment(1);
                    }
                    if conflicts > self.options.conflicts {
                        jobs.into_iter().for_each(|job| job.answer(Verdict::Contended));
                        return None;
                    }
                }
                Err(AppendError::Refused(error)) => {
                    jobs = decided.jobs.into_iter().map(|(job, _)| job).collect();
                    if jobs.len() > 1 {
                        return Some(jobs);
                    }
                    tracing::error!(log = self.log.name(), %error, "the database refuses a command");
                    jobs.into_iter().for_each(|job| job.answer(Verdict::Refused(refusal(&error))));
                    return None;
                }
                Err(AppendError::Unknown(why)) => {
                    // What was committed is not known, so nothing in memory is.
                    self.forget_everything();
                    jobs = decided.jobs.into_iter().map(|(job, _)| job).collect();
                    if !self.may_retry(started, &why, &mut jobs).await {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Decides all jobs, loading what they ask for. On failure gives the jobs back.
    async fn decide(&mut self, jobs: Jobs) -> Result<Decided, (Jobs, sqlx::Error)> {
        let mut decided = Decided::default();
        let mut undecided = jobs;
        for _ in 0..MAX_LOADS {
            let mut missing: HashMap<StreamId, StateCodec> = HashMap::new();
            let mut wanted_by: Vec<(Box<dyn Job>, Vec<StreamId>)> = Vec::new();
            for mut job in undecided {
                let mut view = View::new(&decided.states, self.cache.as_ref());
                match job.run(&mut view) {
                    Ran::Missing => {
                        let wanted = std::mem::take(&mut view.missing);
                        wanted_by.push((job, wanted.keys().cloned().collect()));
                        missing.extend(wanted);
                    }
                    ran => {
                        for (stream, version) in view.read.drain() {
                            decided.read.entry(stream).or_insert(version);
                        }
                        let (mut events, mut changed) = view.into_effects();
                        if matches!(ran, Ran::Refused) {
                            events.clear();
                            changed.clear();
                        }
                        decided.states.extend(changed);
                        decided.jobs.push((job, events));
                    }
                }
            }
            if wanted_by.is_empty() {
                return Ok(decided);
            }
            undecided = match self.load(missing.into_iter().collect(), &mut decided).await {
                Ok(corrupt) => answer_corrupt(wanted_by, corrupt),
                Err(error) => {
                    let decided = decided.jobs.into_iter().map(|(job, _)| job);
                    return Err((decided.chain(wanted_by.into_iter().map(|(job, _)| job)).collect(), error));
                }
            };
        }
        let why = format!("an operation asked for more streams {MAX_LOADS} times");
        undecided.into_iter().for_each(|job| job.answer(Verdict::Corrupt(why.clone())));
        Ok(decided)
    }

    /// Loads states into the batch. Returns the streams that cannot be read, with the reason.
    async fn load(
        &mut self,
        mut missing: Vec<(StreamId, StateCodec)>,
        decided: &mut Decided,
    ) -> Result<HashMap<StreamId, String>, sqlx::Error> {
        let mut corrupt = HashMap::new();
        loop {
            match load_states(self.connection.get().await?, &missing).await {
                Ok(loaded) => {
                    decided.states.extend(loaded);
                    return Ok(corrupt);
                }
                Err(LoadError::Database(error)) => return Err(error),
                Err(LoadError::Decode { stream, source }) => {
                    tracing::error!(%stream, error = %source, "a stream cannot be read");
                    missing.retain(|(id, _)| *id != stream);
                    corrupt.insert(stream, source.to_string());
                }
            }
        }
    }

    fn committed(&mut self, mut decided: Decided, position: i64, recorded_at: DateTime<Utc>) {
        self.log.announce_events(position, recorded(&mut decided, position, recorded_at));
        let position = self.log.position(position);
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
        fault::point("reply.before");
        for (job, _) in decided.jobs {
            job.answer(Verdict::Stands { position: position.clone() });
        }
        fault::point("reply.after");
    }

    /// Answers the commands that were answered before, and gives the others back.
    fn answer_known(&self, decided: Decided, known: Vec<KnownCommand>) -> Jobs {
        let mut known: HashMap<(String, Uuid), KnownCommand> =
            known.into_iter().map(|k| ((k.scope.clone(), k.command_id), k)).collect();
        let mut others = Vec::new();
        for (job, _) in decided.jobs {
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

    /// Waits a little and allows another try, or answers everybody that the log is away.
    async fn may_retry(&mut self, started: Instant, why: &str, jobs: &mut Jobs) -> bool {
        tracing::warn!(log = self.log.name(), error = why, "the event log does not answer");
        self.forget_everything();
        if started.elapsed() < self.options.patience {
            tokio::time::sleep(RETRY_PAUSE).await;
            return true;
        }
        jobs.drain(..).for_each(|job| job.answer(Verdict::Unavailable(why.to_owned())));
        false
    }

    fn forget(&mut self, streams: &[StreamId]) {
        if let Some(cache) = &mut self.cache {
            for stream in streams {
                cache.pop(stream);
            }
        }
    }

    fn forget_everything(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
    }
}

/// Splits off commands whose id occurs in the batch already: they are repeats, and find the answer once the
/// first is stored.
fn without_repeats(jobs: Jobs) -> (Jobs, Jobs) {
    if jobs.len() < 2 {
        return (jobs, Vec::new());
    }
    let mut seen = HashSet::with_capacity(jobs.len());
    jobs.into_iter().partition(|job| seen.insert((job.context().command_id, job.context().scope.clone())))
}

/// A batch's events as they stand in the log. Theirs are the last positions up to `last`.
fn recorded(decided: &mut Decided, last: i64, recorded_at: DateTime<Utc>) -> Vec<Arc<RecordedEvent>> {
    let count: usize = decided.jobs.iter().map(|(_, events)| events.len()).sum();
    let mut recorded = Vec::with_capacity(count);
    for (job, events) in &mut decided.jobs {
        let context = job.context();
        recorded.extend(std::mem::take(events).into_iter().zip(recorded.len() + 1..).map(|(event, n)| {
            Arc::new(RecordedEvent {
                position: last - (count - n) as i64,
                stream_id: event.stream,
                version: event.version,
                event_id: event.event_id,
                command_id: context.command_id,
                event_type: event.encoded.event_type,
                schema_version: event.encoded.schema_version,
                data: event.encoded.data,
                metadata: context.metadata.clone(),
                recorded_at,
            })
        }));
    }
    recorded
}

fn as_batch(decided: &Decided) -> Batch<'_> {
    let commands = decided.jobs.iter().map(|(job, events)| CommandRow {
        scope: &job.context().scope,
        command_id: job.context().command_id,
        request_hash: job.context().request_hash,
        outcome: job.outcome(),
        expires: job.expires(),
        metadata: job.metadata(),
        events,
    });
    Batch { commands: commands.collect(), read: decided.read.iter().map(|(s, v)| (s, *v)).collect() }
}

/// Answers the jobs whose streams cannot be read, and gives the others back.
fn answer_corrupt(jobs: Vec<(Box<dyn Job>, Vec<StreamId>)>, corrupt: HashMap<StreamId, String>) -> Jobs {
    let mut others = Vec::new();
    for (job, wanted) in jobs {
        match wanted.iter().find_map(|stream| corrupt.get(stream).map(|why| (stream, why))) {
            Some((stream, why)) => job.answer(Verdict::Corrupt(format!("stream {stream}: {why}"))),
            None => others.push(job),
        }
    }
    others
}

/// The database's reason without the values it may quote.
fn refusal(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => format!("SQLSTATE {}", error.code().unwrap_or_default()),
        None => "not a value that can be stored".to_owned(),
    }
}
