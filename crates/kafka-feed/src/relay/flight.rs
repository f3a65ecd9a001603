//! What was handed to Kafka's client and is not acknowledged, in the order of the log. It knows the acknowledged prefix:
//! the position up to which nothing is missing in the topic, which alone may become the checkpoint. Acknowledgements
//! of different partitions come in any order.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

/// Records in flight.
pub struct Flight {
    /// The number of the record at the front.
    first: usize,
    sent: VecDeque<Sent>,
    /// Everything up to here was read from the log and sent, or is private.
    read_up_to: i64,
}

/// A record that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub position: i64,
    /// When its event was appended.
    pub recorded_at: DateTime<Utc>,
    acknowledged: bool,
}

impl Flight {
    /// Nothing is in flight, and everything up to `position` is acknowledged.
    pub fn beginning_at(position: i64) -> Self {
        Self { first: 0, sent: VecDeque::new(), read_up_to: position }
    }

    /// The number that the next record gets.
    pub fn next_number(&self) -> usize {
        self.first + self.sent.len()
    }

    /// Takes a record that was sent as [`next_number`](Self::next_number).
    pub fn sent(&mut self, position: i64, recorded_at: DateTime<Utc>) {
        self.sent.push_back(Sent { position, recorded_at, acknowledged: false });
        self.read_up_to = position;
    }

    /// Everything up to `position` was sent, or is private.
    pub fn read_up_to(&mut self, position: i64) {
        self.read_up_to = self.read_up_to.max(position);
    }

    /// How far the log was read and sent.
    pub fn sent_up_to(&self) -> i64 {
        self.read_up_to
    }

    /// Takes the acknowledgement of a record. `None` if there is no such record.
    pub fn acknowledge(&mut self, number: usize) -> Option<Sent> {
        let sent = self.sent.get_mut(number.checked_sub(self.first)?)?;
        sent.acknowledged = true;
        let acknowledged = *sent;
        while self.sent.front().is_some_and(|front| front.acknowledged) {
            self.sent.pop_front();
            self.first += 1;
        }
        Some(acknowledged)
    }

    /// Up to here nothing is missing in the topic.
    pub fn acknowledged_up_to(&self) -> i64 {
        // Between the records in flight there are private events at most.
        self.sent.front().map_or(self.read_up_to, |oldest| oldest.position - 1)
    }

    /// The oldest record that is not acknowledged.
    pub fn oldest(&self) -> Option<&Sent> {
        self.sent.front()
    }

    pub fn len(&self) -> usize {
        self.sent.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_prefix_ends_before_the_oldest_record_that_is_not_acknowledged() {
        let mut flight = Flight::beginning_at(10);
        for position in [12, 13, 17] {
            flight.sent(position, Utc::now());
        }
        flight.read_up_to(20);
        assert_eq!(flight.acknowledged_up_to(), 11, "11 is private");
        flight.acknowledge(1);
        assert_eq!(flight.acknowledged_up_to(), 11, "12 is missing");
        flight.acknowledge(0);
        assert_eq!(flight.acknowledged_up_to(), 16, "17 is missing, what is before it is there or private");
        flight.acknowledge(2);
        assert_eq!((flight.acknowledged_up_to(), flight.len()), (20, 0));
        assert!(flight.acknowledge(2).is_none(), "it is acknowledged already");
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_acknowledgements_nothing_unacknowledged_is_in_the_prefix(
            gaps in proptest::collection::vec(1_i64..4, 1..60),
            order in any::<prop::sample::Index>(),
            seed in any::<u64>(),
        ) {
            let positions: Vec<i64> =
                gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut flight = Flight::beginning_at(0);
            for position in &positions {
                flight.sent(*position, Utc::now());
            }
            let mut left: Vec<usize> = (0..positions.len()).collect();
            let mut turn = seed ^ order.index(7) as u64;
            while !left.is_empty() {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let number = left.remove((turn >> 33) as usize % left.len());
                prop_assert_eq!(flight.acknowledge(number).unwrap().position, positions[number]);
                let missing = left.iter().map(|number| positions[*number]).min();
                let expected = missing.map_or(*positions.last().unwrap(), |missing| missing - 1);
                prop_assert_eq!(flight.acknowledged_up_to(), expected);
            }
        }
    }
}
