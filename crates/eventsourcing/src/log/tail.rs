//! The newest events, kept in memory by the process that appended them, so that its own subscriptions need not
//! ask the database for what it was just told. It is never the only source: what is not here is read from the
//! log, and an event is here only after its commit was acknowledged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::RecordedEvent;

/// Events that are kept at most.
const MAX_EVENTS: usize = 8192;
/// Bytes of their data that are kept at most.
const MAX_BYTES: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Tail {
    kept: Mutex<Kept>,
}

/// All events of the log with positions above `after`, up to `up_to`.
#[derive(Default)]
struct Kept {
    after: i64,
    up_to: i64,
    events: VecDeque<Arc<RecordedEvent>>,
    bytes: usize,
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
        kept.events.extend(appended);
        while kept.events.len() > MAX_EVENTS || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.events.pop_front() else { break };
            kept.after = oldest.position;
            kept.bytes -= oldest.data.len();
        }
    }

    /// Events after a position, or `None` when the log has to be asked.
    pub fn read(&self, after: i64, limit: usize) -> Option<Vec<Arc<RecordedEvent>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if after < kept.after || after >= kept.up_to {
            return None;
        }
        let from = kept.events.partition_point(|event| event.position <= after);
        Some(kept.events.range(from..).take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::command::Metadata;
    use crate::stream::StreamId;

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
    fn the_oldest_leave_when_there_are_too_many() {
        let tail = Tail::default();
        let last = MAX_EVENTS as i64 + 10;
        tail.push(events(1..=last));
        assert_eq!(positions(&tail, 9, 10), None);
        assert_eq!(positions(&tail, 10, 1), Some(vec![11]));
    }
}
