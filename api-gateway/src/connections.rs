//! The connections over which REST is spoken, HTTP/1.1 without TLS: how many there may be, how long one may keep silent,
//! and how they end. What is asked on them is none of this module's business; [`Gateway`](crate::Gateway) answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

/// Connections that are open at once; more wait in the system's queue until one ends.
pub const DEFAULT_MAX_CONNECTIONS: usize = 8192;
/// How long the head of a request may take from the end of the answer before it, and so how long a connection may be
/// idle. Load balancers keep idle connections for a minute: they, not the server, are to be the ones who close.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a server that stops goes on answering on its connections, on each once more. HTTP/1.1 has no word for a client whose
/// connection was closed while its request was under way: it cannot know whether it may repeat it. Who asks more often
/// than this is told with an answer, and never meets that.
pub const DEFAULT_FAREWELL: Duration = Duration::from_secs(2);
/// Bytes that the head of a request may have, give or take a read; no more of a connection is kept in memory.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Pause after the system had no more file handles, or could not accept for another reason of its own.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Gauge: connections that are open.
const CONNECTIONS: &str = "http_server_connections";

/// What connections may do.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// See [`DEFAULT_MAX_CONNECTIONS`].
    pub max: usize,
    /// See [`DEFAULT_IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`DEFAULT_FAREWELL`].
    pub farewell: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self { max: DEFAULT_MAX_CONNECTIONS, idle_timeout: DEFAULT_IDLE_TIMEOUT, farewell: DEFAULT_FAREWELL }
    }
}

impl Connections {
    /// Answers with `rest` until `stop`. Then no connection is accepted any more, and every answer is the last one of its
    /// connection and says so. When all connections are gone or the farewell is over, idle ones end at once, and the
    /// others with the answer that they wait for. Each request has its peer's address as [`ConnectInfo`].
    ///
    /// # Errors
    /// When the system refuses what it never does; all that fails otherwise is one connection.
    pub async fn serve<S>(self, listener: TcpListener, rest: S, stop: CancellationToken) -> io::Result<()>
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.idle_timeout).max_buf_size(MAX_HEAD_BYTES);
        let slots = Arc::new(Semaphore::new(self.max));
        let open = metrics::gauge!(CONNECTIONS);
        let (graceful, clients) = (GracefulShutdown::new(), TaskTracker::new());
        let begin = |(connection, peer, slot): Accepted| {
            let rest = rest.clone().map_request(move |request: http::Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                request
            });
            let stop = stop.clone();
            let rest = rest.map_response(move |mut answer: Response| {
                if stop.is_cancelled() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            });
            let served = http.serve_connection(TokioIo::new(connection), TowerToHyperService::new(rest));
            let (served, open) = (graceful.watch(served), open.clone());
            open.increment(1);
            clients.spawn(async move {
                // A client that goes away, falls silent or does not speak HTTP is no event of ours.
                let _ = served.await;
                open.decrement(1);
                drop(slot);
            });
        };
        while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &slots)).await {
            begin(accepted);
        }
        // Who waits in the queue of the system may have asked already.
        waiting(listener, &slots)?.into_iter().for_each(begin);
        clients.close();
        // Or until the farewell is over.
        let _ = tokio::time::timeout(self.farewell, clients.wait()).await;
        graceful.shutdown().await;
        Ok(())
    }
}

/// What the system has accepted for a listener, which ends: whoever comes later is refused, and knows that nobody has
/// read the request.
fn waiting(listener: TcpListener, slots: &Arc<Semaphore>) -> io::Result<Vec<Accepted>> {
    let listener = listener.into_std()?;
    let mut waiting = Vec::new();
    while let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        // There is no more, or the system cannot hand it over now and nothing is left to do.
        let Ok((connection, peer)) = listener.accept() else { break };
        connection.set_nonblocking(true)?;
        let connection = tokio::net::TcpStream::from_std(connection)?;
        let _ = connection.set_nodelay(true);
        waiting.push((connection, peer, slot));
    }
    Ok(waiting)
}

type Accepted = (tokio::net::TcpStream, std::net::SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Accepted {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((connection, peer)) => {
                // An event of a stream is a small packet: it must not wait for the one before to be acknowledged.
                // A connection that has gone already fails by itself.
                let _ = connection.set_nodelay(true);
                return (connection, peer, slot);
            }
            // The client went before it was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                tracing::warn!(
                    { service_runtime::fields::ERROR } = %error,
                    "no connection can be accepted; trying again: is the limit of open files too low?"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
