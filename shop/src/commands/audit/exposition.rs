//! What an audit found, as metrics. An audit is a job that ends, so nobody could ask it the next day: it serves its result
//! until Prometheus has taken it once, or for so long that nobody will, and alerts look back at what was taken. It needs no
//! gateway that keeps metrics for others, and writes nothing anywhere.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::audit::{Report, Verdict};

/// How long a result is served when nobody takes it.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long an answer that is on its way may take when the audit is over.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// Gauge: how many things break a check's rule, by `check` and `verdict`.
const FAILED: &str = "audit_failed";
/// Gauge: when the audit ended.
const FINISHED: &str = "audit_finished_timestamp_seconds";
/// Gauge: how long it took.
const DURATION: &str = "audit_duration_seconds";
/// Gauge: how many events it read.
const EVENTS: &str = "audit_events";

/// Serves an audit's metrics: none while it works, so that whoever watches sees that it lives.
pub struct Exposition {
    address: SocketAddr,
    shown: Arc<Shown>,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

struct Shown {
    text: watch::Sender<Option<String>>,
    taken: CancellationToken,
}

impl Exposition {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address} for --metrics"))?;
        let address = listener.local_addr()?;
        let shown = Arc::new(Shown { text: watch::Sender::new(None), taken: CancellationToken::new() });
        let stop = CancellationToken::new();
        let router = Router::new().route("/metrics", get(show)).with_state(Arc::clone(&shown));
        let stopped = stop.clone().cancelled_owned();
        let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
        let server = tokio::spawn(server.into_future());
        Ok(Self { address, shown, stop, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows the result until it was taken once. Returns whether it was.
    pub async fn hand_over(self, report: &Report, finished: DateTime<Utc>) -> bool {
        self.shown.text.send_replace(Some(exposition(report, finished)));
        let taken = tokio::time::timeout(PATIENCE, self.shown.taken.cancelled()).await.is_ok();
        self.stop.cancel();
        // Connections that are kept open are of no interest; the answer itself is.
        tokio::time::timeout(LAST_ANSWER, self.server).await.ok();
        taken
    }
}

async fn show(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let text = shown.text.borrow().clone();
    if text.is_some() {
        shown.taken.cancel();
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text.unwrap_or_default())
}

/// In Prometheus' text format.
fn exposition(report: &Report, finished: DateTime<Utc>) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, f64)]| {
        // Writing into a text cannot fail.
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge").ok();
        for (labels, value) in samples {
            writeln!(text, "{name}{labels} {value}").ok();
        }
    };
    let failed = report.findings.iter().map(|finding| {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Broken => "broken",
            Verdict::Warning => "warning",
        };
        // Names of checks are the program's own, without quotes or backslashes.
        (format!("{{check=\"{}\",verdict=\"{verdict}\"}}", finding.check), finding.failed as f64)
    });
    let plain = |value: f64| [(String::new(), value)];
    gauge(FAILED, "how many things break the rule of a check", &failed.collect::<Vec<_>>());
    gauge(FINISHED, "when the audit ended", &plain(finished.timestamp_millis() as f64 / 1000.0));
    gauge(DURATION, "how long the audit took", &plain(report.seconds));
    gauge(EVENTS, "how many events the audit read", &plain(report.events as f64));
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::audit::Finding;

    fn report() -> Report {
        let mut broken = Finding::invariant("applied-once a.b", "once");
        broken.judge(false, || "one".to_owned());
        let fine = Finding::notice("messages-parked", "none");
        Report { ok: false, events: 12, seconds: 1.5, findings: vec![broken, fine] }
    }

    async fn scrape(address: SocketAddr) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    #[test]
    fn a_report_becomes_gauges() {
        let text = exposition(&report(), DateTime::from_timestamp_millis(1_500).unwrap());
        for line in [
            "# TYPE audit_failed gauge",
            "audit_failed{check=\"applied-once a.b\",verdict=\"broken\"} 1",
            "audit_failed{check=\"messages-parked\",verdict=\"ok\"} 0",
            "audit_finished_timestamp_seconds 1.5",
            "audit_duration_seconds 1.5",
            "audit_events 12",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn a_result_is_served_until_it_was_taken_and_nothing_before_it_is_there() {
        let exposition = Exposition::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = exposition.address();
        assert_eq!(scrape(address).await, "", "it works still");
        let report = report();
        let (taken, scraped) = tokio::join!(exposition.hand_over(&report, Utc::now()), async {
            testkit::eventually("the result is there", testkit::SOON, async || {
                Some(scrape(address).await).filter(|text| !text.is_empty())
            })
            .await
        });
        assert!(taken && scraped.contains("audit_events 12"), "{scraped}");
    }
}
