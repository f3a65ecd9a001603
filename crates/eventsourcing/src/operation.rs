//! A command against one or several streams of a log, decided all or nothing. An [`Operation`] is still pure:
//! it sees states through a [`View`] and leaves events there; loading, checking and appending are the command
//! processor's work.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use lru::LruCache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::decider::{self, Decider, DecodeError, EncodedEvent};
use crate::stream::StreamId;

/// A command as a unit of consistency: what it reads and writes stands or falls together.
pub trait Operation: Send + 'static {
    /// The answer. It is stored with the events, so a repeat gets the same; keep secrets out of it.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
    /// The broken rule. It is stored like a reply.
    type Rejection: Serialize + DeserializeOwned + Send + 'static;

    /// Decides on the states in `view`, and appends there what happened.
    ///
    /// May run more than once, on other states: when a stream had to be loaded first, or when another
    /// process was faster. It must therefore depend on nothing but `self` and the view.
    fn run(&self, view: &mut View<'_>) -> Result<Self::Reply, Halt<Self::Rejection>>;
}

/// Why an operation did not come to an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Halt<R> {
    /// A rule forbids it. This answer is final and stored.
    Rejected(R),
    /// The caller expected another version of a stream. Not stored: the caller reads again and decides anew.
    StaleVersion { stream: StreamId, expected: u64, actual: u64 },
    /// A stream is not loaded yet; the operation runs again once it is. Passed on with `?`.
    Missing,
}

/// A stream whose state is not at hand yet. Converts into [`Halt::Missing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing;

impl<R> From<Missing> for Halt<R> {
    fn from(_: Missing) -> Self {
        Halt::Missing
    }
}

/// The operation that puts one command to one decider.
pub struct Decide<D: Decider> {
    pub stream: StreamId,
    pub command: D::Command,
    /// Refuse unless the stream has this version now.
    pub expected_version: Option<u64>,
}

impl<D> Operation for Decide<D>
where
    D: Decider,
    D::Command: Send,
    D::Error: Serialize + DeserializeOwned + Send + 'static,
{
    /// The stream's version afterwards.
    type Reply = u64;
    type Rejection = D::Error;

    fn run(&self, view: &mut View<'_>) -> Result<u64, Halt<D::Error>> {
        if let Some(expected) = self.expected_version {
            if expected == 0 {
                view.presume_new::<D>(&self.stream);
            }
            view.expect_version::<D, _>(&self.stream, expected)?;
        }
        view.decide::<D>(&self.stream, &self.command)
    }
}

pub(crate) type AnyState = Arc<dyn Any + Send + Sync>;

/// What the processor needs to know of a decider without naming its types.
#[derive(Clone, Copy)]
pub(crate) struct StateCodec {
    pub state_version: i32,
    pub snapshot_every: Option<u64>,
    /// Folds events onto a state, or onto the initial one.
    pub fold: fn(Option<AnyState>, &[StoredEvent]) -> Result<AnyState, DecodeError>,
    pub to_snapshot: fn(&AnyState) -> Result<String, serde_json::Error>,
    pub from_snapshot: fn(&str) -> Result<AnyState, serde_json::Error>,
}

/// An event as it was read for a fold.
pub(crate) struct StoredEvent {
    pub event_type: String,
    pub schema_version: i16,
    pub data: String,
}

impl StateCodec {
    pub fn of<D: Decider>() -> Self {
        Self {
            state_version: D::STATE_VERSION,
            snapshot_every: D::SNAPSHOT_EVERY,
            fold: |state, events| {
                let mut state: D::State = match state {
                    Some(state) => typed::<D>(&state).clone(),
                    None => D::State::default(),
                };
                for e in events {
                    let event = decider::decode::<D::Event>(&e.event_type, e.schema_version, &e.data)?;
                    state = D::evolve(state, &event);
                }
                Ok(Arc::new(state))
            },
            to_snapshot: |state| serde_json::to_string(typed::<D>(state)),
            from_snapshot: |json| Ok(Arc::new(serde_json::from_str::<D::State>(json)?)),
        }
    }
}

fn typed<D: Decider>(state: &AnyState) -> &D::State {
    state.downcast_ref().expect("a stream's category names its decider, so its state has that decider's type")
}

/// A stream's state with the version that it is the state of.
#[derive(Clone)]
pub(crate) struct Versioned {
    pub version: u64,
    pub state: AnyState,
    pub codec: StateCodec,
}

/// An event that is decided and not appended yet.
pub(crate) struct PendingEvent {
    pub stream: StreamId,
    pub version: u64,
    pub event_id: Uuid,
    pub encoded: EncodedEvent,
}

/// States of streams by their ids.
pub(crate) type States = HashMap<StreamId, Versioned>;

/// Where states are looked for, the newest first.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// What the operations of one batch left for each other, and what was loaded for them.
    pub batch: &'a States,
    /// The same of batches that are being appended, the oldest first.
    pub pending: &'a [States],
    /// What is durable.
    pub cache: Option<&'a LruCache<StreamId, Versioned>>,
    /// Whether a stream that is in none of these may be presumed not to exist, when the operation says so. Not after
    /// an append found that it does.
    pub presuming: bool,
}

impl<'a> Known<'a> {
    fn get(&self, stream: &StreamId) -> Option<&'a Versioned> {
        self.batch
            .get(stream)
            .or_else(|| self.pending.iter().rev().find_map(|states| states.get(stream)))
            .or_else(|| self.cache.and_then(|cache| cache.peek(stream)))
    }
}

/// The states that an operation may look at, and the events that it leaves.
///
/// What it appends is visible to its own later looks at once, and to nobody outside before all of it is stored.
pub struct View<'a> {
    known: Known<'a>,
    /// What is not known, and presumed not to exist.
    presumed: States,
    changed: States,
    /// What was looked at, with the version it had before this operation.
    pub(crate) read: HashMap<StreamId, u64>,
    /// What was looked at and is not loaded yet.
    pub(crate) missing: HashMap<StreamId, StateCodec>,
    pub(crate) events: Vec<PendingEvent>,
}

impl<'a> View<'a> {
    pub(crate) fn new(known: Known<'a>) -> Self {
        Self {
            known,
            presumed: HashMap::new(),
            changed: HashMap::new(),
            read: HashMap::new(),
            missing: HashMap::new(),
            events: Vec::new(),
        }
    }

    /// Says that a stream most probably does not exist, since its id was just made: then it is not looked for. The
    /// append notices when it does exist, and the operation runs again on what is there; so this is never wrong, and
    /// slower when it is mistaken.
    pub fn presume_new<D: Decider>(&mut self, stream: &StreamId) {
        if self.known.presuming && self.known.get(stream).is_none() {
            self.presumed.insert(stream.clone(), initial(StateCodec::of::<D>()));
        }
    }

    /// The current state of a stream; the initial state if it does not exist.
    pub fn state<D: Decider>(&mut self, stream: &StreamId) -> Result<&D::State, Missing> {
        Ok(typed::<D>(&self.look::<D>(stream)?.state))
    }

    /// The number of events in a stream; 0 if it does not exist.
    pub fn version<D: Decider>(&mut self, stream: &StreamId) -> Result<u64, Missing> {
        Ok(self.look::<D>(stream)?.version)
    }

    /// Halts unless the stream has this version.
    pub fn expect_version<D: Decider, R>(&mut self, stream: &StreamId, expected: u64) -> Result<(), Halt<R>> {
        let actual = self.version::<D>(stream)?;
        if actual == expected {
            return Ok(());
        }
        Err(Halt::StaleVersion { stream: stream.clone(), expected, actual })
    }

    /// Asks for streams at once, so that they are loaded together. Looking at them one after another does the
    /// same with more round trips.
    pub fn load<'s, D: Decider>(
        &mut self,
        streams: impl IntoIterator<Item = &'s StreamId>,
    ) -> Result<(), Missing> {
        let mut all = Ok(());
        for stream in streams {
            if self.look::<D>(stream).is_err() {
                all = Err(Missing);
            }
        }
        all
    }

    /// Puts a command to a stream's decider and appends what it decides. Returns the stream's version
    /// afterwards.
    pub fn decide<D: Decider>(
        &mut self,
        stream: &StreamId,
        command: &D::Command,
    ) -> Result<u64, Halt<D::Error>> {
        let events = D::decide(self.state::<D>(stream)?, command).map_err(Halt::Rejected)?;
        Ok(self.append::<D>(stream, &events)?)
    }

    /// Appends events that are decided already. Returns the stream's version afterwards.
    pub fn append<D: Decider>(&mut self, stream: &StreamId, events: &[D::Event]) -> Result<u64, Missing> {
        let seen = self.look::<D>(stream)?;
        if events.is_empty() {
            return Ok(seen.version);
        }
        let mut version = seen.version;
        let mut state = typed::<D>(&seen.state).clone();
        for event in events {
            version += 1;
            state = D::evolve(state, event);
            let encoded = decider::encode(event);
            let (stream, event_id) = (stream.clone(), Uuid::now_v7());
            self.events.push(PendingEvent { stream, version, event_id, encoded });
        }
        let changed = Versioned { version, state: Arc::new(state), codec: StateCodec::of::<D>() };
        self.changed.insert(stream.clone(), changed);
        Ok(version)
    }

    /// What the operation leaves behind when it succeeds.
    pub(crate) fn into_effects(self) -> (Vec<PendingEvent>, States) {
        (self.events, self.changed)
    }

    fn look<D: Decider>(&mut self, stream: &StreamId) -> Result<&Versioned, Missing> {
        debug_assert_eq!(stream.category(), D::CATEGORY, "stream {stream} looked at with another decider");
        let Some(found) = self.known.get(stream).or_else(|| self.presumed.get(stream)) else {
            self.missing.insert(stream.clone(), StateCodec::of::<D>());
            return Err(Missing);
        };
        // The same version every time: what this operation changes is not in what was known before.
        if !self.read.contains_key(stream) {
            self.read.insert(stream.clone(), found.version);
        }
        Ok(self.changed.get(stream).unwrap_or(found))
    }
}

/// Events with their streams, in the order in which an operation appended them.
pub type AppendedEvents = Vec<(StreamId, EncodedEvent)>;

/// Streams in memory, for tests of operations and for searches over them. It runs the same operations on the
/// same views as the command processor does, one at a time and without a database.
#[derive(Clone, Default)]
pub struct InMemoryStreams {
    streams: States,
}

impl InMemoryStreams {
    /// Adds history to a stream.
    #[must_use]
    pub fn given<D: Decider>(mut self, stream: &StreamId, history: &[D::Event]) -> Self {
        let before = self.streams.remove(stream).unwrap_or_else(|| initial(StateCodec::of::<D>()));
        let state = typed::<D>(&before.state).clone();
        let state = history.iter().fold(state, D::evolve);
        let version = before.version + history.len() as u64;
        self.streams
            .insert(stream.clone(), Versioned { version, state: Arc::new(state), codec: before.codec });
        self
    }

    /// Runs an operation; if it succeeds, its events become history and are returned.
    pub fn run<O: Operation>(
        &mut self,
        operation: &O,
    ) -> Result<(O::Reply, AppendedEvents), Halt<O::Rejection>> {
        loop {
            let mut view =
                View::new(Known { batch: &self.streams, pending: &[], cache: None, presuming: true });
            match operation.run(&mut view) {
                Ok(reply) => {
                    let (events, changed) = view.into_effects();
                    self.streams.extend(changed);
                    return Ok((reply, events.into_iter().map(|e| (e.stream, e.encoded)).collect()));
                }
                Err(Halt::Missing) => {
                    let missing = view.missing;
                    assert!(!missing.is_empty(), "an operation said Missing, yet all it looked at was there");
                    self.streams.extend(missing.into_iter().map(|(id, codec)| (id, initial(codec))));
                }
                Err(halt) => return Err(halt),
            }
        }
    }

    /// The state of a stream.
    pub fn state<D: Decider>(&self, stream: &StreamId) -> D::State {
        self.streams.get(stream).map(|s| typed::<D>(&s.state).clone()).unwrap_or_default()
    }
}

/// A stream before its first event.
pub(crate) fn initial(codec: StateCodec) -> Versioned {
    let state = (codec.fold)(None, &[]).expect("no event is decoded");
    Versioned { version: 0, state, codec }
}
