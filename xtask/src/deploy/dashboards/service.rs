//! One service and its replicas; `$service` is the job that the reader chose.

use super::Kind::Lines;
use super::{Dashboard, Query, Row, panel};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "service",
    title: "Storeline: one service",
    about: "Requests, errors and durations of one service and its replicas.",
    by_service: true,
    rows: &[
        Row {
            title: "Calls",
            panels: &[
                panel(
                    Lines(3),
                    "Calls",
                    "",
                    "reqps",
                    &[Query(
                        r#"sum by (grpc_method) (rate(grpc_server_handled_total{job="$service"}[$__rate_interval]))"#,
                        "{{grpc_method}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Not OK",
                    "Refusals are part of the business, and so is NOT_FOUND.",
                    "reqps",
                    &[Query(
                        r#"sum by (grpc_method, grpc_code) (rate(grpc_server_handled_total{job="$service", grpc_code!="OK"}[$__rate_interval]))"#,
                        "{{grpc_method}} {{grpc_code}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Duration, p99",
                    "",
                    "s",
                    &[Query(
                        r#"histogram_quantile(0.99, sum by (le, grpc_method) (rate(grpc_server_handling_seconds_bucket{job="$service"}[$__rate_interval])))"#,
                        "{{grpc_method}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Being answered",
                    "",
                    "none",
                    &[Query(r#"sum by (instance) (grpc_server_in_flight{job="$service"})"#, "{{instance}}")],
                ),
                panel(
                    Lines(3),
                    "Turned away",
                    "More ran than it is allowed to work on.",
                    "reqps",
                    &[Query(
                        r#"sum by (instance) (rate(grpc_server_shed_total{job="$service"}[$__rate_interval]))"#,
                        "{{instance}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Panics",
                    "In the last hour. The log has the place.",
                    "none",
                    &[Query(
                        r#"sum by (instance) (increase(grpc_server_panics_total{job="$service"}[1h]))"#,
                        "{{instance}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Events",
            panels: &[
                panel(
                    Lines(3),
                    "Append, p99",
                    "",
                    "s",
                    &[Query(
                        r#"histogram_quantile(0.99, sum by (le, instance) (rate(eventlog_append_seconds_bucket{job="$service"}[$__rate_interval])))"#,
                        "{{instance}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Subscriptions behind",
                    "",
                    "none",
                    &[Query(
                        r#"max by (subscription) (subscription_lag_events{job="$service"})"#,
                        "{{subscription}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Handling a page, p99",
                    "",
                    "s",
                    &[Query(
                        r#"histogram_quantile(0.99, sum by (le, subscription) (rate(subscription_apply_seconds_bucket{job="$service"}[$__rate_interval])))"#,
                        "{{subscription}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Replicas",
            panels: &[
                panel(
                    Lines(3),
                    "Up",
                    "",
                    "none",
                    &[Query(r#"sum by (instance) (up{job="$service"})"#, "{{instance}}")],
                ),
                panel(
                    Lines(3),
                    "Memory",
                    "Resident.",
                    "bytes",
                    &[Query(
                        r#"sum by (instance) (process_resident_memory_bytes{job="$service"})"#,
                        "{{instance}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "File descriptors",
                    "",
                    "none",
                    &[Query(r#"sum by (instance) (process_open_fds{job="$service"})"#, "{{instance}}")],
                ),
            ],
        },
    ],
};
