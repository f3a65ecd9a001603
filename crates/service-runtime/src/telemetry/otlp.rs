//! Export of spans to an OpenTelemetry collector, by OTLP over gRPC. Logs and metrics are not exported this
//! way: log collectors read standard error, and Prometheus scrapes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{Layer, Registry};

use super::TelemetryError;
use crate::traceparent::TraceParent;

/// How long one batch may take to send.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

static EXPORTING: AtomicBool = AtomicBool::new(false);

pub(super) fn is_exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// Flushes when it is dropped.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!("spans may be missing at the collector: {error}");
        }
    }
}

/// Starts to export the spans of level INFO and above to `endpoint`. Finer ones are not, since the exporter's
/// own connection makes some for every batch that it sends.
pub(super) fn start(
    endpoint: &http::Uri,
    service_name: &str,
) -> Result<(Box<dyn Layer<Registry> + Send + Sync>, Exporter), TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.to_string())
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service_name.to_owned()).build())
        .build();
    let tracer = provider.tracer(service_name.to_owned());
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(LevelFilter::INFO);
    EXPORTING.store(true, Ordering::Relaxed);
    Ok((layer.boxed(), Exporter(provider)))
}

/// For a span that has begun, which takes its name no more from its fields.
pub(super) fn rename(span: &tracing::Span, name: String) {
    span.context().span().update_name(name);
}

/// `None` when no collector is configured.
pub(super) fn continue_trace(span: &tracing::Span, incoming: Option<TraceParent>) -> Option<TraceParent> {
    if !is_exporting() {
        return None;
    }
    if let Some(parent) = incoming {
        let remote = SpanContext::new(
            TraceId::from(parent.trace_id()),
            SpanId::from(parent.span_id()),
            TraceFlags::new(parent.flags()),
            true,
            TraceState::default(),
        );
        span.set_parent(Context::new().with_remote_span_context(remote)).ok()?;
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    let trace_id = u128::from_be_bytes(own.trace_id().to_bytes());
    let span_id = u64::from_be_bytes(own.span_id().to_bytes());
    TraceParent::new(trace_id, span_id, own.trace_flags().to_u8())
}
