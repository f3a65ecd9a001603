//! Export of spans to an OpenTelemetry collector, by OTLP over gRPC. Logs and metrics are not exported this
//! way: log collectors read standard error, and Prometheus scrapes.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, Registry};

use super::{TelemetryError, TelemetryOptions};
use crate::traceparent::TraceParent;

/// How long one batch may take to send.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

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

pub(super) fn add_layer(
    mut layers: Layers,
    options: &TelemetryOptions,
) -> Result<(Layers, Option<Exporter>), TelemetryError> {
    let Some(endpoint) = &options.otlp_endpoint else { return Ok((layers, None)) };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.to_string())
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(options.service_name.clone()).build())
        .build();
    let tracer = provider.tracer(options.service_name.clone());
    layers.push(Box::new(tracing_opentelemetry::layer().with_tracer(tracer)));
    Ok((layers, Some(Exporter(provider))))
}

/// `None` when no collector is configured or the span is filtered out.
pub(super) fn continue_trace(span: &tracing::Span, incoming: Option<TraceParent>) -> Option<TraceParent> {
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
