//! What a relay measures. All of it carries the label `log`. A replica whose relay stands by reports zeros, so that sums
//! and maxima over replicas are right.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Gauge: events of the log that are not known to be in the topic.
pub const BACKLOG: &str = "relay_backlog_events";
/// Gauge: seconds since the oldest of them was appended.
pub const OLDEST: &str = "relay_oldest_unacknowledged_seconds";
/// Counter: events that Kafka acknowledged.
pub const ACKNOWLEDGED: &str = "relay_acknowledged_total";
/// Histogram: seconds from an event's append to Kafka's acknowledgement.
pub const COMMIT_TO_ACKNOWLEDGED: &str = "relay_commit_to_acknowledged_seconds";
/// Gauge: 1 while this replica's relay is the one that fills the topic.
pub const ACTIVE: &str = "relay_active";
/// Gauge: 1 while it waits for an operator.
pub const STOPPED: &str = "relay_stopped";
/// Gauge: settings of the topic that are not as configured.
pub const DIFFERENCES: &str = "relay_topic_differences";

pub(super) fn describe() {
    describe_gauge!(BACKLOG, "Events of the log that are not known to be in its topic.");
    describe_gauge!(OLDEST, Unit::Seconds, "Age of the oldest event that is not known to be in the topic.");
    describe_counter!(ACKNOWLEDGED, "Events that Kafka acknowledged.");
    describe_histogram!(
        COMMIT_TO_ACKNOWLEDGED,
        Unit::Seconds,
        "From an event's append to Kafka's acknowledgement."
    );
    describe_gauge!(ACTIVE, "1 while this replica's relay fills the topic.");
    describe_gauge!(STOPPED, "1 while the relay waits for an operator.");
    describe_gauge!(DIFFERENCES, "Settings of the topic that are not as configured.");
}

/// The metrics of one relay.
pub(super) struct Recorded {
    pub backlog: Gauge,
    pub oldest: Gauge,
    pub acknowledged: Counter,
    pub commit_to_acknowledged: Histogram,
    pub active: Gauge,
    pub stopped: Gauge,
    pub differences: Gauge,
}

impl Recorded {
    pub fn new(log: &str) -> Self {
        let label = || log.to_owned();
        Self {
            backlog: gauge!(BACKLOG, "log" => label()),
            oldest: gauge!(OLDEST, "log" => label()),
            acknowledged: counter!(ACKNOWLEDGED, "log" => label()),
            commit_to_acknowledged: histogram!(COMMIT_TO_ACKNOWLEDGED, "log" => label()),
            active: gauge!(ACTIVE, "log" => label()),
            stopped: gauge!(STOPPED, "log" => label()),
            differences: gauge!(DIFFERENCES, "log" => label()),
        }
    }

    /// Another replica's relay, or none, fills the topic.
    pub fn stand_by(&self) {
        for gauge in [&self.backlog, &self.oldest, &self.active, &self.stopped] {
            gauge.set(0.0);
        }
    }
}
