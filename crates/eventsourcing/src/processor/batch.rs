//! A batch: commands that are decided in memory, one after another, and what the log is told about them. It
//! neither loads nor appends, and answers only what never reaches the log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use lru::LruCache;

use super::job::{Job, Ran, Verdict};
use crate::log::{
    AppendConnection, Batch, Call, CommandRow, Foundation, LoadError, RecordedEvent, load_states,
};
use crate::operation::{Known, PendingEvent, StateCodec, States, Versioned, View};
use crate::stream::StreamId;

/// An operation that still asks for further streams after this many loads is broken.
const MAX_LOADS: usize = 16;

pub(super) type Jobs = Vec<Box<dyn Job>>;

/// A batch after all of its jobs were decided.
#[derive(Default)]
pub(super) struct Decided {
    /// Every stream that was looked at, with the version that the log must still have.
    pub read: HashMap<StreamId, u64>,
    /// States that are newer than the cache, or not in it.
    pub states: States,
    /// Jobs in the order in which they were decided, with their events.
    pub jobs: Vec<(Box<dyn Job>, Vec<PendingEvent>)>,
}

impl Decided {
    /// What the log is to be asked.
    pub fn call(&self, foundation: Option<&Foundation>) -> Call {
        let commands = self.jobs.iter().map(|(job, events)| CommandRow {
            scope: &job.context().scope,
            command_id: job.context().command_id,
            request_hash: job.context().request_hash,
            outcome: job.outcome(),
            expires: job.expires(),
            metadata: job.metadata(),
            events,
        });
        let read = self.read.iter().map(|(stream, version)| (stream, *version));
        Call::new(&Batch { commands: commands.collect(), read: read.collect(), foundation })
    }

    /// One of its events, by which a batch that is decided on top of this one names it.
    pub fn foundation(&self) -> Option<Foundation> {
        let event = self.jobs.iter().rev().find_map(|(_, events)| events.last())?;
        Some(Foundation { stream: event.stream.clone(), version: event.version, event_id: event.event_id })
    }

    /// Takes its events out, as they stand in the log. Theirs are the last positions up to `last`.
    pub fn take_recorded(&mut self, last: i64, recorded_at: DateTime<Utc>) -> Vec<Arc<RecordedEvent>> {
        let count: usize = self.jobs.iter().map(|(_, events)| events.len()).sum();
        let mut recorded = Vec::with_capacity(count);
        for (job, events) in &mut self.jobs {
            let context = job.context();
            recorded.extend(std::mem::take(events).into_iter().zip(recorded.len() + 1..).map(
                |(event, n)| {
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
                },
            ));
        }
        recorded
    }

    pub fn into_jobs(self) -> Jobs {
        self.jobs.into_iter().map(|(job, _)| job).collect()
    }
}

/// A batch while it is decided, which takes several rounds when streams have to be loaded.
pub(super) struct Forming {
    decided: Decided,
    undecided: Jobs,
    /// Jobs that wait for streams, and those streams.
    wanted_by: Vec<(Box<dyn Job>, Vec<StreamId>)>,
    loads: usize,
}

impl Forming {
    pub fn new(jobs: Jobs) -> Self {
        Self { decided: Decided::default(), undecided: jobs, wanted_by: Vec::new(), loads: 0 }
    }

    /// Decides what can be decided, also on streams that are presumed not to exist if that is allowed. Returns the streams that have to be loaded before the rest can be; none when
    /// all is decided.
    pub fn decide(
        &mut self,
        pending: &[States],
        cache: Option<&LruCache<StreamId, Versioned>>,
        presuming: bool,
    ) -> Vec<(StreamId, StateCodec)> {
        let mut missing: HashMap<StreamId, StateCodec> = HashMap::new();
        for mut job in std::mem::take(&mut self.undecided) {
            let mut view = View::new(Known { batch: &self.decided.states, pending, cache, presuming });
            let ran = job.run(&mut view);
            if matches!(ran, Ran::Missing) {
                let wanted = std::mem::take(&mut view.missing);
                self.wanted_by.push((job, wanted.keys().cloned().collect()));
                missing.extend(wanted);
                continue;
            }
            for (stream, version) in view.read.drain() {
                self.decided.read.entry(stream).or_insert(version);
            }
            let (mut events, mut changed) = view.into_effects();
            if matches!(ran, Ran::Refused) {
                events.clear();
                changed.clear();
            }
            self.decided.states.extend(changed);
            self.decided.jobs.push((job, events));
        }
        self.loads += usize::from(!missing.is_empty());
        if self.loads > MAX_LOADS {
            let why = format!("an operation asked for more streams {MAX_LOADS} times");
            let asking = self.wanted_by.drain(..);
            asking.for_each(|(job, _)| job.answer(Verdict::Corrupt(why.clone())));
            missing.clear();
        }
        missing.into_iter().collect()
    }

    /// Takes in what was loaded. Jobs whose streams cannot be read are answered.
    pub fn take_in(&mut self, loaded: Loaded) {
        self.decided.states.extend(loaded.states);
        for (job, wanted) in self.wanted_by.drain(..) {
            match wanted.iter().find_map(|stream| loaded.corrupt.get(stream).map(|why| (stream, why))) {
                Some((stream, why)) => job.answer(Verdict::Corrupt(format!("stream {stream}: {why}"))),
                None => self.undecided.push(job),
            }
        }
    }

    pub fn into_decided(self) -> Decided {
        self.decided
    }

    /// All of its jobs, as if nothing had been decided.
    pub fn into_jobs(self) -> Jobs {
        let waiting = self.wanted_by.into_iter().map(|(job, _)| job);
        self.decided.into_jobs().into_iter().chain(waiting).chain(self.undecided).collect()
    }
}

/// What came of loading streams.
pub(super) struct Loaded {
    states: States,
    /// Streams that cannot be read, with the reason.
    corrupt: HashMap<StreamId, String>,
}

impl Loaded {
    pub async fn from(
        connection: &mut AppendConnection,
        mut missing: Vec<(StreamId, StateCodec)>,
    ) -> Result<Self, sqlx::Error> {
        let mut corrupt = HashMap::new();
        loop {
            match load_states(connection.get().await?, &missing).await {
                Ok(states) => return Ok(Self { states: states.into_iter().collect(), corrupt }),
                Err(LoadError::Database(error)) => {
                    connection.drop_broken();
                    return Err(error);
                }
                Err(LoadError::Decode { stream, source }) => {
                    tracing::error!(%stream, error = %source, "a stream cannot be read");
                    missing.retain(|(id, _)| *id != stream);
                    corrupt.insert(stream, source.to_string());
                }
            }
        }
    }
}

/// Splits off commands whose id occurs in the batch already: they are repeats, and find the answer once the
/// first is stored.
pub(super) fn without_repeats(jobs: Jobs) -> (Jobs, Jobs) {
    if jobs.len() < 2 {
        return (jobs, Vec::new());
    }
    let mut seen = HashSet::with_capacity(jobs.len());
    jobs.into_iter().partition(|job| seen.insert((job.context().command_id, job.context().scope.clone())))
}
