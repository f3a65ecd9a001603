//! The program as a child process, servers behind it that can be drained, killed and started again, and HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use contracts::shop::order::v1 as orders;
use contracts::shop::product::v1 as products;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, ServerOptions, Services};
use service_runtime::{Readiness, Shutdown};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;

/// Nothing in these tests takes as long.
pub const LONG: Duration = Duration::from_secs(120);

/// Waits for something that must happen.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(LONG, what).await.expect("this should have happened long ago")
}

/// Repeats until it holds.
pub async fn until<F: AsyncFnMut() -> bool>(mut holds: F) {
    soon(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// An address of loopback that nobody else has: connections to elsewhere begin at 127.0.0.1, so none of them can take a
/// port here while its server is away.
pub fn own_ip() -> IpAddr {
    let number = || rand::random_range(2..=254_u8);
    Ipv4Addr::new(127, number(), number(), number()).into()
}

/// A service that answers without knowing anything; all of its servers share what they saw.
#[derive(Clone, Default)]
pub struct Handlers {
    pub calls: Arc<AtomicUsize>,
    pub last: Arc<Mutex<HeaderMap>>,
}

impl Handlers {
    fn answer(&self, request: &http::Request<Body>) -> http::Response<Body> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = request.headers().clone();
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        match method.as_str() {
            "GetProduct" => {
                let product = products::Product { product_id: "p1".to_owned(), ..Default::default() };
                answer(&contracts::GetProductResponse::new(product), false)
            }
            "PlaceOrder" => answer(&orders::PlaceOrderResponse::default(), false),
            "WatchOrder" => answer(&orders::WatchOrderResponse::default(), true),
            _ => Status::not_found("scripted").into_http(),
        }
    }
}

/// One message, and then the end, or for a stream nothing for ever.
fn answer(message: &impl Message, endless: bool) -> http::Response<Body> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    let trailers = Status::ok("").into_http::<()>().headers().clone();
    let end = stream::once(async move {
        if endless {
            std::future::pending::<()>().await;
        }
        Frame::trailers(trailers)
    });
    let frames = stream::iter([Frame::data(frame.freeze())]).chain(end);
    let mut response = http::Response::new(Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>))));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

macro_rules! service {
    ($type:ident, $name:literal) => {
        #[derive(Clone)]
        struct $type(Handlers);

        impl NamedService for $type {
            const NAME: &'static str = $name;
        }

        impl tower::Service<http::Request<Body>> for $type {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

            fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                let answer = self.0.answer(&request);
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    };
}

service!(Products, "shop.product.v1.ProductService");
service!(Orders, "shop.order.v1.OrderService");

/// A server of products and orders on a runtime of its own, so that it can die with all of its connections.
pub struct Server {
    pub address: SocketAddr,
    pub handlers: Handlers,
    shutdown: Shutdown,
    readiness: Readiness,
    runtime: Option<Runtime>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::new(own_ip(), 0), Handlers::default()).await
    }

    async fn start_at(address: SocketAddr, handlers: Handlers) -> Self {
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let services = Services::new().with(Products(handlers.clone())).with(Orders(handlers.clone()));
        let server =
            GrpcServer::new(services, Tokens::default(), ServerOptions::default(), &shutdown).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bound = runtime.spawn(server.bind(address)).await.unwrap().unwrap();
        let address = bound.local_addr();
        {
            let _inside = runtime.enter();
            shutdown.spawn_server("grpc", bound.serve(readiness.clone(), shutdown.stop_accepting()));
        }
        Self { address, handlers, shutdown, readiness, runtime: Some(runtime) }
    }

    pub fn calls(&self) -> usize {
        self.handlers.calls.load(Ordering::SeqCst)
    }

    /// Stops as a service does on SIGTERM, and starts again at the same address.
    pub async fn restart(&mut self) {
        let (shutdown, readiness) = (self.shutdown.clone(), self.readiness.clone());
        shutdown.request("the test says so");
        let runtime = self.runtime.take().unwrap();
        soon(runtime.spawn(async move { shutdown.run(&readiness, LONG).await })).await.unwrap().unwrap();
        runtime.shutdown_background();
        *self = Self::start_at(self.address, self.handlers.clone()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The program, which dies with this.
pub struct Gateway {
    pub http: SocketAddr,
    pub child: Child,
    client: Client<HttpConnector, Full<Bytes>>,
}

pub fn command(variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_api-gateway"));
    command.env_clear().envs(variables.iter().map(|(name, value)| (*name, value)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Gateway {
    /// Before services that are all at these servers, and ready.
    pub async fn start(servers: &[&Server]) -> Self {
        let ip = own_ip();
        let ports = [(); 2].map(|()| std::net::TcpListener::bind((ip, 0)).unwrap());
        let [http, admin] = ports.map(|port| port.local_addr().unwrap());
        let addresses: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
        let mut variables =
            vec![("STORELINE_HTTP", http.to_string()), ("STORELINE_ADMIN", admin.to_string())];
        for name in ["PRODUCT", "INVENTORY", "ORDER", "PAYMENT", "SAGA"] {
            let variable: &'static str = format!("STORELINE_{name}_ADDRESS").leak();
            variables.push((variable, addresses.join(",")));
        }
        // All of these clients are one, and in a hurry.
        variables.push(("STORELINE_RATE_LIMITS", "false".to_owned()));
        let child = command(&variables).stderr(Stdio::null()).spawn().unwrap();
        let gateway = Self { http, child, client: Client::builder(TokioExecutor::new()).build_http() };
        until(async || gateway.try_get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
        gateway
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<hyper::body::Incoming> {
        soon(self.try_send(method, path, headers, body)).await.unwrap()
    }

    async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<http::Response<hyper::body::Incoming>, hyper_util::client::legacy::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("http://{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await
    }

    async fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.try_send("GET", path, &[], "").await.ok()?;
        Some(text(answer).await)
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        text(self.send("GET", path, &[], "").await).await
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, String) {
        text(self.send("POST", path, &[("content-type", "application/json")], body).await).await
    }
}

pub async fn text(answer: http::Response<hyper::body::Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
