//! The newest events, kept in memory by the process that appended them, so that its own subscriptions need not
//! ask the database for what it was just told. It is never the only source: what is not here is read from the
//! log, and an event is here only after its commit was acknowledged.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::RecordedEvent;
use crate::stream::StreamId;

/// Events that are kept at most.
const MAX_EVENTS: usize = 8192;
/// Bytes of their data that are kept at most.
const MAX_BYTES: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Tail {
    kept: Mutex<Kept>,
}

/// All events of the log with positions above `after`, up to `up_to`, and there is no hole among those.
#[derive(Default)]
struct Kept {
    after: i64,
    up_to: i64,
    events: VecDeque<Arc<RecordedEvent>>,
    bytes: usize,
    /// Positions of each stream's events.
    streams: HashMap<StreamId, VecDeque<i64>>,
}

impl Tail {
    /// Takes the events of one append. Their positions follow each other, and nothing else can stand between
    /// them; whether anything stands before them, their first position tells.
    pub fn push(&self, appended: Vec<Arc<RecordedEvent>>) {
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else { return };
        let (previous, up_to) = (first.position - 1, last.position);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if previous < kept.up_to {
            // A later append was heard of first, and what is kept begins behind this one.
            return;
        }
        if previous != kept.up_to {
            // Another process may have appended between.
            *kept = Kept { after: previous, up_to: previous, ..Kept::default() };
        }
        kept.up_to = up_to;
        kept.bytes += appended.iter().map(|event| event.data.len()).sum::<usize>();
        for event in appended {
            kept.streams.entry(event.stream_id.clone()).or_default().push_back(event.position);
            kept.events.push_back(event);
        }
        while kept.events.len() > MAX_EVENTS || kept.bytes > MAX_BYTES {
            if !kept.drop_oldest() {
                break;
            }
        }
    }

    /// Events after a position, or `None` when the log has to be asked.
    pub fn read(&self, after: i64, limit: usize) -> Option<Vec<Arc<RecordedEvent>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if after < kept.after || after >= kept.up_to {
            return None;
        }
        Some(kept.events.range((after - kept.after) as usize..).take(limit).cloned().collect())
    }

    /// Events of one stream after a version, or `None` when the log has to be asked: when the next one is not
    /// here, or when the log is known to have come further, to `head`.
    pub fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
        head: i64,
    ) -> Option<Vec<Arc<RecordedEvent>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if head > kept.up_to {
            return None;
        }
        let positions = kept.streams.get(stream)?;
        let events = positions.iter().map(|position| &kept.events[(position - kept.after - 1) as usize]);
        let events: Vec<_> = events.filter(|event| event.version > after).take(limit).cloned().collect();
        events.first().is_some_and(|first| first.version == after + 1).then_some(events)
    }
}

impl Kept {
    /// Whether there was any.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.events.pop_front() else { return false };
        self.after = oldest.position;
        self.bytes -= oldest.data.len();
        if let Some(positions) = self.streams.get_mut(&oldest.stream_id) {
            positions.pop_front();
            if positions.is_empty() {
                self.streams.remove(&oldest.stream_id);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::command::Metadata;

    fn events(positions: std::ops::RangeInclusive<i64>) -> Vec<Arc<RecordedEvent>> {
        let event = |position| RecordedEvent {
            position,
            stream_id: StreamId::from_name("account-1"),
            version: position as u64,
            event_id: Uuid::nil(),
            command_id: Uuid::nil(),
            event_type: "Deposited".into(),
            schema_version: 1,
            data: "{}".into(),
            metadata: Metadata::default(),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        positions.map(|position| Arc::new(event(position))).collect()
    }

    fn positions(tail: &Tail, after: i64, limit: usize) -> Option<Vec<i64>> {
        tail.read(after, limit).map(|events| events.iter().map(|event| event.position).collect())
    }

    #[test]
    fn what_was_appended_in_a_row_is_read_from_any_place_in_it() {
        let tail = Tail::default();
        tail.push(events(8..=9));
        tail.push(events(10..=12));
        assert_eq!(positions(&tail, 7, 10), Some(vec![8, 9, 10, 11, 12]));
        assert_eq!(positions(&tail, 9, 2), Some(vec![10, 11]));
    }

    #[test]
    fn what_lies_before_or_behind_is_asked_of_the_log() {
        let tail = Tail::default();
        assert_eq!(positions(&tail, 0, 10), None);
        tail.push(events(8..=9));
        assert_eq!(positions(&tail, 6, 10), None);
        assert_eq!(positions(&tail, 9, 10), None);
    }

    #[test]
    fn a_hole_that_another_process_may_have_filled_makes_the_tail_begin_anew() {
        let tail = Tail::default();
        tail.push(events(1..=3));
        tail.push(events(5..=6));
        assert_eq!(positions(&tail, 2, 10), None);
        assert_eq!(positions(&tail, 3, 10), None);
        assert_eq!(positions(&tail, 4, 10), Some(vec![5, 6]));
    }

    #[test]
    fn an_append_that_is_heard_of_late_changes_nothing() {
        let tail = Tail::default();
        tail.push(events(4..=5));
        tail.push(events(1..=3));
        assert_eq!(positions(&tail, 0, 10), None);
        assert_eq!(positions(&tail, 3, 10), Some(vec![4, 5]));
    }

    #[test]
    fn a_stream_is_read_here_only_from_its_next_event_on_and_if_nothing_newer_is_known() {
        let tail = Tail::default();
        tail.push(events(5..=8));
        let stream = StreamId::from_name("account-1");
        let versions = |stream: &StreamId, after, limit, head| {
            let events = tail.read_stream(stream, after, limit, head)?;
            Some(events.iter().map(|event| event.version).collect::<Vec<_>>())
        };
        assert_eq!(versions(&stream, 5, 10, 8), Some(vec![6, 7, 8]));
        assert_eq!(versions(&stream, 4, 2, 8), Some(vec![5, 6]));
        assert_eq!(versions(&stream, 3, 10, 8), None, "version 4 is not here");
        assert_eq!(versions(&stream, 8, 10, 8), None, "whether there is more, only the log knows");
        assert_eq!(versions(&stream, 5, 10, 9), None, "another process has appended");
        assert_eq!(versions(&StreamId::from_name("account-2"), 0, 10, 8), None);
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let tail = Tail::default();
        let last = MAX_EVENTS as i64 + 10;
        tail.push(events(1..=last));
        assert_eq!(positions(&tail, 9, 10), None);
        assert_eq!(positions(&tail, 10, 1), Some(vec![11]));
        let stream = StreamId::from_name("account-1");
        assert!(tail.read_stream(&stream, 9, 1, last).is_none());
        assert!(tail.read_stream(&stream, 10, 1, last).is_some());
    }
}
