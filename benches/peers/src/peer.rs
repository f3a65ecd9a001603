//! What is asked of a library. Each does it as its own documentation says, without further help.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;

use crate::handled::Handled;

/// How an attempt ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Somebody else was first. The caller tries again at once.
    Conflict,
}

pub trait Peer: Send + Sync + 'static {
    /// Counts decisions on an old state that were let through, on the stream of one account.
    const STALE: &'static str;

    /// Appends so many events to a new stream.
    fn seed(&self, account: Uuid, events: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Appends one event to a new stream, which must not exist.
    fn append(&self, at: u64) -> impl Future<Output = anyhow::Result<Outcome>> + Send;

    /// Loads an account, decides, appends one event.
    fn command(&self, account: Uuid) -> impl Future<Output = anyhow::Result<Outcome>> + Send;

    /// Reads everything once, with the library's replay or with its subscription, which then goes on. Returns whether it
    /// is a subscription.
    fn follow(&self, handled: Arc<Handled>) -> impl Future<Output = anyhow::Result<bool>> + Send;
}
