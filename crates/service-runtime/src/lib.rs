//! What every service process shares and that is no business: configuration, telemetry, the gRPC server with
//! its checks, request contexts, error statuses, page tokens, metrics and an orderly end. It contains no noun
//! of any domain, and nothing here knows which services there are.
//!
//! # How a service is wired
//!
//! `main.rs` reads the configuration, starts telemetry and hands over to `run`:
//!
//! ```
//! use std::net::SocketAddr;
//! use std::time::Duration;
//!
//! use service_runtime::auth::Tokens;
//! use service_runtime::config::ConfigReader;
//! use service_runtime::grpc::{GrpcServer, ServerOptions, Services};
//! use service_runtime::metrics::{AdminServer, Metrics};
//! use service_runtime::telemetry::{self, LogFormat, TelemetryOptions};
//! use service_runtime::{Readiness, Shutdown, shutdown};
//!
//! struct Config {
//!     grpc_addr: SocketAddr,
//!     admin_addr: SocketAddr,
//!     drain_limit: Duration,
//!     tokens: Tokens,
//!     server: ServerOptions,
//!     telemetry: TelemetryOptions,
//! }
//!
//! fn read(reader: &mut ConfigReader) -> Config {
//!     Config {
//!         grpc_addr: reader.var("GRPC_ADDR", "where gRPC listens").default(([127, 0, 0, 1], 0).into()),
//!         admin_addr: reader.var("ADMIN_ADDR", "where /metrics listens").default(([127, 0, 0, 1], 0).into()),
//!         drain_limit: reader.var("DRAIN_LIMIT", "how long a stop may take").default(shutdown::DRAIN_LIMIT),
//!         tokens: Tokens::read(reader),
//!         server: ServerOptions::read(reader),
//!         telemetry: TelemetryOptions::read(reader, "thing-service", LogFormat::Json),
//!     }
//! }
//!
//! async fn run(config: Config, shutdown: &Shutdown) -> Result<(), Box<dyn std::error::Error>> {
//!     let metrics = Metrics::install(shutdown)?; // before anything measures
//!     let readiness = Readiness::new();
//!     let log = readiness.component("event log");
//!
//!     // Open the log, start its command processor, and its subscriptions with
//!     // `Subscriptions::new(&log, shutdown.stop_working(), shutdown.worker_tasks())`. Then:
//!     log.ready();
//!     let services = Services::new(); // .with(ThingServiceServer::new(handlers))
//!                                     // .with(operations::server(subscriptions))
//!     let grpc = GrpcServer::new(services, config.tokens, config.server, shutdown)?;
//!     let _in_process = grpc.service(); // for a gateway in the same process: a generated client's channel
//!
//!     let grpc = grpc.bind(config.grpc_addr).await?;
//!     shutdown.spawn_server("grpc", grpc.serve(readiness.clone(), shutdown.stop_accepting()));
//!     let admin = AdminServer::bind(config.admin_addr, metrics, &readiness).await?;
//!     shutdown.spawn_worker("admin", admin.serve(shutdown.stop_working()));
//!
//! #   shutdown.request("end of the example");
//!     // Not ready, accept nothing new, finish what runs, stop background work.
//!     Ok(shutdown.run(&readiness, config.drain_limit).await?)
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #   let token = |who: &str| format!("{who}-0123456789abcdef0123456789abcdef");
//! #   let values =
//! #       [("STORELINE_OPERATOR_TOKENS", token("operator")), ("STORELINE_SERVICE_TOKENS", token("service"))];
//! let mut reader = ConfigReader::from_env();
//! #   let mut reader = ConfigReader::from_map(values);
//! let config = read(&mut reader);
//! let config = reader.finish(config)?; // every problem at once
//! let _telemetry = telemetry::init(&config.telemetry)?; // flushes when main ends
//! let shutdown = Shutdown::new();
//! shutdown.on_signals()?;
//! run(config, &shutdown).await
//! # }
//! ```
//!
//! # How a handler looks
//!
//! ```
//! use eventsourcing::{CommandProcessor, Decide, Decider};
//! use service_runtime::status::{self, Violations};
//! use service_runtime::{RequestContext, etag, replay};
//! use tonic::{Request, Response, Status};
//! # use eventsourcing::{DomainEvent, StreamId};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Clone, prost::Message)]
//! # struct RenameThingRequest {
//! #     #[prost(string, tag = "1")] request_id: String,
//! #     #[prost(string, tag = "2")] id: String,
//! #     #[prost(string, tag = "3")] name: String,
//! #     #[prost(string, tag = "4")] etag: String,
//! # }
//! # #[derive(Clone, prost::Message)]
//! # struct RenameThingResponse {
//! #     #[prost(string, tag = "1")] etag: String,
//! #     #[prost(string, tag = "2")] position: String,
//! # }
//! # struct Thing;
//! # struct Rename { name: String }
//! # #[derive(Clone, Serialize, Deserialize)]
//! # enum Event { ThingRenamed { name: String } }
//! # impl DomainEvent for Event {}
//! # #[derive(Serialize, Deserialize)]
//! # enum Broken { Closed }
//! # impl Decider for Thing {
//! #     const CATEGORY: &'static str = "thing";
//! #     type State = ();
//! #     type Command = Rename;
//! #     type Event = Event;
//! #     type Error = Broken;
//! #     fn decide(_: &(), _: &Rename) -> Result<Vec<Event>, Broken> { Ok(vec![]) }
//! #     fn evolve(_: (), _: &Event) {}
//! # }
//!
//! async fn rename_thing(
//!     commands: &CommandProcessor,
//!     request: Request<RenameThingRequest>,
//! ) -> Result<Response<RenameThingResponse>, Status> {
//!     let context = RequestContext::of(&request);
//!     let mut body = request.into_inner();
//!     let request_id = std::mem::take(&mut body.request_id);
//!     let command_context = context.command_context(&request_id, &body)?;
//!
//!     let mut violations = Violations::new();
//!     violations.check(!body.name.is_empty(), "name", "must not be empty");
//!     violations.into_result()?;
//!
//!     let operation = Decide::<Thing> {
//!         stream: StreamId::of::<Thing>(&body.id),
//!         command: Rename { name: body.name },
//!         expected_version: etag::parse("etag", &body.etag)?,
//!     };
//!     let done = commands.execute(operation, command_context).await;
//!     // `broken_rule` is the service's one match over its domain's errors, in grpc/status.rs.
//!     let done = done.map_err(|error| status::of_execute_error(error, broken_rule))?;
//!     let reply = RenameThingResponse { etag: etag::of(done.reply), position: done.position.to_string() };
//!     Ok(replay::response(reply, done.replayed))
//! }
//!
//! // A read waits for what its caller has seen elsewhere:
//! // `context.wait_for_position(&body.min_position, &[&self.read_model]).await?`.
//!
//! fn broken_rule(error: Broken) -> Status {
//!     match error {
//!         Broken::Closed => status::failed_precondition("THING_CLOSED", "the thing is closed", []),
//!     }
//! }
//! ```
//!
//! # What surrounds a handler
//!
//! In this order: the RPC's role is found (one without a role does not start), the caller is known by their
//! credential, the call is admitted or shed, its deadline is set, the handler runs; a panic becomes INTERNAL, a
//! late handler is dropped with DEADLINE_EXCEEDED. Every call is counted and timed, has a span with trace id and
//! correlation id, and its answer carries `x-request-id`.

pub mod auth;
pub mod config;
pub mod etag;
pub mod fields;
pub mod gate;
pub mod grpc;
pub mod metrics;
pub mod operations;
pub mod page;
pub mod readiness;
pub mod replay;
pub mod request;
mod running;
mod secret;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod traceparent;

pub use auth::Caller;
pub use readiness::Readiness;
pub use request::RequestContext;
pub use running::Running;
pub use secret::{REDACTED, Secret};
pub use shutdown::Shutdown;
pub use traceparent::TraceParent;
