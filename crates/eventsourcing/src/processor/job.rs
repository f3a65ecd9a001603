//! One queued command: a typed operation behind an interface that the batch can hold many kinds of.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::command::{CommandContext, Retention};
use crate::operation::{Halt, Operation, View};
use crate::stream::Position;

/// The durable answer to a command.
#[derive(Clone, Debug)]
pub struct Committed<R> {
    pub reply: R,
    /// The log has reached this position; a reader that has come this far has seen the command's events.
    pub position: Position,
    /// The command was answered before; this is that answer.
    pub replayed: bool,
}

/// Why a command was not carried out. Only [`ExecuteError::Rejected`] is an answer of the domain; it alone is
/// stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    #[error("a rule of the domain forbids it")]
    Rejected { rejection: R, position: Position, replayed: bool },
    #[error("the stream has version {actual} and not {expected}")]
    StaleVersion { expected: u64, actual: u64 },
    #[error("this request id was used before with another request")]
    RequestIdReused,
    #[error("other processes kept changing the same streams: try again")]
    Contended,
    #[error("too many commands are waiting: try again later")]
    Overloaded,
    #[error("the event log is unavailable: {0}")]
    Unavailable(String),
    /// The database refused to store it, which no repeat will change.
    #[error("the event log refused the command: {0}")]
    Refused(String),
    /// Stored events or answers cannot be read by this program.
    #[error("the event log holds what this program cannot read: {0}")]
    Corrupt(String),
}

impl<R> ExecuteError<R> {
    /// Whether the same command may succeed later without anything else changing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Contended | Self::Overloaded | Self::Unavailable(_))
    }
}

/// What running a job led to. The result itself stays in the job.
pub(crate) enum Ran {
    Decided,
    /// A final refusal, or an outdated expectation: no events.
    Refused,
    Missing,
}

/// What the batch tells a job at its end.
pub(crate) enum Verdict {
    /// What the job decided stands.
    Stands {
        position: Position,
    },
    /// The command was answered before.
    Known {
        request_hash: Vec<u8>,
        outcome: String,
        position: Position,
    },
    Contended,
    Unavailable(String),
    Refused(String),
    Corrupt(String),
}

pub(crate) trait Job: Send {
    fn context(&self) -> &CommandContext;
    fn metadata(&self) -> &str;
    fn run(&mut self, view: &mut View<'_>) -> Ran;
    /// The answer as it is stored; `None` when it is not kept.
    fn outcome(&self) -> Option<&str>;
    fn answer(self: Box<Self>, verdict: Verdict);

    fn expires(&self) -> bool {
        self.context().retention == Retention::Client
    }
}

type Answer<O> = Result<Committed<<O as Operation>::Reply>, ExecuteError<<O as Operation>::Rejection>>;

/// An answer in `command_results`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome<T, R> {
    Ok(T),
    Rejected(R),
}

pub(crate) struct TypedJob<O: Operation> {
    operation: O,
    context: CommandContext,
    metadata: String,
    result: Option<Result<O::Reply, Halt<O::Rejection>>>,
    outcome: Option<String>,
    answer: oneshot::Sender<Answer<O>>,
}

impl<O: Operation> TypedJob<O> {
    pub fn new(operation: O, context: CommandContext, answer: oneshot::Sender<Answer<O>>) -> Self {
        // Encoded by the caller's task, so that the processor need not.
        let metadata = serde_json::to_string(&context.metadata).expect("metadata is plain strings");
        Self { operation, context, metadata, result: None, outcome: None, answer }
    }

    fn stands(result: Result<O::Reply, Halt<O::Rejection>>, position: Position) -> Answer<O> {
        match result {
            Ok(reply) => Ok(Committed { reply, position, replayed: false }),
            Err(Halt::Rejected(rejection)) => {
                Err(ExecuteError::Rejected { rejection, position, replayed: false })
            }
            Err(Halt::StaleVersion { expected, actual, .. }) => {
                Err(ExecuteError::StaleVersion { expected, actual })
            }
            Err(Halt::Missing) => Err(ExecuteError::Corrupt("an operation ended without an answer".into())),
        }
    }

    fn known(&self, request_hash: &[u8], outcome: &str, position: Position) -> Answer<O> {
        if request_hash != self.context.request_hash {
            return Err(ExecuteError::RequestIdReused);
        }
        match parse_outcome(outcome) {
            Ok(Outcome::Ok(reply)) => Ok(Committed { reply, position, replayed: true }),
            Ok(Outcome::Rejected(rejection)) => {
                Err(ExecuteError::Rejected { rejection, position, replayed: true })
            }
            Err(error) => Err(ExecuteError::Corrupt(format!("a stored answer: {error}"))),
        }
    }
}

fn parse_outcome<T: DeserializeOwned, R: DeserializeOwned>(json: &str) -> serde_json::Result<Outcome<T, R>> {
    serde_json::from_str(json)
}

impl<O: Operation> Job for TypedJob<O> {
    fn context(&self) -> &CommandContext {
        &self.context
    }

    fn metadata(&self) -> &str {
        &self.metadata
    }

    fn run(&mut self, view: &mut View<'_>) -> Ran {
        let result = self.operation.run(view);
        let (ran, outcome) = match &result {
            Ok(reply) => (Ran::Decided, Some(Outcome::Ok(reply))),
            Err(Halt::Rejected(rejection)) => (Ran::Refused, Some(Outcome::Rejected(rejection))),
            Err(Halt::StaleVersion { .. }) => (Ran::Refused, None),
            Err(Halt::Missing) => return Ran::Missing,
        };
        self.outcome =
            outcome.map(|o| serde_json::to_string(&o).expect("replies and rejections are plain data"));
        self.result = Some(result);
        ran
    }

    fn outcome(&self) -> Option<&str> {
        self.outcome.as_deref()
    }

    fn answer(mut self: Box<Self>, verdict: Verdict) {
        let answer = match verdict {
            Verdict::Stands { position } => match self.result.take() {
                Some(result) => Self::stands(result, position),
                None => Err(ExecuteError::Corrupt("a command was not decided".into())),
            },
            Verdict::Known { request_hash, outcome, position } => {
                self.known(&request_hash, &outcome, position)
            }
            Verdict::Contended => Err(ExecuteError::Contended),
            Verdict::Unavailable(why) => Err(ExecuteError::Unavailable(why)),
            Verdict::Refused(why) => Err(ExecuteError::Refused(why)),
            Verdict::Corrupt(why) => Err(ExecuteError::Corrupt(why)),
        };
        // A caller that stopped waiting does not need it; a repeat will get it from the log.
        let _ = self.answer.send(answer);
    }
}
