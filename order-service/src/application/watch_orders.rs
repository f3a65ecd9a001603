//! Following one order: what has happened, then what happens. One task per process reads the log's new events
//! and wakes those who follow the orders in them; so a follower costs a query per event of its own order, and
//! nothing while nothing happens.
//!
//! A stream ends when nothing is under way any more: the order is rejected, cancelled or delivered, or it is
//! confirmed and nobody has asked for its cancellation. The last entry says so. A confirmed order can be
//! followed on to its shipment by continuing after that entry: a call that begins at the end of a confirmed
//! order's history waits for more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventsourcing::{Decider, EventLog};
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::personal_data::PersonalData;
use super::timeline::{Entry, Timeline};
use crate::domain::{Order, OrderId};

/// Streams of this process at a time, unless configured otherwise.
pub const MAX_WATCHES: usize = 1_000;
/// Streams that follow the same order at a time, so that one shopper does not use up all.
pub const MAX_WATCHES_PER_ORDER: usize = 16;
/// Longest life of a stream. It then ends without a last entry, and the client continues after its cursor.
pub const MAX_WATCH_DURATION: Duration = Duration::from_secs(3600);
/// Longest time between looks at a followed order, should a wake-up be lost with a connection.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Events read at a time to find out whom to wake.
const WAKE_PAGE: usize = 500;
/// Pause before the log is read again after a failure.
const WAKE_PAUSE: Duration = Duration::from_secs(1);

/// The use case. Cheap to clone.
#[derive(Clone)]
pub struct WatchOrders {
    log: EventLog,
    personal_data: PersonalData,
    followers: Followers,
    stop: CancellationToken,
}

/// One entry of a stream.
#[derive(Debug)]
pub struct Watched {
    pub entry: Entry,
    /// The stream ends here.
    pub last: bool,
}

/// Why an order cannot be followed now.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("there is no such order")]
    UnknownOrder,
    #[error(transparent)]
    TooMany(#[from] TooManyWatches),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyWatches {
    #[error("too many streams are open in this process")]
    InProcess,
    #[error("too many streams follow this order")]
    OfOrder,
}

impl WatchOrders {
    pub fn new(
        log: EventLog,
        personal_data: PersonalData,
        max_watches: usize,
        stop: CancellationToken,
    ) -> Self {
        Self { log, personal_data, followers: Followers::new(max_watches), stop }
    }

    /// Follows an order from `after` on, a version of its stream.
    pub async fn watch(
        &self,
        order_id: OrderId,
        after: u64,
        deadline: Option<Instant>,
    ) -> Result<impl Stream<Item = Result<Watched, StoreError>> + Send + use<>, WatchError> {
        let limit = Instant::now() + MAX_WATCH_DURATION;
        let mut watch = Watch {
            seat: self.followers.join(order_id)?,
            parts: self.clone(),
            timeline: Timeline::of(order_id),
            after,
            ready: VecDeque::new(),
            until: deadline.map_or(limit, |deadline| deadline.min(limit)),
        };
        watch.read().await?;
        if watch.timeline.version == 0 {
            return Err(WatchError::UnknownOrder);
        }
        Ok(futures::stream::try_unfold(Some(watch), Watch::next))
    }

    /// Wakes followers as the log grows, until `stop`.
    pub async fn wake_followers(self) {
        let mut head = self.log.watch_head();
        let mut seen = *head.borrow_and_update();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = head.changed() => if changed.is_err() { return },
            }
            let newest = *head.borrow_and_update();
            while seen < newest {
                if self.followers.is_empty() {
                    seen = newest;
                    break;
                }
                match self.log.read_after(seen, WAKE_PAGE).await {
                    Ok(events) => {
                        seen = events.last().map_or(newest, |event| event.position);
                        let of_orders = events.iter().filter(|e| e.stream_id.category() == Order::CATEGORY);
                        of_orders
                            .filter_map(|e| OrderId::parse(e.stream_id.key()))
                            .for_each(|id| self.followers.wake(id));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the log cannot be read to wake those who follow orders");
                        tokio::time::sleep(WAKE_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// One stream.
struct Watch {
    parts: WatchOrders,
    seat: Seat,
    timeline: Timeline,
    after: u64,
    ready: VecDeque<Entry>,
    until: Instant,
}

impl Watch {
    /// The next entry, and the stream after it; `None` at its end.
    async fn next(watch: Option<Self>) -> Result<Option<(Watched, Option<Self>)>, StoreError> {
        let Some(mut watch) = watch else { return Ok(None) };
        loop {
            if let Some(entry) = watch.ready.pop_front() {
                let last = watch.ready.is_empty() && watch.timeline.state.is_at_rest();
                return Ok(Some((Watched { entry, last }, (!last).then_some(watch))));
            }
            if watch.timeline.state.is_final() || !watch.wait().await {
                return Ok(None);
            }
            watch.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        // The bell is seen before reading: what is appended after the read rings it again.
        self.seat.bell.borrow_and_update();
        let new = self.timeline.read_on(&self.parts.log, &self.parts.personal_data).await?;
        self.ready.extend(new.into_iter().filter(|entry| entry.version > self.after));
        Ok(())
    }

    /// Waits until there may be more. False when the stream is to end.
    async fn wait(&mut self) -> bool {
        tokio::select! {
            () = self.parts.stop.cancelled() => false,
            () = tokio::time::sleep_until(self.until) => false,
            _ = self.seat.bell.changed() => true,
            () = tokio::time::sleep(LOOK_INTERVAL) => true,
        }
    }
}

/// Who follows which order in this process.
#[derive(Clone)]
struct Followers {
    free: Arc<Semaphore>,
    bells: Arc<Mutex<HashMap<OrderId, Bell>>>,
}

struct Bell {
    sender: watch::Sender<()>,
    seats: usize,
}

/// A place among the followers, given back when dropped.
struct Seat {
    order_id: OrderId,
    bell: watch::Receiver<()>,
    followers: Followers,
    _permit: OwnedSemaphorePermit,
}

impl Followers {
    fn new(max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(max)), bells: Arc::default() }
    }

    fn join(&self, order_id: OrderId) -> Result<Seat, TooManyWatches> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| TooManyWatches::InProcess)?;
        let mut bells = self.bells();
        let bell = bells.entry(order_id).or_insert_with(|| Bell { sender: watch::Sender::new(()), seats: 0 });
        if bell.seats >= MAX_WATCHES_PER_ORDER {
            return Err(TooManyWatches::OfOrder);
        }
        bell.seats += 1;
        let bell = bell.sender.subscribe();
        drop(bells);
        Ok(Seat { order_id, bell, followers: self.clone(), _permit: permit })
    }

    fn wake(&self, order_id: OrderId) {
        if let Some(bell) = self.bells().get(&order_id) {
            bell.sender.send_replace(());
        }
    }

    fn is_empty(&self) -> bool {
        self.bells().is_empty()
    }

    fn bells(&self) -> MutexGuard<'_, HashMap<OrderId, Bell>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut bells = self.followers.bells();
        if let Some(bell) = bells.get_mut(&self.order_id) {
            bell.seats -= 1;
            if bell.seats == 0 {
                bells.remove(&self.order_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn order(number: u128) -> OrderId {
        OrderId::new(Uuid::from_u128(number))
    }

    #[test]
    fn one_order_cannot_use_up_all_seats() {
        let followers = Followers::new(MAX_WATCHES_PER_ORDER + 1);
        let seats: Vec<_> = (0..MAX_WATCHES_PER_ORDER).map(|_| followers.join(order(1)).unwrap()).collect();
        assert_eq!(followers.join(order(1)).err(), Some(TooManyWatches::OfOrder));
        let another = followers.join(order(2)).unwrap();
        assert_eq!(followers.join(order(3)).err(), Some(TooManyWatches::InProcess));
        drop((seats, another));
        assert!(followers.is_empty());
        followers.join(order(3)).unwrap();
    }

    #[test]
    fn a_bell_wakes_those_who_follow_that_order() {
        let followers = Followers::new(2);
        let (one, two) = (followers.join(order(1)).unwrap(), followers.join(order(2)).unwrap());
        followers.wake(order(1));
        assert!(one.bell.has_changed().unwrap());
        assert!(!two.bell.has_changed().unwrap());
        followers.wake(order(9));
    }
}
