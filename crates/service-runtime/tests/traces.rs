//! Spans at a collector. It is a test binary of its own, since logging starts once per process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the server tests use more of it")]
mod support;

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use service_runtime::grpc::ServerOptions;
use service_runtime::telemetry::{self, LogFormat, TelemetryOptions};
use support::{call, request, soon, start};
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::UnaryService;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The part of OTLP's messages that the test looks at.
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
}

#[derive(Clone)]
struct Collector(mpsc::UnboundedSender<Export>);

impl UnaryService<Export> for Collector {
    type Response = ();
    type Future = std::future::Ready<Result<Response<()>, Status>>;

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        let _ = self.0.send(request.into_inner());
        std::future::ready(Ok(Response::new(())))
    }
}

impl tower::Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let collector = self.clone();
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<(), Export>::default());
        async move { Ok(grpc.unary(collector, request).await) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_reaches_the_collector_as_a_span_of_its_client_s_trace() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (exported, mut exports) = mpsc::unbounded_channel();
    tokio::spawn(
        tonic::transport::Server::builder()
            .serve_with_incoming(Collector(exported), TcpListenerStream::new(listener)),
    );
    let options = TelemetryOptions {
        service_name: "probe".into(),
        format: LogFormat::Json,
        filter: "warn".into(),
        otlp_endpoint: Some(endpoint),
    };
    let guard = telemetry::init(&options).unwrap();

    let running = start(ServerOptions::default()).await;
    let mut traced = request("trace", "");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    traced.metadata_mut().insert("traceparent", parent.parse().unwrap());
    let passed_on = call(running.service.clone(), "Open", traced).await.unwrap().into_inner();

    let flushed = tokio::task::spawn_blocking(move || drop(guard));
    let found = async {
        while let Some(export) = exports.recv().await {
            let spans = export.resources.into_iter().flat_map(|r| r.scopes).flat_map(|s| s.spans);
            if let Some(span) = spans.into_iter().find(|span| span.name == "/probe.v1.Probe/Open") {
                return span;
            }
        }
        panic!("the collector is gone");
    };
    let span = soon(found).await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert!(passed_on.contains(&hex(&span.span_id)), "events carry the exported span: {passed_on}");
    soon(flushed).await.unwrap();
}
