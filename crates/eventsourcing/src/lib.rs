pub mod command;
pub mod decider;
pub mod log;
pub mod operation;
pub mod processor;
mod snapshot;
pub mod stream;

pub use command::{CommandContext, Metadata, Retention};
pub use decider::{DecodeError, Decider, DomainEvent, EncodedEvent};
pub use log::{EventLog, LogOptions, MigrateError, Migrations, OpenError, RecordedEvent, migrate};
pub use operation::{Decide, Halt, InMemoryStreams, Missing, Operation, View};
pub use processor::{CommandProcessor, Committed, ExecuteError, ProcessorOptions};
pub use stream::{MalformedPosition, Position, StreamId};
