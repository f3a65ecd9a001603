//! The page that opens first: whether customers are served, and whether a person is needed.

use super::Kind::{Lines, Number, Plain};
use super::{Dashboard, Query, Row, panel};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "shop",
    title: "Storeline: the shop at a glance",
    about: "Whether customers are served, and whether a person is needed.",
    by_service: false,
    rows: &[
        Row {
            title: "Now",
            panels: &[
                panel(
                    Plain,
                    "Orders confirmed",
                    "In a minute.",
                    "none",
                    &[Query(
                        r#"sum(rate(saga_ended_total{saga="checkout", outcome="completed"}[$__rate_interval])) * 60"#,
                        "",
                    )],
                ),
                panel(
                    Plain,
                    "REST requests",
                    "In a second.",
                    "reqps",
                    &[Query("sum(rate(http_server_handled_total[$__rate_interval]))", "")],
                ),
                panel(
                    Number(0.001),
                    "REST errors",
                    "Part of the requests that ended with 5xx.",
                    "percentunit",
                    &[Query(
                        r#"sum(rate(http_server_handled_total{http_status=~"5.."}[$__rate_interval])) / sum(rate(http_server_handled_total[$__rate_interval])) or vector(0)"#,
                        "",
                    )],
                ),
                panel(
                    Number(1.0),
                    "Stuck sagas",
                    "They wait for a person: `shop saga --stuck`.",
                    "none",
                    &[Query(r#"sum(max by (saga) (saga_open{status="stuck"}))"#, "")],
                ),
                panel(
                    Number(1.0),
                    "Parked keys",
                    "Messages that could not be handled, by key: `shop parked`.",
                    "none",
                    &[Query("sum(max by (subscription) (subscription_parked_keys))", "")],
                ),
                panel(
                    Number(1.0),
                    "Alerts",
                    "Firing now; the list is in Prometheus.",
                    "none",
                    &[Query(r#"sum(ALERTS{alertstate="firing"}) or vector(0)"#, "")],
                ),
            ],
        },
        Row {
            title: "Requests",
            panels: &[
                panel(
                    Lines(3),
                    "REST requests by status",
                    "",
                    "reqps",
                    &[Query(
                        "sum by (http_status) (rate(http_server_handled_total[$__rate_interval]))",
                        "{{http_status}}",
                    )],
                ),
                panel(
                    Lines(3),
                    "REST latency",
                    "Until the head of the answer, over all routes.",
                    "s",
                    &[
                        Query(
                            "histogram_quantile(0.5, sum by (le) (rate(http_server_handling_seconds_bucket[$__rate_interval])))",
                            "p50",
                        ),
                        Query(
                            "histogram_quantile(0.99, sum by (le) (rate(http_server_handling_seconds_bucket[$__rate_interval])))",
                            "p99",
                        ),
                    ],
                ),
                panel(
                    Lines(3),
                    "Slowest routes",
                    "The 99th percentile.",
                    "s",
                    &[Query(
                        "topk(5, histogram_quantile(0.99, sum by (le, http_route) (rate(http_server_handling_seconds_bucket[$__rate_interval]))))",
                        "{{http_route}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Orders",
            panels: &[
                panel(
                    Lines(3),
                    "Checkouts that ended",
                    "Completed means confirmed; compensated means rejected, and everything was given back.",
                    "none",
                    &[Query(
                        r#"sum by (outcome) (rate(saga_ended_total{saga="checkout"}[$__rate_interval])) * 60"#,
                        "{{outcome}} a minute",
                    )],
                ),
                panel(
                    Lines(3),
                    "Sagas under way",
                    "",
                    "none",
                    &[Query("max by (saga, status) (saga_open)", "{{saga}} {{status}}")],
                ),
                panel(
                    Lines(3),
                    "Payment provider",
                    "What its calls came to. Unknown ones are asked about until the provider says.",
                    "reqps",
                    &[Query(
                        "sum by (result) (rate(payment_provider_calls_total[$__rate_interval]))",
                        "{{result}}",
                    )],
                ),
            ],
        },
    ],
};
