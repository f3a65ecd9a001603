//! Timers: tasks that a log's own events set and take back. The projection that keeps them in step is the same for all;
//! a service says which events mean what ([`Timing`]), and gives the handler that fires them. A timer that was missed
//! while nobody ran fires after the start, and one may fire late or twice, so that its command must look at the time.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{NewTask, TaskOutcome, TaskQueue};
use crate::feed::Message;
use crate::log::RecordedEvent;
use crate::subscription::{HandlerError, Projection, SubscriptionOptions};

/// How long timers wait for others to be set with. They are due in seconds at the soonest, and many are taken back
/// before they were set.
const LINGER: Duration = Duration::from_millis(200);
/// First pause after a failed run; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between runs of a timer.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Which events set timers and take them back.
pub trait Timing: Send + Sync + 'static {
    /// Name of the subscription.
    const NAME: &'static str;

    /// What an event does to timers, each by its key; a key has one timer at most.
    ///
    /// # Errors
    /// When the event cannot be decoded.
    fn of(event: &RecordedEvent) -> Result<Vec<(String, Set)>, HandlerError>;
}

/// What becomes of a timer. Whatever there was is taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Set {
    /// Due then, and what its handler needs to know besides the key. No personal data, no secrets.
    At(DateTime<Utc>, Value),
    Back,
}

/// The projection that keeps the timers of a queue in step with a log.
pub struct Timers<T> {
    queue: TaskQueue,
    timing: PhantomData<fn() -> T>,
}

impl<T: Timing> Timers<T> {
    pub fn new(queue: TaskQueue) -> Self {
        Self { queue, timing: PhantomData }
    }
}

/// How the subscription of timers runs.
pub fn options() -> SubscriptionOptions {
    SubscriptionOptions { linger: LINGER, ..SubscriptionOptions::default() }
}

/// A timer that could not fire is tried again, after longer and longer pauses.
pub fn retry(error: &HandlerError, attempts: i32) -> TaskOutcome {
    super::retry(error, attempts, FIRST_PAUSE, LONGEST_PAUSE)
}

impl<T: Timing> Projection for Timers<T> {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        T::NAME
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    /// Only the last word of a page on a timer counts.
    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        page: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut timers: HashMap<String, Option<NewTask>> = HashMap::new();
        for event in page {
            for (key, set) in T::of(event)? {
                let task = match set {
                    Set::At(due_at, payload) => {
                        let (id, metadata) = (event.event_id, event.metadata());
                        Some(NewTask { id, key: key.clone(), payload, metadata, due_at })
                    }
                    Set::Back => None,
                };
                timers.insert(key, task);
            }
        }
        let (keys, tasks): (Vec<String>, Vec<Option<NewTask>>) = timers.into_iter().unzip();
        let tasks: Vec<NewTask> = tasks.into_iter().flatten().collect();
        self.queue.replace(connection, &keys, &tasks).await?;
        Ok(())
    }

    fn committed(&self) {
        self.queue.committed();
    }
}
