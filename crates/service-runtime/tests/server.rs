//! The gRPC server as its clients see it, over TCP on loopback and inside the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use futures::StreamExt;
use service_runtime::grpc::{GrpcError, GrpcServer, MAX_MESSAGE_BYTES, ServerOptions, Services};
use service_runtime::metrics::{AdminServer, Metrics};
use service_runtime::status::{reason, reason_of};
use service_runtime::{Readiness, Shutdown, TraceParent};
use support::{LONG, OPERATOR, Running, SERVICE, call, follow, request, soon, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

async fn started() -> (Running, Channel) {
    let running = start(ServerOptions::default()).await;
    let channel = running.channel().await;
    (running, channel)
}

async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let mut client = HealthClient::new(channel.clone());
    let asked = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    asked.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn reflection_lists_the_services_and_health_beside_them() {
    let (_running, channel) = started().await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = soon(answers.message()).await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["probe.v1.Probe", "grpc.health.v1.Health"]);
}

#[tokio::test]
async fn health_follows_readiness_for_the_server_and_for_each_service() {
    let (running, channel) = started().await;
    assert_eq!(health(&channel, "").await, Ok(ServingStatus::Serving));
    assert_eq!(health(&channel, "unheard.of").await, Err(Code::NotFound));
    let mut watch = HealthClient::new(channel.clone());
    let changes = watch.watch(HealthCheckRequest { service: "probe.v1.Probe".to_owned() }).await.unwrap();
    let mut changes = changes.into_inner().map(|change| change.unwrap().status());
    assert_eq!(soon(changes.next()).await, Some(ServingStatus::Serving));
    let log = running.readiness.component("log");
    assert_eq!(soon(changes.next()).await, Some(ServingStatus::NotServing));
    log.ready();
    assert_eq!(soon(changes.next()).await, Some(ServingStatus::Serving));
}

#[tokio::test]
async fn each_rpc_admits_only_its_role() {
    let (_running, channel) = started().await;
    let outcome = async |method: &str, token: &str| {
        let answer = call(channel.clone(), method, request("who", token)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| (status.code(), reason_of(&status)))
    };
    let required = Err((Code::Unauthenticated, reason::CREDENTIAL_REQUIRED.to_owned()));
    let invalid = Err((Code::Unauthenticated, reason::CREDENTIAL_INVALID.to_owned()));
    let denied = Err((Code::PermissionDenied, reason::ROLE_REQUIRED.to_owned()));
    assert_eq!(outcome("Open", "").await, Ok("anonymous".to_owned()));
    assert_eq!(outcome("Held", "").await, required);
    assert_eq!(outcome("Run", "").await, required);
    assert_eq!(outcome("Feed", "").await, required);
    assert!(outcome("Held", "an-access-token").await.unwrap().starts_with("shopper:"));
    assert_eq!(outcome("Run", "an-access-token").await, invalid);
    assert_eq!(outcome("Run", SERVICE).await, denied);
    assert_eq!(outcome("Feed", SERVICE).await, Ok("service".to_owned()));
    for method in ["Open", "Held", "Run", "Feed"] {
        assert_eq!(outcome(method, OPERATOR).await, Ok("operator".to_owned()), "{method}");
    }
}

#[tokio::test]
async fn a_call_inside_the_process_passes_the_same_checks() {
    let (running, _channel) = started().await;
    let answer = call(running.service.clone(), "Open", request("hello", "")).await.unwrap();
    assert_eq!(answer.into_inner(), "hello");
    let refused = call(running.service.clone(), "Run", request("hello", "")).await.unwrap_err();
    assert_eq!(reason_of(&refused), reason::CREDENTIAL_REQUIRED);
}

#[test]
fn a_server_does_not_start_when_an_rpc_names_no_role() {
    #[derive(Clone)]
    struct Forgotten;
    impl tonic::server::NamedService for Forgotten {
        const NAME: &'static str = "probe.v1.Forgotten";
    }
    impl tower::Service<http::Request<tonic::body::Body>> for Forgotten {
        type Response = http::Response<tonic::body::Body>;
        type Error = std::convert::Infallible;
        type Future = futures::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
            Box::pin(std::future::ready(Ok(tonic::Status::ok("").into_http())))
        }
    }
    let services = Services::new().with(Forgotten);
    let (tokens, options) = (Default::default(), ServerOptions::default());
    let refused =
        GrpcServer::with_descriptors(&support::DESCRIPTORS, services, tokens, options, &Shutdown::new());
    let Err(error @ GrpcError::Role(_)) = refused else { panic!("it started") };
    assert!(error.to_string().starts_with("/probe.v1.Forgotten/Open names no role"), "{error}");
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let (_running, channel) = started().await;
    let status = call(channel, "Missing", request("", "")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unimplemented, reason::UNKNOWN_METHOD));
}

#[tokio::test]
async fn a_call_ends_at_the_client_s_deadline_or_at_the_server_s() {
    let (running, _channel) = started().await;
    let mut impatient = request("wait", "");
    impatient.metadata_mut().insert("grpc-timeout", "50m".parse().unwrap());
    // Inside the process, since tonic's channel would give up by itself.
    let status = soon(call(running.service.clone(), "Open", impatient)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED)
    );

    let options = ServerOptions { max_call_duration: Duration::from_millis(50), ..ServerOptions::default() };
    let strict = start(options).await;
    let mut patient = request("wait", "");
    patient.set_timeout(LONG);
    let status = soon(call(strict.channel().await, "Open", patient)).await.unwrap_err();
    assert_eq!(reason_of(&status), reason::DEADLINE_EXCEEDED);
}

#[tokio::test]
async fn a_handler_sees_how_long_its_client_waits() {
    let (_running, channel) = started().await;
    let mut asking = request("time left", "");
    asking.set_timeout(LONG);
    let left: u64 = call(channel, "Open", asking).await.unwrap().into_inner().parse().unwrap();
    assert!((1..=LONG.as_millis() as u64).contains(&left), "{left}");
}

#[tokio::test]
async fn a_full_server_sheds_calls_and_still_answers_health() {
    let running = start(ServerOptions { max_calls: 1, ..ServerOptions::default() }).await;
    let channel = running.channel().await;
    let first = tokio::spawn(call(channel.clone(), "Open", request("wait", "")));
    running.one_waits().await;
    let shed = call(channel.clone(), "Open", request("hello", "")).await.unwrap_err();
    assert_eq!((shed.code(), reason_of(&shed).as_str()), (Code::Unavailable, reason::OVERLOADED));
    assert!(tonic_types::StatusExt::get_details_retry_info(&shed).is_some());
    assert_eq!(health(&channel, "").await, Ok(ServingStatus::Serving));
    running.probe.go_on.add_permits(1);
    assert_eq!(soon(first).await.unwrap().unwrap().into_inner(), "waited");
    call(channel, "Open", request("hello", "")).await.unwrap();
}

#[tokio::test]
async fn health_is_followed_also_when_all_places_of_streams_are_taken() {
    let running = start(ServerOptions { max_streams: 1, ..ServerOptions::default() }).await;
    let channel = running.channel().await;
    let mut open = follow(channel.clone(), "").await.unwrap();
    assert_eq!(soon(open.next()).await.unwrap().unwrap(), "first");
    let watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await;
    let first = soon(watch.unwrap().into_inner().message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn an_open_stream_counts_until_its_client_leaves() {
    let running = start(ServerOptions { max_streams: 1, ..ServerOptions::default() }).await;
    let channel = running.channel().await;
    let mut open = follow(channel.clone(), "").await.unwrap();
    assert_eq!(soon(open.next()).await.unwrap().unwrap(), "first");
    let shed = follow(channel.clone(), "").await.map(|_| ()).unwrap_err();
    assert_eq!(reason_of(&shed), reason::OVERLOADED);
    call(channel.clone(), "Open", request("streams take no place of calls", "")).await.unwrap();
    drop(open);
    let readmitted = async {
        while follow(channel.clone(), "").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(readmitted).await;
}

#[tokio::test]
async fn a_panic_is_one_caller_s_internal_error_and_nobody_else_s() {
    let (_running, channel) = started().await;
    let status = call(channel.clone(), "Open", request("panic", "")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Internal, reason::INTERNAL));
    let open = follow(channel.clone(), "panic").await.unwrap();
    let last = soon(open.collect::<Vec<_>>()).await.pop().unwrap();
    assert_eq!(last.unwrap_err().code(), Code::Internal);
    call(channel, "Open", request("the same connection goes on", "")).await.unwrap();
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused() {
    let (_running, channel) = started().await;
    let status =
        call(channel.clone(), "Open", request(&"x".repeat(MAX_MESSAGE_BYTES + 1), "")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::OutOfRange, reason::MESSAGE_TOO_LARGE));
    call(channel, "Open", request("small", "")).await.unwrap();
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_its_sender_s_fault() {
    let (_running, channel) = started().await;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/probe.v1.Probe/Open");
    // The same field as that of a text, and its bytes are none.
    let codec = tonic_prost::ProstCodec::<Vec<u8>, String>::default();
    let status = client.unary(Request::new(b"\xff\xfe".to_vec()), path, codec).await.unwrap_err();
    let expected = (Code::InvalidArgument, reason::INVALID_REQUEST);
    assert_eq!((status.code(), reason_of(&status).as_str()), expected, "{status:?}");
}

#[tokio::test]
async fn trace_and_correlation_go_through_a_call() {
    let (_running, channel) = started().await;
    let with_headers = |message: &str| {
        let mut request = request(message, "");
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        request.metadata_mut().insert("x-request-id", "req-7".parse().unwrap());
        request
    };
    let answer = call(channel.clone(), "Open", with_headers("trace")).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "req-7");
    let own: TraceParent = answer.into_inner().parse().unwrap();
    assert_eq!(own.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_ne!(own.span_id(), 0x00f0_67aa_0ba9_02b7, "a call is a span of its own");
    let refused = call(channel.clone(), "Run", with_headers("trace")).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "req-7", "errors carry it too");
    let fresh = call(channel, "Open", request("correlation", "")).await.unwrap();
    assert_eq!(fresh.metadata().get("x-request-id").unwrap(), fresh.get_ref().as_str());
}

#[tokio::test]
async fn a_stop_finishes_calls_in_flight_and_sends_streams_away() {
    let (running, channel) = started().await;
    let in_flight = tokio::spawn(call(channel.clone(), "Open", request("wait", "")));
    running.one_waits().await;
    let mut open = follow(channel.clone(), "").await.unwrap();
    assert_eq!(soon(open.next()).await.unwrap().unwrap(), "first");

    running.shutdown.request("test");
    let stopping = {
        let (shutdown, readiness) = (running.shutdown.clone(), running.readiness.clone());
        tokio::spawn(async move { shutdown.run(&readiness, LONG).await })
    };
    let sent_away = soon(open.next()).await.unwrap().unwrap_err();
    assert_eq!((sent_away.code(), reason_of(&sent_away).as_str()), (Code::Unavailable, reason::STOPPING));
    let refused_connection = async {
        while tokio::net::TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(refused_connection).await;
    assert!(!stopping.is_finished(), "a call is still in flight");
    running.probe.go_on.add_permits(1);
    assert_eq!(soon(in_flight).await.unwrap().unwrap().into_inner(), "waited");
    soon(stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let (running, _channel) = started().await;
    let shutdown = Shutdown::new();
    let server =
        GrpcServer::new(Services::new(), Default::default(), ServerOptions::default(), &shutdown).unwrap();
    let Err(error) = server.bind(running.address).await else { panic!("two servers on one address") };
    assert!(error.to_string().contains(&running.address.to_string()), "{error}");
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(connection.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn the_admin_listener_shows_metrics_by_method_and_code_and_who_is_not_ready() {
    let shutdown = Shutdown::new();
    let metrics = Metrics::install(&shutdown).unwrap();
    let readiness = Readiness::new();
    let admin = AdminServer::bind(([127, 0, 0, 1], 0).into(), metrics, &readiness).await.unwrap();
    let address = admin.local_addr().unwrap();
    shutdown.spawn_worker("admin", admin.serve(shutdown.stop_working()));

    let (_running, channel) = started().await;
    call(channel.clone(), "Feed", Request::new("fail".to_owned())).await.unwrap_err();
    call(channel.clone(), "Feed", request("fail", SERVICE)).await.unwrap_err();
    let text = get(address, "/metrics").await;
    for line in [
        r#"grpc_server_handled_total{grpc_service="probe.v1.Probe",grpc_method="Feed",grpc_code="UNAUTHENTICATED"}"#,
        r#"grpc_server_handled_total{grpc_service="probe.v1.Probe",grpc_method="Feed",grpc_code="NOT_FOUND"}"#,
        r#"grpc_server_handling_seconds_bucket{grpc_service="probe.v1.Probe",grpc_method="Feed",le="0.01"}"#,
        "# HELP grpc_server_handled_total Finished gRPC calls by outcome.",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }

    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let log = readiness.component("log");
    log.not_ready("no connection");
    let waiting = get(address, "/readyz").await;
    assert!(waiting.starts_with("HTTP/1.1 503") && waiting.ends_with("log: no connection\n"), "{waiting}");
    shutdown.request("test");
    soon(shutdown.run(&readiness, LONG)).await.unwrap();
}
