//! What has arrived of one partition and was not handed out yet, and which of what arrives counts: records are dropped
//! that were seen before, and it ends where a person has to look. It does not know where records come from.

use std::collections::VecDeque;

use eventsourcing::{FeedError, IntegrationEvent, Page, Place};

use crate::record::{Content, Received, RecordError};

/// Records that are kept at most: from here on the partition is paused.
const MAX_RECORDS: usize = 1000;
/// Bytes of their data that are kept at most.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Whether a partition is to be fetched further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    /// Enough is here.
    Pause,
    /// Nothing more is wanted.
    End,
}

/// What whoever reads a slot has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    /// Fetch from this record on, or from the first that there is, and say so with [`Slot::arm`].
    Start {
        offset: Option<i64>,
        generation: u64,
    },
    /// Fetch on: there is room again.
    Resume,
}

/// One partition. Kafka's numbers of records are called offsets here, as in Kafka.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Raised whenever it begins at another place.
    generation: u64,
    is_started: bool,
    /// What arrives belongs to this generation.
    is_armed: bool,
    is_paused: bool,
    queue: VecDeque<(i64, IntegrationEvent)>,
    bytes: usize,
    /// Everything up to here has arrived; `resume` is always there.
    tail: Place,
    /// Everything up to here was handed out.
    handed: Place,
    stopped: Option<String>,
    broken: Option<String>,
}

impl Slot {
    /// Has it be at a place, which is where it is already when nobody else read meanwhile.
    pub fn seek(&mut self, after: Place) -> Wanted {
        if self.is_started && self.handed == after {
            return Wanted::Nothing;
        }
        let offset = after.resume;
        *self = Self {
            generation: self.generation + 1,
            is_started: true,
            tail: Place { resume: Some(offset.unwrap_or(0)), ..after },
            handed: after,
            ..Self::default()
        };
        Wanted::Start { offset, generation: self.generation }
    }

    /// Fetching has begun for a generation: what arrived before was of another.
    pub fn arm(&mut self, generation: u64) {
        self.is_armed |= self.generation == generation && self.is_started;
    }

    /// Nobody reads it any more.
    pub fn release(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::default() };
    }

    /// Something is wrong with the source: whoever reads next is told, and begins again.
    pub fn break_off(&mut self, why: &str) {
        if self.is_started {
            self.broken = Some(why.to_owned());
        }
    }

    /// Everything up to here has arrived.
    pub fn tail(&self) -> Place {
        self.tail
    }

    /// Whether there is no reason to wait: so many messages are here, or all up to a record, or no more will come.
    pub fn has(&self, messages: usize, up_to: i64) -> bool {
        self.queue.len() >= messages
            || self.is_paused
            || self.stopped.is_some()
            || self.broken.is_some()
            || self.tail.resume >= Some(up_to)
    }

    /// Takes a record that was fetched. `log` is the log that the topic is of.
    pub fn offer(&mut self, log: &str, offset: i64, received: Result<Received, RecordError>) -> Flow {
        if !self.is_armed || self.broken.is_some() || Some(offset) < self.tail.resume {
            return Flow::GoOn;
        }
        if self.stopped.is_some() {
            return Flow::End;
        }
        let received = match received {
            Ok(received) if received.log == log => received,
            Ok(received) => {
                return self.stop(offset, &format!("it is of the log `{}`", received.log));
            }
            Err(error) => return self.stop(offset, &error.to_string()),
        };
        let seen = self.tail.incarnation;
        if seen != 0 && received.incarnation > seen {
            self.stopped = Some(format!(
                "the log `{log}` has incarnation {}, and this subscription has seen {seen}: the log was restored; compare \
                 what both have, and tell the subscription the position that they share and the new incarnation",
                received.incarnation
            ));
            return Flow::End;
        }
        self.tail.resume = Some(offset + 1);
        let position = received.position();
        // A relay that does not know that another took over still sends, and so does one of a former incarnation.
        if received.incarnation < seen || position <= self.tail.position {
            return Flow::GoOn;
        }
        (self.tail.position, self.tail.incarnation) = (position, received.incarnation);
        if let Content::Event(event) = received.content {
            self.bytes += event.data.len();
            self.queue.push_back((offset, event));
        }
        if self.queue.len() < MAX_RECORDS && self.bytes < MAX_BYTES {
            return Flow::GoOn;
        }
        self.is_paused = true;
        Flow::Pause
    }

    fn stop(&mut self, offset: i64, what: &str) -> Flow {
        self.stopped = Some(format!(
            "record {offset} of the partition cannot be taken ({what}): somebody else than the relay writes into this topic, \
             or it is damaged; make the topic anew, have the relay fill it from the log, and tell the subscription to go on \
             from the beginning"
        ));
        Flow::End
    }

    /// Hands out what is here, at most so many messages.
    pub fn take(&mut self, limit: usize) -> Result<(Page<IntegrationEvent>, Wanted), FeedError> {
        if let Some(why) = self.broken.take() {
            self.is_started = false;
            return Err(FeedError::Away(why));
        }
        if self.queue.is_empty()
            && let Some(why) = self.stopped.take()
        {
            self.is_started = false;
            return Err(FeedError::Stop(why));
        }
        let count = limit.min(self.queue.len());
        let mut last = None;
        let mut messages = Vec::with_capacity(count);
        for (offset, event) in self.queue.drain(..count) {
            self.bytes -= event.data.len();
            last = Some((offset, event.position));
            messages.push(event);
        }
        let up_to = match last {
            _ if self.queue.is_empty() => self.tail,
            Some((offset, position)) => {
                Place { position, incarnation: self.tail.incarnation, resume: Some(offset + 1) }
            }
            None => self.handed,
        };
        self.handed = up_to;
        let wanted = match self.is_paused && self.queue.len() < MAX_RECORDS / 2 && self.bytes < MAX_BYTES / 2
        {
            true => {
                self.is_paused = false;
                Wanted::Resume
            }
            false => Wanted::Nothing,
        };
        Ok((Page { messages, up_to }, wanted))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    const LOG: &str = "ledger";

    fn event(position: i64) -> Content {
        Content::Event(IntegrationEvent {
            id: Uuid::from_u128(position as u128),
            source: "/shop/ledger".into(),
            event_type: "Deposited".into(),
            time: DateTime::UNIX_EPOCH,
            subject: "account-a".into(),
            version: 1,
            position,
            correlation_id: "c".into(),
            traceparent: None,
            data: vec![0; 8],
        })
    }

    fn received(incarnation: i32, content: Content) -> Result<Received, RecordError> {
        Ok(Received { log: LOG.into(), incarnation, content })
    }

    fn at(position: i64, incarnation: i32, resume: i64) -> Place {
        Place { position, incarnation, resume: Some(resume) }
    }

    /// A slot that is fetched from a place on.
    fn slot(after: Place) -> Slot {
        let mut slot = Slot::default();
        let Wanted::Start { generation, .. } = slot.seek(after) else { panic!("it starts") };
        slot.arm(generation);
        slot
    }

    fn positions(slot: &mut Slot, limit: usize) -> (Vec<i64>, Place) {
        let (page, _) = slot.take(limit).expect("it can be read");
        (page.messages.iter().map(|message| message.position).collect(), page.up_to)
    }

    #[test]
    fn what_was_seen_before_is_dropped_and_watermarks_move_the_place() {
        let mut slot = slot(at(5, 1, 3));
        for (offset, content) in [
            (3, event(5)),
            (4, event(6)),
            (5, event(4)),
            (6, event(8)),
            (7, event(6)),
            (8, Content::Watermark { position: 12 }),
        ] {
            assert_eq!(slot.offer(LOG, offset, received(1, content)), Flow::GoOn);
        }
        assert_eq!(positions(&mut slot, 1), (vec![6], at(6, 1, 5)));
        assert_eq!(positions(&mut slot, 9), (vec![8], at(12, 1, 9)));
        assert_eq!(positions(&mut slot, 9), (vec![], at(12, 1, 9)), "and nothing moves when nothing comes");
    }

    #[test]
    fn the_first_record_tells_the_incarnation_an_older_one_is_dropped_and_a_newer_one_stops() {
        let mut slot = slot(Place::default());
        slot.offer(LOG, 0, received(2, event(1)));
        slot.offer(LOG, 1, received(1, event(9)));
        slot.offer(LOG, 2, received(2, event(2)));
        assert_eq!(slot.offer(LOG, 3, received(3, event(2))), Flow::End);
        assert_eq!(slot.offer(LOG, 4, received(3, event(3))), Flow::End);
        assert_eq!(positions(&mut slot, 9), (vec![1, 2], at(2, 2, 3)), "what came before is handled");
        let stop = slot.take(9).unwrap_err();
        assert!(matches!(&stop, FeedError::Stop(why) if why.contains("incarnation 3")), "{stop}");

        // Told to go on, it begins behind what was handled.
        let Wanted::Start { offset: Some(3), generation } = slot.seek(at(1, 3, 3)) else {
            panic!("it starts")
        };
        slot.arm(generation);
        slot.offer(LOG, 3, received(3, event(2)));
        assert_eq!(positions(&mut slot, 9), (vec![2], at(2, 3, 4)));
    }

    #[test]
    fn a_record_that_is_damaged_or_of_another_log_stops_after_what_came_before() {
        for wrong in [
            Err(RecordError::NoValue),
            Ok(Received { log: "other".into(), incarnation: 1, content: event(3) }),
        ] {
            let mut slot = slot(Place::default());
            slot.offer(LOG, 0, received(1, event(1)));
            assert_eq!(slot.offer(LOG, 1, wrong), Flow::End);
            assert_eq!(positions(&mut slot, 9).0, [1]);
            let stop = slot.take(9).unwrap_err();
            assert!(matches!(&stop, FeedError::Stop(why) if why.contains("record 1")), "{stop}");
        }
    }

    #[test]
    fn when_it_is_full_it_pauses_until_half_of_it_is_taken() {
        let mut slot = slot(Place::default());
        let last = MAX_RECORDS as i64 - 1;
        for offset in 0..last {
            assert_eq!(slot.offer(LOG, offset, received(1, event(offset + 1))), Flow::GoOn);
        }
        assert_eq!(slot.offer(LOG, last, received(1, event(last + 1))), Flow::Pause);
        assert_eq!(slot.take(MAX_RECORDS / 2).unwrap().1, Wanted::Nothing);
        assert_eq!(slot.take(1).unwrap().1, Wanted::Resume);
        assert_eq!(slot.take(MAX_RECORDS).unwrap().1, Wanted::Nothing);
    }

    #[test]
    fn what_was_fetched_for_another_place_never_counts() {
        let mut slot = slot(Place::default());
        slot.offer(LOG, 0, received(1, event(1)));
        assert_eq!(positions(&mut slot, 1).0, [1]);
        assert_eq!(slot.seek(at(1, 1, 1)), Wanted::Nothing, "it is there");
        let Wanted::Start { offset: None, generation } = slot.seek(Place::default()) else {
            panic!("it starts")
        };
        slot.offer(LOG, 7, received(1, event(8)));
        slot.arm(generation - 1);
        slot.offer(LOG, 8, received(1, event(9)));
        slot.arm(generation);
        slot.offer(LOG, 0, received(1, event(1)));
        assert_eq!(positions(&mut slot, 9), (vec![1], at(1, 1, 1)));
    }

    #[test]
    fn a_break_is_told_once_and_then_it_begins_again() {
        let mut slot = slot(Place::default());
        slot.break_off("brokers are down");
        assert!(matches!(slot.take(9), Err(FeedError::Away(_))));
        assert!(matches!(slot.seek(Place::default()), Wanted::Start { .. }));
    }
}
