mod backoff;
pub mod command;
pub mod decider;
pub mod feed;
pub mod log;
pub mod operation;
pub mod processor;
mod snapshot;
pub mod stream;
pub mod subscription;

pub use command::{CommandContext, Metadata, Retention};
pub use decider::{DecodeError, Decider, DomainEvent, EncodedEvent};
pub use feed::{Feed, FeedError, IntegrationEvent, IntegrationFeed, LogFeed, Message, Page, Publish, Published};
pub use log::{EventLog, LogOptions, MigrateError, Migrations, OpenError, RecordedEvent, migrate};
pub use operation::{Decide, Halt, InMemoryStreams, Missing, Operation, View};
pub use processor::{CommandProcessor, Committed, ExecuteError, ProcessorOptions};
pub use stream::{MalformedPosition, Position, StreamId};
pub use subscription::{
    Commands, HandlerError, NotReached, ParkedMessage, Projection, Reactor, SubscriptionHandle,
    SubscriptionOptions, SubscriptionState, SubscriptionStatus, Subscriptions,
};
