//! Keeps one connection to one replica: makes it, follows the replica's health over it, and makes it anew when it has
//! ended. It takes calls only while the replica says that it is ready, so one that starts or drains is left alone
//! before a call fails there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::body::Outgoing;
use crate::replicas::{Lane, Replica, Replicas};

/// What a stream of answers may send ahead of its reader, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for all answers of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Unconnected {
    #[error("no connection: {0}")]
    Io(#[from] std::io::Error),
    #[error("no connection in time")]
    TooSlow,
    #[error("no HTTP/2: {0}")]
    Handshake(#[from] hyper::Error),
    #[error("its health is not told: {0}")]
    Health(Code),
    #[error("its health is not told in time")]
    HealthTooSlow,
}

/// Keeps a connection until `stop`.
pub(crate) async fn keep(pool: Arc<Replicas>, replica: Arc<Replica>, stop: CancellationToken) {
    let (least, most) = pool.options.reconnect_pause;
    let mut pause = least;
    let mut said = false;
    loop {
        let Some(ended) = stop.run_until_cancelled(connection(&pool, &replica)).await else { return };
        match ended {
            Ok(()) => (pause, said) = (least, false),
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(backend = &*pool.backend, { service_runtime::fields::ADDRESS } = %replica.address, "a replica cannot be used: {error}");
                }
            }
        }
        pool.look_up.notify_one();
        // Between half of the pause and all of it, so that those who lost the same replica do not come at once.
        let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        if stop.run_until_cancelled(tokio::time::sleep(jittered)).await.is_none() {
            return;
        }
        pause = (pause * 2).min(most);
    }
}

/// Takes a connection out of the list when it ends, however it does.
struct Listed<'a> {
    pool: &'a Replicas,
    lane: Arc<Lane>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.pool.unlist(&self.lane);
    }
}

/// One connection from beginning to end. Calls that are under way when it returns are finished all the same.
async fn connection(pool: &Replicas, replica: &Arc<Replica>) -> Result<(), Unconnected> {
    let options = &pool.options;
    let stream = in_time(options.connect_timeout, TcpStream::connect(replica.address)).await;
    let stream = stream.ok_or(Unconnected::TooSlow)??;
    // A call is a few small packets: none shall wait for the one before to be acknowledged.
    stream.set_nodelay(true)?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(options.keepalive)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut ended = tokio::spawn(connection);
    pool.meters.connections.increment(1);
    let authority: Authority =
        replica.address.to_string().parse().expect("an address and port is an authority");
    let lane = Lane::new(Arc::clone(replica), authority.clone(), sender.clone());
    let listed = Listed { pool, lane: Arc::new(lane) };
    tokio::select! {
        _ = &mut ended => Ok(()),
        told = follow_health(&listed, authority, sender, options.health_timeout) => told,
    }
}

/// Lists the connection while the replica is ready; returns when it says no more.
async fn follow_health(
    listed: &Listed<'_>,
    authority: Authority,
    sender: SendRequest<Outgoing>,
    patience: Duration,
) -> Result<(), Unconnected> {
    let (pool, lane) = (listed.pool, &listed.lane);
    let origin = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query("/").build();
    let origin = origin.expect("scheme, authority and path make a URI");
    let mut health = HealthClient::with_origin(Wire(sender), origin);
    let begin = async {
        let mut changes = health.watch(HealthCheckRequest::default()).await?.into_inner();
        let first = changes.message().await?;
        Ok::<_, Status>((changes, first))
    };
    let (mut changes, mut told) = match in_time(patience, begin).await.ok_or(Unconnected::HealthTooSlow)? {
        Ok(begun) => begun,
        Err(status) if status.code() == Code::Unimplemented => {
            // It has no health to tell, so its connection has to stand for it.
            pool.list(lane);
            return std::future::pending().await;
        }
        Err(status) => return Err(Unconnected::Health(status.code())),
    };
    while let Some(health) = told {
        match health.status() {
            ServingStatus::Serving => pool.list(lane),
            ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
                pool.unlist(lane)
            }
        }
        // It ends when the replica stops, which is before its connection does.
        told = changes.message().await.unwrap_or_default();
    }
    Ok(())
}

async fn in_time<F: Future>(limit: Duration, what: F) -> Option<F::Output> {
    tokio::time::timeout(limit, what).await.ok()
}

/// The connection as a generated client takes it.
struct Wire(SendRequest<Outgoing>);

impl tower::Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request.map(Outgoing::Stream)))
    }
}
