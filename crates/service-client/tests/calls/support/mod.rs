//! Servers that can be drained, killed and started again at the same address, and calls of them.

pub mod dns;

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{StreamExt, stream};
use service_client::{Address, ClientOptions, Methods, Names, ServiceClient};
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, ServerOptions, Services};
use service_runtime::{Readiness, RequestContext, Shutdown, status};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Nothing in these tests takes as long.
pub const LONG: Duration = Duration::from_secs(120);

pub static DESCRIPTORS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([root.join("tests/proto"), root.join("../../proto")]).unwrap();
    compiler.include_imports(true).open_file("calls.proto").unwrap();
    compiler.encode_file_descriptor_set()
});

#[derive(Clone, prost::Message)]
pub struct Asked {
    #[prost(string, tag = "1")]
    pub what: String,
    #[prost(string, tag = "2")]
    pub request_id: String,
}

#[derive(Clone, prost::Message)]
pub struct Answer {
    #[prost(string, tag = "1")]
    pub text: String,
}

/// Waits for something that must happen.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(LONG, what).await.expect("this should have happened long ago")
}

/// Repeats until it holds.
pub async fn until<F: AsyncFnMut() -> bool>(mut holds: F) {
    soon(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Addresses of loopback that nobody else has: connections to elsewhere begin at 127.0.0.1, so none of them can take a
/// port here while its server is away.
pub fn own_ip() -> IpAddr {
    let number = || rand::random_range(2..=254_u8);
    Ipv4Addr::new(127, number(), number(), number()).into()
}

/// What the handlers of a server share.
#[derive(Clone)]
pub struct Handlers {
    pub name: &'static str,
    /// Calls that came.
    pub calls: Arc<AtomicUsize>,
    /// A permit for each handler that began to wait.
    pub waiting: Arc<Semaphore>,
    /// Lets waiting handlers go on.
    pub go_on: Arc<Semaphore>,
}

impl Handlers {
    async fn handle(self, request: Request<Asked>) -> Result<Response<Answer>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let context = RequestContext::of(&request);
        let text = match request.get_ref().what.as_str() {
            "wait" => {
                self.waiting.add_permits(1);
                self.go_on.acquire().await.unwrap().forget();
                self.name.to_owned()
            }
            // As whatever stands between may answer.
            "bare" => return Err(Status::unavailable("nothing more is said")),
            "bare at a" if self.name == "a" => return Err(Status::unavailable("nothing more is said")),
            "down" => return Err(status::unavailable("DEPENDENCY_UNAVAILABLE", "down", status::RETRY_AFTER)),
            "full at a" if self.name == "a" => return Err(status::overloaded()),
            "behind" => return Err(status::position_not_reached()),
            "time left" => context.time_left().unwrap_or_default().as_millis().to_string(),
            "trace" => context.traceparent.shown_trace_id().to_string(),
            "correlation" => context.correlation_id.to_string(),
            _ => self.name.to_owned(),
        };
        Ok(Response::new(Answer { text }))
    }
}

type BoxStream = stream::BoxStream<'static, Result<Answer, Status>>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl NamedService for Handlers {
    const NAME: &'static str = "calls.v1.Calls";
}

struct Unary(Handlers);

impl UnaryService<Asked> for Unary {
    type Response = Answer;
    type Future = BoxFuture<Result<Response<Answer>, Status>>;

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        Box::pin(self.0.clone().handle(request))
    }
}

struct Follow(Handlers);

impl ServerStreamingService<Asked> for Follow {
    type Response = Answer;
    type ResponseStream = BoxStream;
    type Future = BoxFuture<Result<Response<BoxStream>, Status>>;

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let first = stream::iter([Ok(Answer { text: self.0.name.to_owned() })]);
        let answer = match request.get_ref().what.as_str() {
            "bare" => Err(Status::unavailable("nothing more is said")),
            "end" => Ok(Response::new(first.boxed())),
            _ => Ok(Response::new(first.chain(stream::pending()).boxed())),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl tower::Service<http::Request<Body>> for Handlers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handlers = self.clone();
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Answer, Asked>::default());
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/calls.v1.Calls/Follow" => grpc.server_streaming(Follow(handlers), request).await,
                _ => grpc.unary(Unary(handlers), request).await,
            })
        })
    }
}

/// A server on a runtime of its own, so that it can die at once, with all of its connections.
pub struct Server {
    pub address: SocketAddr,
    pub handlers: Handlers,
    pub readiness: Readiness,
    shutdown: Shutdown,
    runtime: Option<Runtime>,
}

impl Server {
    pub async fn start(name: &'static str) -> Self {
        Self::start_at(name, SocketAddr::new(own_ip(), 0)).await
    }

    /// Starts where one was before, or anywhere for port 0.
    pub async fn start_at(name: &'static str, address: SocketAddr) -> Self {
        let semaphore = || Arc::new(Semaphore::new(0));
        let handlers = Handlers { name, calls: Arc::default(), waiting: semaphore(), go_on: semaphore() };
        Self::start_with(handlers, address).await
    }

    async fn start_with(handlers: Handlers, address: SocketAddr) -> Self {
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let services = Services::new().with(handlers.clone());
        let (tokens, options) = (Tokens::default(), ServerOptions::default());
        let server =
            GrpcServer::with_descriptors(&DESCRIPTORS, services, tokens, options, &shutdown).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // A server that was killed gives its address back by and by.
        let bind = async move {
            loop {
                match server.clone().bind(address).await {
                    Ok(bound) => break bound,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let bound = soon(runtime.spawn(bind)).await.unwrap();
        let address = bound.local_addr();
        let _inside = runtime.enter();
        shutdown.spawn_server("grpc", bound.serve(readiness.clone(), shutdown.stop_accepting()));
        drop(_inside);
        Self { address, handlers, readiness, shutdown, runtime: Some(runtime) }
    }

    pub fn calls(&self) -> usize {
        self.handlers.calls.load(Ordering::SeqCst)
    }

    /// Returns when one more handler waits.
    pub async fn one_waits(&self) {
        soon(self.handlers.waiting.acquire()).await.unwrap().forget();
    }

    /// Stops as a service does on SIGTERM.
    pub async fn drain(&mut self) {
        let (shutdown, readiness) = (self.shutdown.clone(), self.readiness.clone());
        shutdown.request("the test says so");
        let stopped = async move { shutdown.run(&readiness, LONG).await };
        let runtime = self.runtime.take().unwrap();
        soon(runtime.spawn(stopped)).await.unwrap().unwrap();
        runtime.shutdown_background();
    }

    /// Stops as with kill -9.
    pub fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Starts again at the same address, with the same counters.
    pub async fn restart(&mut self) {
        *self = Self::start_with(self.handlers.clone(), self.address).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Limits with which nothing takes long.
pub fn options() -> ClientOptions {
    ClientOptions {
        max_wait: LONG,
        reconnect_pause: (Duration::from_millis(5), Duration::from_millis(50)),
        dns_refresh: (Duration::from_millis(10), Duration::from_secs(15)),
        ..ClientOptions::default()
    }
}

pub fn client(servers: &[&Server], options: ClientOptions) -> ServiceClient {
    let addresses = servers.iter().map(|server| Address::from(server.address)).collect();
    client_of(addresses, &Names::new(&[SocketAddr::from(([127, 0, 0, 1], 1))]).unwrap(), options)
}

pub fn client_of(addresses: Vec<Address>, names: &Names, options: ClientOptions) -> ServiceClient {
    let methods = Methods::from_descriptors(&DESCRIPTORS).unwrap();
    ServiceClient::start("calls", addresses, names, methods, options)
}

pub fn asked(what: &str, request_id: &str) -> Request<Asked> {
    Request::new(Asked { what: what.to_owned(), request_id: request_id.to_owned() })
}

pub async fn call(client: &ServiceClient, method: &str, request: Request<Asked>) -> Result<String, Status> {
    let mut grpc = tonic::client::Grpc::new(client.clone());
    grpc.ready().await.unwrap();
    let path = format!("/calls.v1.Calls/{method}").parse().unwrap();
    let codec = ProstCodec::<Asked, Answer>::default();
    Ok(soon(grpc.unary(request, path, codec)).await?.into_inner().text)
}

pub async fn read(client: &ServiceClient, what: &str) -> Result<String, Status> {
    call(client, "Read", asked(what, "")).await
}

pub async fn follow(client: &ServiceClient, what: &str) -> Result<tonic::Streaming<Answer>, Status> {
    let mut grpc = tonic::client::Grpc::new(client.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/calls.v1.Calls/Follow");
    let codec = ProstCodec::<Asked, Answer>::default();
    Ok(soon(grpc.server_streaming(asked(what, ""), path, codec)).await?.into_inner())
}
