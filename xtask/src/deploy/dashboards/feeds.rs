//! From the append of an event to everybody who follows it.

use super::Kind::Lines;
use super::{Dashboard, Query, Row, panel};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "feeds",
    title: "Storeline: event log and feeds",
    about: "From the append of an event to everybody who follows it.",
    by_service: false,
    rows: &[
        Row {
            title: "Event log",
            panels: &[
                panel(
                    Lines(3),
                    "Append, p50",
                    "One call of the append function, with its flush.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.5, sum by (le, log) (rate(eventlog_append_seconds_bucket[$__rate_interval])))",
                        "{{log}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Append, p99",
                    "One call of the append function, with its flush.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, log) (rate(eventlog_append_seconds_bucket[$__rate_interval])))",
                        "{{log}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Commands",
                    "",
                    "reqps",
                    &[Query("sum by (log) (rate(eventlog_batch_commands_sum[$__rate_interval]))", "{{log}}")],
                ),
                panel(
                    Lines(3),
                    "Commands in an append",
                    "They gather while the append before is under way.",
                    "none",
                    &[Query(
                        "sum by (log) (rate(eventlog_batch_commands_sum[$__rate_interval])) / sum by (log) (rate(eventlog_batch_commands_count[$__rate_interval]))",
                        "{{log}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Conflicts",
                    "Batches that were decided anew, since another replica had written.",
                    "reqps",
                    &[Query("sum by (log) (rate(eventlog_conflicts_total[$__rate_interval]))", "{{log}}")],
                ),
                panel(
                    Lines(3),
                    "Tasks",
                    "Timers and calls to the outside.",
                    "reqps",
                    &[Query("sum by (queue) (rate(task_run_seconds_count[$__rate_interval]))", "{{queue}}")],
                ),
            ],
        },
        Row {
            title: "Relays to Kafka",
            panels: &[
                panel(
                    Lines(3),
                    "From commit to acknowledgement, p50",
                    "Until Kafka has the event on enough replicas.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.5, sum by (le, log) (rate(relay_commit_to_acknowledged_seconds_bucket[$__rate_interval])))",
                        "{{log}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "From commit to acknowledgement, p99",
                    "Until Kafka has the event on enough replicas.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, log) (rate(relay_commit_to_acknowledged_seconds_bucket[$__rate_interval])))",
                        "{{log}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Acknowledged events",
                    "",
                    "reqps",
                    &[Query("sum by (log) (rate(relay_acknowledged_total[$__rate_interval]))", "{{log}}")],
                ),
                panel(
                    Lines(3),
                    "Backlog",
                    "Events that are not known to be in the topic.",
                    "none",
                    &[Query("max by (log) (relay_backlog_events)", "{{log}}")],
                ),
                panel(
                    Lines(3),
                    "Oldest event of the backlog",
                    "",
                    "s",
                    &[Query("max by (log) (relay_oldest_unacknowledged_seconds)", "{{log}}")],
                ),
                panel(
                    Lines(3),
                    "Active relays",
                    "One replica of each service fills its topic.",
                    "none",
                    &[
                        Query("sum by (log) (relay_active)", "{{log}} active"),
                        Query("sum by (log) (relay_stopped)", "{{log}} stopped"),
                    ],
                ),
            ],
        },
        Row {
            title: "Subscriptions",
            panels: &[
                panel(
                    Lines(2),
                    "Behind",
                    "Events that are there and not yet handled.",
                    "none",
                    &[Query("max by (subscription) (subscription_lag_events)", "{{subscription}}")],
                ),
                panel(
                    Lines(2),
                    "Records not yet read from Kafka",
                    "",
                    "none",
                    &[Query("sum by (subscription) (subscription_backlog_records)", "{{subscription}}")],
                ),
                panel(
                    Lines(2),
                    "Handling a page, p99",
                    "",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, subscription) (rate(subscription_apply_seconds_bucket[$__rate_interval])))",
                        "{{subscription}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "Parked keys",
                    "Later messages of such a key wait behind the one that could not be handled.",
                    "none",
                    &[Query("max by (subscription) (subscription_parked_keys)", "{{subscription}}")],
                ),
                panel(
                    Lines(2),
                    "Stopped",
                    "1 when it goes no further by itself; its log says why.",
                    "none",
                    &[Query("max by (subscription) (subscription_stopped)", "{{subscription}}")],
                ),
            ],
        },
    ],
};
