//! Checkouts and cancellations, step by step.

use super::Kind::{Lines, Number, Plain};
use super::{Dashboard, Query, Row, panel};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "sagas",
    title: "Storeline: sagas",
    about: "Checkouts and cancellations: how many, how long each step takes, what is repeated.",
    by_service: false,
    rows: &[
        Row {
            title: "Now",
            panels: &[
                panel(
                    Plain,
                    "Under way",
                    "",
                    "none",
                    &[Query(r#"sum(max by (saga) (saga_open{status="running"}))"#, "")],
                ),
                panel(
                    Plain,
                    "Compensating",
                    "Giving back what they took.",
                    "none",
                    &[Query(r#"sum(max by (saga) (saga_open{status="compensating"}))"#, "")],
                ),
                panel(
                    Number(1.0),
                    "Stuck",
                    "They wait for a person.",
                    "none",
                    &[Query(r#"sum(max by (saga) (saga_open{status="stuck"}))"#, "")],
                ),
            ],
        },
        Row {
            title: "Sagas",
            panels: &[
                panel(
                    Lines(2),
                    "Open by status",
                    "",
                    "none",
                    &[Query("max by (saga, status) (saga_open)", "{{saga}} {{status}}")],
                ),
                panel(
                    Lines(2),
                    "Ended by outcome",
                    "A minute.",
                    "none",
                    &[Query(
                        "sum by (saga, outcome) (rate(saga_ended_total[$__rate_interval])) * 60",
                        "{{saga}} {{outcome}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Steps",
            panels: &[
                panel(
                    Lines(2),
                    "Duration, p50",
                    "From a step's first request to its success.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.5, sum by (le, step) (rate(saga_step_duration_seconds_bucket[$__rate_interval])))",
                        "{{step}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "Duration, p99",
                    "From a step's first request to its success.",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, step) (rate(saga_step_duration_seconds_bucket[$__rate_interval])))",
                        "{{step}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "Requests sent again",
                    "A participant did not answer in time.",
                    "reqps",
                    &[Query(
                        "sum by (step) (rate(saga_requests_repeated_total[$__rate_interval]))",
                        "{{step}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "Got stuck",
                    "In the last hour. Compensations and retries are spent.",
                    "none",
                    &[Query("sum by (saga, step) (increase(saga_stuck_total[1h]))", "{{saga}} {{step}}")],
                ),
            ],
        },
        Row {
            title: "Payment provider",
            panels: &[
                panel(
                    Lines(2),
                    "Calls",
                    "",
                    "reqps",
                    &[Query(
                        "sum by (operation, result) (rate(payment_provider_calls_total[$__rate_interval]))",
                        "{{operation}} {{result}}",
                    )],
                ),
                panel(
                    Lines(2),
                    "A call's duration, p99",
                    "",
                    "s",
                    &[Query(
                        "histogram_quantile(0.99, sum by (le, queue) (rate(task_run_seconds_bucket[$__rate_interval])))",
                        "{{queue}}",
                    )],
                ),
            ],
        },
    ],
};
