//! One call from its arrival to the end of its answer: counts it, times it, and writes it down once. It is a
//! guard, so a call whose client went away is counted too.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};
use tonic::Code;
use tracing::Span;

use crate::fields;
use crate::metrics::names;

/// How many codes there are.
const CODES: usize = Code::Unauthenticated as usize + 1;

/// What the calls of one RPC are measured with. Each is looked up in the recorder once, when it is first needed:
/// a look-up builds a key of owned labels, which costs more than to count.
pub(super) struct Meters {
    service: SharedString,
    method: SharedString,
    in_flight: OnceLock<Gauge>,
    seconds: OnceLock<Histogram>,
    handled: [OnceLock<Counter>; CODES],
}

impl Meters {
    pub fn new(service: &str, method: &str) -> Self {
        let shared = |text: &str| SharedString::from_shared(Arc::from(text));
        Self {
            service: shared(service),
            method: shared(method),
            in_flight: OnceLock::new(),
            seconds: OnceLock::new(),
            handled: [const { OnceLock::new() }; CODES],
        }
    }

    fn in_flight(&self) -> &Gauge {
        self.in_flight.get_or_init(|| gauge!(names::GRPC_IN_FLIGHT))
    }

    fn seconds(&self) -> &Histogram {
        self.seconds.get_or_init(|| {
            let (service, method) = (self.service.clone(), self.method.clone());
            histogram!(names::GRPC_SECONDS, "grpc_service" => service, "grpc_method" => method)
        })
    }

    fn handled(&self, code: Code) -> &Counter {
        self.handled[code as usize].get_or_init(|| {
            let (service, method, code) = (self.service.clone(), self.method.clone(), code_name(code));
            counter!(names::GRPC_HANDLED, "grpc_service" => service, "grpc_method" => method, "grpc_code" => code)
        })
    }
}

/// Recorded when it is dropped: as cancelled, unless [`end`](Call::end) said otherwise.
pub(super) struct Call {
    meters: Arc<Meters>,
    began: Instant,
    code: Code,
    pub span: Span,
}

impl Call {
    pub fn begin(meters: Arc<Meters>, span: Span) -> Self {
        meters.in_flight().increment(1.0);
        Self { meters, began: Instant::now(), code: Code::Cancelled, span }
    }

    /// How the call ended.
    pub fn end(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let elapsed = self.began.elapsed();
        self.meters.in_flight().decrement(1.0);
        self.meters.seconds().record(elapsed);
        self.meters.handled(self.code).increment(1);
        let failed = !matches!(self.code, Code::Ok);
        // To enter a span costs more than all of the rest, and calls that end well are rarely written down.
        if failed || tracing::enabled!(tracing::Level::DEBUG) {
            self.span.in_scope(|| write_down(self.code, elapsed));
        }
    }
}

fn write_down(code: Code, elapsed: Duration) {
    let milliseconds = elapsed.as_secs_f64() * 1000.0;
    let name = code_name(code);
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            tracing::error!({ fields::CODE } = name, { fields::ELAPSED_MS } = milliseconds, "call failed");
        }
        Code::Unavailable | Code::DeadlineExceeded => {
            tracing::warn!({ fields::CODE } = name, { fields::ELAPSED_MS } = milliseconds, "call failed");
        }
        _ => tracing::debug!({ fields::CODE } = name, { fields::ELAPSED_MS } = milliseconds, "call ended"),
    }
}

/// The code as the protocol's documents write it.
pub fn code_name(code: Code) -> &'static str {
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
