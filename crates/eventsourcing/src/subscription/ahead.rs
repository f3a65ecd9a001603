//! Pages that are read while earlier ones are handled, so that a replay keeps the database and its own processor busy
//! at the same time. It guesses where pages begin, which is right as long as positions follow each other; a wrong guess
//! costs one read and is never handled.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use crate::feed::{Feed, Message, Page, Place};

/// Pages that are read at once. A third brings nothing to two processors.
const PAGES: usize = 2;

pub(super) struct ReadAhead<M> {
    feed: Arc<dyn Feed<Message = M>>,
    /// Messages of a page at most.
    size: usize,
    pages: VecDeque<Expected<M>>,
}

/// A page that is being read, and the position that it follows.
struct Expected<M> {
    after: i64,
    page: AbortOnDropHandle<Option<Page<M>>>,
}

impl<M: Message> ReadAhead<M> {
    pub fn new(feed: Arc<dyn Feed<Message = M>>, size: usize) -> Self {
        Self { feed, size, pages: VecDeque::new() }
    }

    /// Begins to read the pages behind a full page that ends at `place`, unless only that page tells where the next begins.
    pub fn begin(&mut self, place: Place) {
        if place.resume.is_some() {
            return;
        }
        let mut after = self.pages.back().map_or(place.position, |last| last.after + self.size as i64);
        let head = *self.feed.head().borrow();
        while self.pages.len() < PAGES && after < head {
            let (feed, size) = (Arc::clone(&self.feed), self.size);
            // What cannot be read ahead is read again in its turn, where a failure is heard of.
            let read = async move { feed.read(0, place.moved_to(after), size).await.ok() };
            self.pages.push_back(Expected { after, page: AbortOnDropHandle::new(tokio::spawn(read)) });
            after += self.size as i64;
        }
    }

    /// The page behind `place`, when it was begun and there is something on it.
    pub async fn next(&mut self, place: Place) -> Option<Page<M>> {
        let expected = self.pages.pop_front()?;
        if expected.after == place.position
            && let Ok(Some(page)) = expected.page.await
            && !page.messages.is_empty()
        {
            return Some(page);
        }
        self.pages.clear();
        None
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use proptest::prelude::*;
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::*;
    use crate::feed::{FeedError, IntegrationEvent};

    /// A feed whose positions have holes, and that fails now and then.
    struct Holed {
        positions: Vec<i64>,
        fails_after: Vec<i64>,
        head: watch::Sender<i64>,
    }

    fn message(position: i64) -> IntegrationEvent {
        IntegrationEvent {
            id: Uuid::nil(),
            source: String::new(),
            event_type: String::new(),
            time: DateTime::UNIX_EPOCH,
            subject: String::new(),
            version: 1,
            position,
            correlation_id: String::new(),
            traceparent: None,
            data: Vec::new(),
        }
    }

    impl Feed for Holed {
        type Message = IntegrationEvent;

        fn log(&self) -> &str {
            "ledger"
        }

        fn incarnation(&self) -> i32 {
            1
        }

        fn read(
            &self,
            _partition: i32,
            after: Place,
            limit: usize,
        ) -> BoxFuture<'_, Result<Page<IntegrationEvent>, FeedError>> {
            let behind = self.positions.iter().filter(|position| **position > after.position).take(limit);
            let messages: Vec<_> = behind.map(|position| message(*position)).collect();
            let up_to = messages.last().map_or(after, |last| after.moved_to(last.position));
            let failed = self.fails_after.contains(&after.position);
            let page =
                if failed { Err(sqlx::Error::PoolTimedOut.into()) } else { Ok(Page { messages, up_to }) };
            async { page }.boxed()
        }

        fn newest(&self, _partition: i32) -> BoxFuture<'_, Result<i64, FeedError>> {
            async { Ok(*self.head.borrow()) }.boxed()
        }

        fn head(&self) -> watch::Receiver<i64> {
            self.head.subscribe()
        }
    }

    proptest! {
        #[test]
        fn every_message_comes_once_and_in_order_wherever_the_holes_are(
            steps in prop::collection::vec(1i64..4, 0..60),
            size in 1usize..6,
            fails_after in prop::collection::vec(0i64..120, 0..10),
        ) {
            let positions: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let head = positions.last().copied().unwrap_or(0);
            let feed = Holed { positions: positions.clone(), fails_after, head: watch::Sender::new(head) };
            let feed: Arc<dyn Feed<Message = IntegrationEvent>> = Arc::new(feed);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let seen = runtime.block_on(async {
                let mut ahead = ReadAhead::new(Arc::clone(&feed), size);
                let (mut seen, mut place) = (Vec::new(), Place::default());
                while place.position < head {
                    let page = match ahead.next(place).await {
                        Some(page) => page,
                        // Whoever reads a page in its turn sees the failure and tries again; here there is no second.
                        None => {
                            let behind = positions.iter().filter(|p| **p > place.position).take(size);
                            let messages: Vec<_> = behind.map(|p| message(*p)).collect();
                            Page { up_to: Place::at(messages.last().unwrap().position), messages }
                        }
                    };
                    seen.extend(page.messages.iter().map(|message| message.position));
                    place = page.up_to;
                    ahead.begin(place);
                }
                seen
            });
            prop_assert_eq!(seen, positions);
        }
    }
}
