//! A gateway over the test proto with a backend that speaks plain gRPC frames: it echoes, or answers as the
//! test scripts it, and remembers what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex};

use api_gateway::{Backend, Gateway, GatewayError, Lifecycle, Options, RestService};
use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use tokio::sync::watch;
use tonic::Status;
use tower::ServiceExt;

/// What the backend answers to one call.
pub enum Reply {
    /// The request itself; of Echo, where both have the same type.
    Echo,
    Message(Value, Vec<(&'static str, &'static str)>),
    Status(Status),
    /// Messages, and then a status.
    Stream(BoxStream<'static, Value>, Status),
    Never,
    Panic,
    /// Not even a gRPC answer.
    Refuse,
}

/// A call that the backend got.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub metadata: HeaderMap,
    pub request: Value,
}

type Script = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

#[derive(Clone)]
pub struct TestBackend {
    script: Script,
    calls: Arc<Mutex<Vec<Call>>>,
    count: watch::Sender<usize>,
}

pub static DESCRIPTORS: LazyLock<Vec<u8>> = LazyLock::new(|| compile("conformance.proto", None));
pub static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS.as_slice()).unwrap());

/// Compiles a file of tests/proto, or a text in its place.
pub fn compile(name: &str, text: Option<&str>) -> Vec<u8> {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proto");
    let shop = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut resolver = protox::file::ChainFileResolver::new();
    if let Some(text) = text {
        let file = protox::file::File::from_source(name, text).unwrap();
        resolver.add(Given(file.file_descriptor_proto().clone()));
    }
    resolver.add(protox::file::IncludeFileResolver::new(here.into()));
    resolver.add(protox::file::IncludeFileResolver::new(shop.into()));
    resolver.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_source_info(true).include_imports(true).open_file(name).unwrap();
    compiler.encode_file_descriptor_set()
}

struct Given(prost_reflect::prost_types::FileDescriptorProto);

impl protox::file::FileResolver for Given {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        if name == self.0.name() {
            return Ok(protox::file::File::from_file_descriptor_proto(self.0.clone()));
        }
        Err(protox::Error::file_not_found(name))
    }
}

pub fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("conformance.v1.{name}")).unwrap()
}

impl TestBackend {
    pub fn new(script: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), calls: Arc::default(), count: watch::Sender::new(0) }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Waits until so many calls have arrived.
    pub async fn called(&self, times: usize) {
        self.count.subscribe().wait_for(|count| *count >= times).await.unwrap();
    }

    pub async fn answer(
        self,
        request: Request<tonic::body::Body>,
    ) -> Result<http::Response<tonic::body::Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let frame = body.collect().await.unwrap().to_bytes();
        let (service, method) = parts.uri.path()[1..].split_once('/').unwrap();
        let service = POOL.get_service_by_name(service).unwrap();
        let rpc = service.methods().find(|rpc| rpc.name() == method).unwrap();
        let request = DynamicMessage::decode(rpc.input(), &frame[5..]).unwrap();
        let request = serde_json::to_value(&request).unwrap();
        let call = Call { path: parts.uri.path().to_owned(), metadata: parts.headers, request };
        let reply = (self.script)(&call);
        self.calls.lock().unwrap().push(call);
        self.count.send_modify(|count| *count += 1);
        Ok(match reply {
            Reply::Echo => grpc(stream::once(async move { frame }).boxed(), Status::ok(""), &[]),
            Reply::Message(value, metadata) => {
                let frame = encode(&rpc.output(), value);
                grpc(stream::once(async move { frame }).boxed(), Status::ok(""), &metadata)
            }
            Reply::Status(status) => status.into_http(),
            Reply::Stream(values, status) => {
                let output = rpc.output();
                grpc(values.map(move |value| encode(&output, value)).boxed(), status, &[])
            }
            Reply::Never => std::future::pending().await,
            Reply::Panic => panic!("scripted"),
            Reply::Refuse => return Err(std::io::Error::other("10.1.2.3:5432 refused")),
        })
    }
}

fn encode(output: &MessageDescriptor, value: Value) -> Bytes {
    let message = DynamicMessage::deserialize(output.clone(), value).unwrap();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

fn grpc(
    frames: BoxStream<'static, Bytes>,
    status: Status,
    metadata: &[(&'static str, &'static str)],
) -> http::Response<tonic::body::Body> {
    let trailers = status.into_http::<()>().headers().clone();
    let frames = frames.map(Frame::data).chain(stream::once(async move { Frame::trailers(trailers) }));
    let mut response =
        http::Response::new(tonic::body::Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>))));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    for (name, value) in metadata {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// A gateway and its backend.
pub struct Harness {
    pub router: RestService,
    pub backend: TestBackend,
    pub lifecycle: Lifecycle,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The problem document, checked to be one.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title"] {
            assert!(problem[member].is_string(), "{problem}");
        }
        problem
    }

    /// The fields that the problem complains of.
    pub fn violations(&self) -> Vec<String> {
        let problem = self.problem(400);
        let violations = problem["violations"].as_array().cloned().unwrap_or_default();
        violations.iter().map(|violation| violation["field"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn echo() -> Harness {
    Harness::new(|_| Reply::Echo)
}

impl Harness {
    pub fn new(script: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Options::default(), script)
    }

    pub fn with(options: Options, script: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let backend = TestBackend::new(script);
        let probes = axum::Router::new().route("/healthz", axum::routing::get(async || "alive\n"));
        let lifecycle = Lifecycle { probes, ..Lifecycle::default() };
        let router = build(options, &DESCRIPTORS, &backend, lifecycle.clone()).unwrap();
        Self { router, backend, lifecycle }
    }

    pub async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(request("GET", path, &[], "")).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(request("POST", path, &[("content-type", "application/json")], body)).await
    }
}

pub fn build(
    options: Options,
    descriptors: &[u8],
    backend: &TestBackend,
    lifecycle: Lifecycle,
) -> Result<RestService, GatewayError> {
    let backend = backend.clone();
    let service = Backend::new(tower::service_fn(move |request| backend.clone().answer(request)));
    let services = ["conformance.v1.Echo", "conformance.v1.Things"];
    let backends = services.map(|service_name| (service_name.to_owned(), service.clone())).to_vec();
    Gateway::build(options, descriptors, backends, lifecycle)
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let headers: HashMap<&str, &str> = headers.iter().copied().collect();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}
