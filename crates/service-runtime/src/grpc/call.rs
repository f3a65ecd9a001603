//! One call from its arrival to the end of its answer: counts it, times it, and writes it down once. It is a
//! guard, so a call whose client went away is counted too.

use std::sync::Arc;
use std::time::Instant;

use metrics::{SharedString, counter, gauge, histogram};
use tonic::Code;
use tracing::Span;

use crate::fields;
use crate::metrics::names;

/// Labels of one RPC.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    pub service: SharedString,
    pub method: SharedString,
}

impl Labels {
    pub fn new(service: &str, method: &str) -> Self {
        let shared = |text: &str| SharedString::from_shared(Arc::from(text));
        Self { service: shared(service), method: shared(method) }
    }
}

/// Recorded when it is dropped: as cancelled, unless [`end`](Call::end) said otherwise.
pub(super) struct Call {
    labels: Labels,
    began: Instant,
    code: Code,
    pub span: Span,
}

impl Call {
    pub fn begin(labels: Labels, span: Span) -> Self {
        gauge!(names::GRPC_IN_FLIGHT).increment(1.0);
        Self { labels, began: Instant::now(), code: Code::Cancelled, span }
    }

    /// How the call ended.
    pub fn end(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let elapsed = self.began.elapsed();
        let Labels { service, method } = self.labels.clone();
        gauge!(names::GRPC_IN_FLIGHT).decrement(1.0);
        histogram!(names::GRPC_SECONDS, "grpc_service" => service.clone(), "grpc_method" => method.clone())
            .record(elapsed);
        let code = code_name(self.code);
        counter!(names::GRPC_HANDLED, "grpc_service" => service, "grpc_method" => method, "grpc_code" => code)
            .increment(1);
        let milliseconds = elapsed.as_secs_f64() * 1000.0;
        let _entered = self.span.enter();
        match self.code {
            Code::Internal | Code::Unknown | Code::DataLoss => {
                tracing::error!(
                    { fields::CODE } = code,
                    { fields::ELAPSED_MS } = milliseconds,
                    "call failed"
                );
            }
            Code::Unavailable | Code::DeadlineExceeded => {
                tracing::warn!({ fields::CODE } = code, { fields::ELAPSED_MS } = milliseconds, "call failed");
            }
            _ => {
                tracing::debug!({ fields::CODE } = code, { fields::ELAPSED_MS } = milliseconds, "call ended")
            }
        }
    }
}

/// The code as the protocol's documents write it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
