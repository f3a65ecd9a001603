//! A service to call, whose requests say what shall happen, and a server around it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, GrpcService, ServerOptions, Services};
use service_runtime::{Readiness, RequestContext, Secret, Shutdown};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::http as codegen_http;
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

pub const OPERATOR: &str = "operator-0123456789abcdef0123456789";
pub const SERVICE: &str = "service-0123456789abcdef01234567890";
/// Nothing in these tests takes as long.
pub const LONG: Duration = Duration::from_secs(30);

pub static DESCRIPTORS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([root.join("tests/proto"), root.join("../../proto")]).unwrap();
    compiler.include_imports(true).open_file("probe.proto").unwrap();
    compiler.encode_file_descriptor_set()
});

/// Waits for something that must happen.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(LONG, what).await.expect("this should have happened long ago")
}

/// What a test knows and steers of its handlers.
#[derive(Clone)]
pub struct Probe {
    /// A permit for each handler that began to wait.
    pub waiting: Arc<Semaphore>,
    /// Lets waiting handlers go on.
    pub go_on: Arc<Semaphore>,
}

impl Probe {
    async fn handle(self, request: Request<String>) -> Result<Response<String>, Status> {
        let context = RequestContext::of(&request);
        let reply = match request.get_ref().as_str() {
            "who" => context.caller.actor(),
            "trace" => context.traceparent.to_string(),
            "correlation" => context.correlation_id.to_string(),
            "time left" => context.time_left().unwrap_or_default().as_millis().to_string(),
            "panic" => panic!("asked to"),
            "fail" => return Err(service_runtime::status::not_found("PROBE_NOT_FOUND", "probe", "p1")),
            "wait" => {
                self.waiting.add_permits(1);
                self.go_on.acquire().await.unwrap().forget();
                "waited".to_owned()
            }
            other => other.to_owned(),
        };
        Ok(Response::new(reply))
    }

    fn follow(self, request: Request<String>) -> Response<BoxStream> {
        let first = stream::iter([Ok("first".to_owned())]);
        let rest = match request.into_inner().as_str() {
            "panic" => stream::poll_fn(|_| panic!("asked to")).boxed(),
            "end" => stream::empty().boxed(),
            _ => stream::pending().boxed(),
        };
        Response::new(first.chain(rest).boxed())
    }
}

type BoxStream = futures::stream::BoxStream<'static, Result<String, Status>>;

impl NamedService for Probe {
    const NAME: &'static str = "probe.v1.Probe";
}

struct Unary(Probe);

impl UnaryService<String> for Unary {
    type Response = String;
    type Future = BoxFuture<'static, Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        self.0.clone().handle(request).boxed()
    }
}

struct Follow(Probe);

impl ServerStreamingService<String> for Follow {
    type Response = String;
    type ResponseStream = BoxStream;
    type Future = BoxFuture<'static, Result<Response<BoxStream>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        std::future::ready(Ok(self.0.clone().follow(request))).boxed()
    }
}

impl tower::Service<codegen_http::Request<Body>> for Probe {
    type Response = codegen_http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: codegen_http::Request<Body>) -> Self::Future {
        let probe = self.clone();
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
        async move {
            Ok(match request.uri().path() {
                "/probe.v1.Probe/Follow" => grpc.server_streaming(Follow(probe), request).await,
                _ => grpc.unary(Unary(probe), request).await,
            })
        }
        .boxed()
    }
}

/// A running server.
pub struct Running {
    pub probe: Probe,
    pub address: SocketAddr,
    pub service: GrpcService,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
}

pub async fn start(options: ServerOptions) -> Running {
    let probe = Probe { waiting: Arc::new(Semaphore::new(0)), go_on: Arc::new(Semaphore::new(0)) };
    let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[Secret::new(SERVICE)]).unwrap();
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let services = Services::new().with(probe.clone());
    let server = GrpcServer::with_descriptors(&DESCRIPTORS, services, tokens, options, &shutdown).unwrap();
    let service = server.service();
    let bound = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = bound.local_addr();
    shutdown.spawn_server("grpc", bound.serve(readiness.clone(), shutdown.stop_accepting()));
    Running { probe, address, service, readiness, shutdown }
}

impl Running {
    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// Returns when one more handler waits.
    pub async fn one_waits(&self) {
        soon(self.probe.waiting.acquire()).await.unwrap().forget();
    }
}

/// A request with a credential, or without one for an empty `token`.
pub fn request(message: &str, token: &str) -> Request<String> {
    let mut request = Request::new(message.to_owned());
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// Calls a unary RPC of the probe through anything that a generated client could use.
pub async fn call<S>(channel: S, method: &str, request: Request<String>) -> Result<Response<String>, Status>
where
    S: tonic::client::GrpcService<Body>,
    S::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|_| Status::unknown("the channel is closed"))?;
    let path: PathAndQuery = format!("/probe.v1.Probe/{method}").parse().unwrap();
    client.unary(request, path, ProstCodec::<String, String>::default()).await
}

/// Opens a stream of the probe.
pub async fn follow(
    channel: Channel,
    message: &str,
) -> Result<impl Stream<Item = Result<String, Status>> + Unpin, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|_| Status::unknown("the channel is closed"))?;
    let path = PathAndQuery::from_static("/probe.v1.Probe/Follow");
    let codec = ProstCodec::<String, String>::default();
    Ok(client.server_streaming(request(message, ""), path, codec).await?.into_inner())
}
