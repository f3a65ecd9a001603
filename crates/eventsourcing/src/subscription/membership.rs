//! A subscription whose feed divides its partitions among replicas: a runner for each partition that this process is
//! given. Who is given what is the source's business.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SubscriptionState;
use super::checkpoint;
use super::effect::Effect;
use super::runner::{At, Runner, Tenure};
use crate::feed::{Assignment, Assignments, FeedError};

/// Pause between looks at how far other replicas are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest wait for the source to take its partitions back at the end.
const LEAVE: Duration = Duration::from_secs(5);

/// Handles what is assigned until `pattern.stop`. Each runner is made like `pattern`.
pub(super) async fn handle<E: Effect>(mut assignments: Assignments<E::Message>, pattern: Runner<E>) {
    let (stop, progress) = (pattern.stop.clone(), Arc::clone(&pattern.progress));
    let runners = TaskTracker::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            _ = looks.tick() => {
                let stored = checkpoint::load(&pattern.pool, progress.name, &progress.log).await;
                // Without it, what is known of the others is older.
                if let Ok(stored) = stored {
                    progress.heard(&stored);
                }
                continue;
            }
            next = assignments.recv() => next,
        };
        match next {
            Some(Ok(assignment)) => {
                progress.set_state(None, SubscriptionState::StandBy);
                runners.spawn(begin(assignment, &pattern).run());
            }
            Some(Err(error)) => progress.set_state(None, trouble(progress.name, error)),
            None => {
                let why = "the feed gives no partitions any more".to_owned();
                progress.set_state(None, SubscriptionState::Stopped(why));
                break;
            }
        }
    }
    // The partitions are given back when the runners have stored their places, and what gave them has said so.
    runners.close();
    runners.wait().await;
    assignments.close();
    let given_back = async { while assignments.recv().await.is_some() {} };
    let _ = tokio::time::timeout(LEAVE, given_back).await;
}

fn begin<E: Effect>(assignment: Assignment<E::Message>, pattern: &Runner<E>) -> Runner<E> {
    let stop = CancellationToken::new();
    let (taken, stopped, ended) = (assignment.taken, pattern.stop.clone(), stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = taken.cancelled() => {}
            () = stopped.cancelled() => {}
        }
        ended.cancel();
    });
    Runner {
        feed: assignment.feed,
        partition: assignment.partition,
        effect: Arc::clone(&pattern.effect),
        options: pattern.options,
        pool: pattern.pool.clone(),
        tenure: Tenure::Assigned { _handled: assignment.handled },
        progress: Arc::clone(&pattern.progress),
        stop,
        at: At::default(),
    }
}

fn trouble(subscription: &str, error: FeedError) -> SubscriptionState {
    match error {
        FeedError::Stop(why) => {
            tracing::error!(subscription, reason = why, "a subscription has stopped");
            SubscriptionState::Stopped(why)
        }
        error => {
            tracing::warn!(subscription, %error, "a subscription gets no partitions");
            SubscriptionState::Retrying(error.to_string())
        }
    }
}
