//! What the services stand on, as they see it.

use super::Kind::Lines;
use super::{Dashboard, Query, Row, panel};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "infrastructure",
    title: "Storeline: infrastructure",
    about: "Processes, and PostgreSQL and the caches as the services see them.",
    by_service: false,
    rows: &[
        Row {
            title: "Processes",
            panels: &[
                panel(Lines(3), "Replicas that answer", "", "none", &[Query("sum by (job) (up)", "{{job}}")]),
                panel(
                    Lines(3),
                    "Memory",
                    "Resident, of the largest replica.",
                    "bytes",
                    &[Query("max by (job) (process_resident_memory_bytes)", "{{job}}")],
                ),
                panel(
                    Lines(3),
                    "File descriptors",
                    "Of the replica with most.",
                    "none",
                    &[Query("max by (job) (process_open_fds)", "{{job}}")],
                ),
            ],
        },
        Row {
            title: "PostgreSQL, as services see it",
            panels: &[
                panel(
                    Lines(3),
                    "Append, p99",
                    "Disk and lock of each log.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, log) (rate(eventlog_append_seconds_bucket[$__rate_interval])))",
                        "{{log}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Appends",
                    "",
                    "reqps",
                    &[Query(
                        "sum by (log) (rate(eventlog_append_seconds_count[$__rate_interval]))",
                        "{{log}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Read models, p99",
                    "Writing a page of events.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, subscription) (rate(subscription_apply_seconds_bucket[$__rate_interval])))",
                        "{{subscription}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Services, as the gateway sees them",
            panels: &[
                panel(
                    Lines(3),
                    "Replicas",
                    "Known from names, and ready to be asked.",
                    "none",
                    &[Query("sum by (backend, state) (grpc_client_replicas)", "{{backend}} {{state}}")],
                ),
                panel(
                    Lines(3),
                    "Calls, p99",
                    "Tries and waiting included.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, grpc_service) (rate(grpc_client_handling_seconds_bucket[$__rate_interval])))",
                        "{{grpc_service}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Circuits",
                    "0 closed, 1 one call tries the service, 2 open.",
                    "none",
                    &[Query("max by (backend) (grpc_client_circuit_state)", "{{backend}}")],
                ),
                panel(
                    Lines(3),
                    "Retries",
                    "Only of calls that are safe to repeat.",
                    "reqps",
                    &[Query(
                        "sum by (backend, cause) (rate(grpc_client_retries_total[$__rate_interval]))",
                        "{{backend}} {{cause}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Refused without a try",
                    "",
                    "reqps",
                    &[Query(
                        "sum by (backend, cause) (rate(grpc_client_refused_total[$__rate_interval]))",
                        "{{backend}} {{cause}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "Connections made",
                    "In ten minutes. Few and long-lived is right.",
                    "none",
                    &[Query(
                        "sum by (backend) (increase(grpc_client_connections_total[10m]))",
                        "{{backend}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Redis and rate limits",
            panels: &[
                panel(
                    Lines(2),
                    "Calls of Redis",
                    "Late and failed ones are done without; skipped ones while it is taken for away.",
                    "reqps",
                    &[Query(
                        "sum by (purpose, outcome) (rate(redis_calls_total[$__rate_interval]))",
                        "{{purpose}} {{outcome}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "A call of Redis, p99",
                    "",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, purpose) (rate(redis_call_seconds_bucket[$__rate_interval])))",
                        "{{purpose}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "Redis is asked",
                    "1 while it answers.",
                    "none",
                    &[Query("min by (job) (redis_available)", "{{job}}")],
                ),
                panel(
                    Lines(2),
                    "Products looked for in Redis",
                    "Only those that are not in memory.",
                    "reqps",
                    &[Query(
                        "sum by (result) (rate(product_shared_reads_total[$__rate_interval]))",
                        "{{result}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "Products not told to Redis",
                    "Since too many waited. They are read from the database.",
                    "reqps",
                    &[Query(
                        "sum by (job) (rate(product_shared_dropped_total[$__rate_interval]))",
                        "{{job}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "Requests over their quota",
                    "Answered with 429.",
                    "reqps",
                    &[Query(
                        "sum by (class, by) (rate(http_rate_limited_total[$__rate_interval]))",
                        "{{class}} by {{by}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Caches and scrapes",
            panels: &[
                panel(
                    Lines(2),
                    "Products read from memory",
                    "Part of the reads.",
                    "percentunit",
                    &[Query(
                        r#"sum(rate(product_cache_reads_total{hit="yes"}[$__rate_interval])) / sum(rate(product_cache_reads_total[$__rate_interval]))"#,
                        "hits",
                    )],
                ),
                panel(
                    Lines(2),
                    "Scrapes",
                    "How long Prometheus takes to read each program's metrics.",
                    "s",
                    &[Query("max by (job) (scrape_duration_seconds)", "{{job}}")],
                ),
            ],
        },
    ],
};
