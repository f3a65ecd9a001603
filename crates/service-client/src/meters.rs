//! What clients measure: rates, errors and durations of calls as their callers saw them, and the state of replicas and
//! circuits. Handles are looked up once, since a look-up builds a key of owned labels.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, SharedString, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use tonic::Code;

/// Names of the metrics that this crate records.
pub mod names {
    /// Counter: finished calls by `grpc_service`, `grpc_method` and `grpc_code`; those that were refused here too.
    pub const HANDLED: &str = "grpc_client_handled_total";
    /// Histogram: seconds to the end of the answer, or to the beginning of a stream, tries and waiting included, by
    /// `grpc_service` and `grpc_method`.
    pub const SECONDS: &str = "grpc_client_handling_seconds";
    /// Counter: tries after the first, by `backend` and `cause`: `unsent`, `broken` or `unavailable`.
    pub const RETRIES: &str = "grpc_client_retries_total";
    /// Counter: retries that the budget did not allow, by `backend`.
    pub const RETRIES_DENIED: &str = "grpc_client_retries_denied_total";
    /// Gauge: replicas by `backend` and `state`: `known`, `ready` or `ejected`.
    pub const REPLICAS: &str = "grpc_client_replicas";
    /// Counter: connections made, by `backend`.
    pub const CONNECTIONS: &str = "grpc_client_connections_total";
    /// Gauge: 0 closed, 1 one call tries the service, 2 open, by `backend`.
    pub const CIRCUIT: &str = "grpc_client_circuit_state";
    /// Counter: calls refused without a try, by `backend` and `cause`: `overloaded`, `circuit` or `no_replica`.
    pub const REFUSED: &str = "grpc_client_refused_total";
    /// Counter: look-ups of names, by `backend` and `outcome`: `ok` or `failed`.
    pub const LOOK_UPS: &str = "grpc_client_name_lookups_total";
}

/// How many codes there are.
const CODES: usize = Code::Unauthenticated as usize + 1;

/// What the calls of one RPC are measured with.
#[derive(Debug)]
pub(crate) struct Meters {
    service: SharedString,
    method: SharedString,
    seconds: OnceLock<Histogram>,
    handled: [OnceLock<Counter>; CODES],
}

impl Meters {
    pub fn new(service: &str, method: &str) -> Self {
        let shared = |text: &str| SharedString::from_shared(Arc::from(text));
        Self {
            service: shared(service),
            method: shared(method),
            seconds: OnceLock::new(),
            handled: [const { OnceLock::new() }; CODES],
        }
    }

    pub fn record(&self, code: Code, elapsed: Duration) {
        let labels = || [("grpc_service", self.service.clone()), ("grpc_method", self.method.clone())];
        self.seconds.get_or_init(|| histogram!(names::SECONDS, &labels())).record(elapsed);
        let count = || {
            let [service, method] = labels();
            let code = service_runtime::grpc::code_name(code);
            counter!(names::HANDLED, &[service, method, ("grpc_code", code.into())])
        };
        self.handled[code as usize].get_or_init(count).increment(1);
    }
}

/// What a client of one service is measured with, calls aside.
#[derive(Debug)]
pub(crate) struct BackendMeters {
    pub unsent: Counter,
    pub broken: Counter,
    pub unavailable: Counter,
    pub denied: Counter,
    pub known: Gauge,
    pub ready: Gauge,
    pub ejected: Gauge,
    pub connections: Counter,
    pub overloaded: Counter,
    pub circuit: Counter,
    pub no_replica: Counter,
    pub looked_up: Counter,
    pub not_looked_up: Counter,
}

impl BackendMeters {
    pub fn new(backend: &str) -> Self {
        describe();
        let of = |name: &'static str, label: &'static str, value: &'static str| counter!(name, "backend" => backend.to_owned(), label => value);
        let replicas =
            |state: &'static str| gauge!(names::REPLICAS, "backend" => backend.to_owned(), "state" => state);
        Self {
            unsent: of(names::RETRIES, "cause", "unsent"),
            broken: of(names::RETRIES, "cause", "broken"),
            unavailable: of(names::RETRIES, "cause", "unavailable"),
            denied: counter!(names::RETRIES_DENIED, "backend" => backend.to_owned()),
            known: replicas("known"),
            ready: replicas("ready"),
            ejected: replicas("ejected"),
            connections: counter!(names::CONNECTIONS, "backend" => backend.to_owned()),
            overloaded: of(names::REFUSED, "cause", "overloaded"),
            circuit: of(names::REFUSED, "cause", "circuit"),
            no_replica: of(names::REFUSED, "cause", "no_replica"),
            looked_up: of(names::LOOK_UPS, "outcome", "ok"),
            not_looked_up: of(names::LOOK_UPS, "outcome", "failed"),
        }
    }
}

pub(crate) fn circuit(backend: &str) -> Gauge {
    gauge!(names::CIRCUIT, "backend" => backend.to_owned())
}

fn describe() {
    describe_counter!(names::HANDLED, "Finished gRPC calls of other services by outcome.");
    describe_histogram!(names::SECONDS, Unit::Seconds, "Duration of gRPC calls of other services.");
    describe_counter!(names::RETRIES, "Tries of calls after the first, by what became of the one before.");
    describe_counter!(names::RETRIES_DENIED, "Retries that the budget did not allow.");
    describe_gauge!(names::REPLICAS, "Replicas of services as this process sees them.");
    describe_counter!(names::CONNECTIONS, "Connections made to replicas of services.");
    describe_gauge!(names::CIRCUIT, "Circuit of a service: 0 closed, 1 half open, 2 open.");
    describe_counter!(names::REFUSED, "Calls refused without a try.");
    describe_counter!(names::LOOK_UPS, "Look-ups of the names of services.");
}
