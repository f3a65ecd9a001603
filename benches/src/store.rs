//! What the workloads of the event log ask of a store: of ours, and of the sketch beside it. Nothing here is measured.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;

use crate::databases::{Database, Template};
use crate::handled::Handled;

/// An event store that can be driven. Clones are handles to the same one.
pub trait Store: Clone + Send + Sync + Sized + 'static {
    /// What the names of its figures end with.
    const OF: &'static str;
    /// A database without events.
    const EMPTY: Template;

    /// A database with so many accounts of [`EVENTS_PER_ACCOUNT`](crate::event::EVENTS_PER_ACCOUNT) events.
    fn seeded(accounts: u64) -> Template;

    /// Opens the store in a database that was made for it, with the states of streams kept in memory or not.
    fn open(database: &Database, cached: bool) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Appends one event to a new stream, which must not exist.
    fn append(&self, at: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Loads an account, decides on its state, and appends one event.
    fn command(&self, account: Uuid) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Has a subscription hand every event to `handled`, from the beginning, for as long as the store is open.
    fn follow(&self, handled: Arc<Handled>) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Ends subscriptions and connections.
    fn close(self) -> impl Future<Output = ()> + Send;
}
