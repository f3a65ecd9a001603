//! Logs and traces of the process: `tracing` to standard error as JSON or, on a laptop, as text, and spans to
//! an OpenTelemetry collector when an endpoint is configured. Metrics are elsewhere, since Prometheus fetches
//! them.

mod otlp;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{ConfigReader, ConfigValue};
use crate::traceparent::TraceParent;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl ConfigValue for LogFormat {
    const RULE: &'static str = "json or text";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "text" => Some(Self::Text),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Json => "json".to_owned(),
            Self::Text => "text".to_owned(),
        }
    }

    fn stand_in() -> Self {
        Self::Json
    }
}

/// What is logged unless told otherwise. PostgreSQL's notices, such as "already exists, skipping", are no news.
pub const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// What [`init`] needs to know.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// Name of this process in traces.
    pub service_name: String,
    pub format: LogFormat,
    /// Directives such as `info,eventsourcing=debug`.
    pub filter: String,
    /// Where spans go by OTLP over gRPC.
    pub otlp_endpoint: Option<http::Uri>,
}

impl TelemetryOptions {
    /// Reads `LOG_FORMAT`, `LOG_FILTER` and `OTLP_ENDPOINT`.
    pub fn read(reader: &mut ConfigReader, service_name: &str, format: LogFormat) -> Self {
        Self {
            service_name: service_name.to_owned(),
            format: reader.var("LOG_FORMAT", "how log lines look").default(format),
            filter: reader
                .var("LOG_FILTER", "what is logged, as directives such as info,eventsourcing=debug")
                .check("as tracing-subscriber's EnvFilter reads them", |text: &String| {
                    EnvFilter::builder().parse(text).is_ok()
                })
                .default(DEFAULT_FILTER.to_owned()),
            otlp_endpoint: reader.var("OTLP_ENDPOINT", "OpenTelemetry collector, OTLP over gRPC").optional(),
        }
    }
}

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter {filter:?}: {reason}")]
    Filter { filter: String, reason: String },
    #[error("logging was started already")]
    AlreadyStarted,
    #[error("the span exporter: {0}")]
    Exporter(String),
}

/// Sends what is left when it is dropped; keep it until the end of `main`.
#[must_use = "dropping it ends the export of spans"]
#[derive(Debug)]
pub struct TelemetryGuard {
    _exporter: Option<otlp::Exporter>,
}

/// Starts logs and traces for this process; panics are logged as errors from here on.
///
/// With an endpoint it must be called inside a Tokio runtime.
///
/// # Errors
/// When the filter is malformed, the exporter cannot be built, or logging was started before.
pub fn init(options: &TelemetryOptions) -> Result<TelemetryGuard, TelemetryError> {
    let filter = EnvFilter::builder().parse(&options.filter).map_err(|error| TelemetryError::Filter {
        filter: options.filter.clone(),
        reason: error.to_string(),
    })?;
    // Colours are for people; in a file or a pipe they are noise that searches stumble over.
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match options.format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed(),
        LogFormat::Text => lines.with_target(false).with_filter(filter).boxed(),
    };
    let mut layers = vec![lines];
    let mut exporter = None;
    if let Some(endpoint) = &options.otlp_endpoint {
        let (spans, started) = otlp::start(endpoint, &options.service_name)?;
        layers.push(spans);
        exporter = Some(started);
        eventsourcing::trace::collect_spans(continue_work);
    }
    let registry = tracing_subscriber::registry().with(layers);
    registry.try_init().map_err(|_| TelemetryError::AlreadyStarted)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(TelemetryGuard { _exporter: exporter })
}

/// Logs where it happened. The message is shown only when it is a literal: a formatted one may hold data.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(location, "panic: {message}");
}

/// The same as [`continue_trace`] for what messages and tasks lead to.
fn continue_work(span: &tracing::Span, incoming: Option<&str>) -> Option<String> {
    let incoming = incoming.and_then(|text| text.parse().ok());
    otlp::continue_trace(span, incoming).map(|own| own.to_string())
}

/// Whether spans go to a collector. Without one, those that say nothing in log lines need not be opened.
pub fn is_exporting() -> bool {
    otlp::is_exporting()
}

/// Field of a span under whose value it is exported. Declare it empty and fill it with
/// [`name_exported_span`], so that it does not stand in every log line beside what it repeats.
pub const SPAN_NAME: &str = "otel.name";

/// Gives a span a name that is not known at compile time, at the collector if there is one.
pub fn name_exported_span(span: &tracing::Span, name: &str) {
    if otlp::is_exporting() {
        span.record(SPAN_NAME, name);
    }
}

/// The same for a span that has been made part of a trace, and whose name is known only at its end.
pub fn rename_exported_span(span: &tracing::Span, name: String) {
    if otlp::is_exporting() {
        otlp::rename(span, name);
    }
}

/// The context of a span that is about to be opened, when no collector has to be asked for it: a child of
/// `incoming`, or a new trace. `None` with a collector, which numbers its spans itself; see [`continue_trace`].
pub fn local_trace(incoming: Option<TraceParent>) -> Option<TraceParent> {
    let own = || incoming.map_or_else(TraceParent::root, |parent| parent.child());
    (!otlp::is_exporting()).then(own)
}

/// Makes `span` part of the trace that `incoming` belongs to, or begins a trace. Returns the context to pass
/// on, which is that of `span`. It has no effect on a collector when none is configured.
pub fn continue_trace(span: &tracing::Span, incoming: Option<TraceParent>) -> TraceParent {
    let own = || incoming.map_or_else(TraceParent::root, |parent| parent.child());
    otlp::continue_trace(span, incoming).unwrap_or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_filter_is_found_when_the_configuration_is_read() {
        let mut reader = ConfigReader::from_map([("LOG_FILTER", "a=b=c"), ("LOG_FORMAT", "xml")]);
        let options = TelemetryOptions::read(&mut reader, "thing", LogFormat::Json);
        assert_eq!(reader.finish(options).unwrap_err().problems().len(), 2);
    }
}
