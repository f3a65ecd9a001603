//! Connections over loopback: clients that keep silent, clients that are too many, and the end of it all.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_gateway::{Connections, RestService};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use testkit::{SOON, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;

const REQUEST: &[u8] = b"GET /v1/things HTTP/1.1\r\nhost: shop.example\r\n\r\n";
/// What the last answer of a connection says.
const LAST: &str = "connection: close";
/// So many that a moment without a request of one of them is rare.
const CLIENTS: usize = 16;

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    /// Each request needs one of these to be answered.
    answers: Arc<Semaphore>,
    /// One for each request that has come.
    asked: Arc<Semaphore>,
}

impl Server {
    /// Answers with the address of whoever asks.
    async fn start(connections: Connections) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (answers, asked) = (Arc::new(Semaphore::new(1000)), Arc::new(Semaphore::new(0)));
        let (gate, told) = (Arc::clone(&answers), Arc::clone(&asked));
        let answer = tower::service_fn(move |request: Request| {
            let (gate, told) = (Arc::clone(&gate), Arc::clone(&told));
            async move {
                told.add_permits(1);
                gate.acquire().await.unwrap().forget();
                let ConnectInfo(peer) = *request.extensions().get::<ConnectInfo<SocketAddr>>().unwrap();
                Ok::<_, Infallible>(Response::new(Body::from(peer.to_string())))
            }
        });
        let rest: RestService = BoxCloneSyncService::new(answer);
        let serving = tokio::spawn(connections.serve(listener, rest, stop.clone()));
        Self { address, stop, serving, answers, asked }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.serving).await.expect("it stops").unwrap().unwrap();
    }
}

/// Sends a request and reads the answer, which is the client's own address.
async fn ask(connection: &mut TcpStream) {
    connection.write_all(REQUEST).await.unwrap();
    answered(connection).await;
}

async fn answered(connection: &mut TcpStream) -> String {
    let expected = format!("\r\n\r\n{}", connection.local_addr().unwrap());
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).ends_with(&expected) {
        let more =
            tokio::time::timeout(SOON, connection.read_buf(&mut read)).await.expect("it answers").unwrap();
        assert!(more > 0, "closed after {:?}", String::from_utf8_lossy(&read));
    }
    assert!(read.starts_with(b"HTTP/1.1 200"));
    String::from_utf8(read).unwrap()
}

async fn closed(mut connection: TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(SOON, connection.read_to_end(&mut rest)).await.expect("it is closed");
}

#[tokio::test]
async fn a_client_that_keeps_silent_before_in_or_after_a_request_is_let_go() {
    let limits = Connections { idle_timeout: Duration::from_millis(200), ..Connections::default() };
    let server = Server::start(limits).await;
    let silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(&REQUEST[..20]).await.unwrap();
    let mut idle = server.connect().await;
    ask(&mut idle).await;
    tokio::join!(closed(silent), closed(half), closed(idle));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_connection_may_be_idle() {
    let limits = Connections { idle_timeout: Duration::from_millis(100), ..Connections::default() };
    let server = Server::start(limits).await;
    server.answers.forget_permits(1000);
    let mut patient = server.connect().await;
    patient.write_all(REQUEST).await.unwrap();
    server.asked.acquire().await.unwrap().forget();
    // A connection that came later is let go before this one is answered.
    closed(server.connect().await).await;
    server.answers.add_permits(1);
    answered(&mut patient).await;
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let server = Server::start(Connections { max: 1, ..Connections::default() }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    ask(&mut first).await;
    second.write_all(REQUEST).await.unwrap();
    ask(&mut first).await;
    assert_eq!(server.asked.available_permits(), 2, "only the first connection is served");
    drop(first);
    answered(&mut second).await;
    server.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_not_for_idle_clients() {
    let server = Server::start(Connections { farewell: Duration::ZERO, ..Connections::default() }).await;
    let mut idle = server.connect().await;
    ask(&mut idle).await;
    server.answers.forget_permits(1000);
    server.asked.forget_permits(1);
    let mut waiting = server.connect().await;
    waiting.write_all(REQUEST).await.unwrap();
    server.asked.acquire().await.unwrap().forget();
    server.stop.cancel();
    closed(idle).await;
    assert!(!server.serving.is_finished());
    server.answers.add_permits(1);
    answered(&mut waiting).await;
    server.stop().await;
}

#[tokio::test]
async fn who_asks_a_server_that_stops_is_answered_and_told_that_it_was_the_last_time() {
    let server = Server::start(Connections { farewell: SOON, ..Connections::default() }).await;
    let (mut kept, mut idle) = (server.connect().await, server.connect().await);
    ask(&mut kept).await;
    ask(&mut idle).await;
    server.stop.cancel();
    last_answer(kept).await;
    eventually("whoever comes is refused", SOON, async || {
        TcpStream::connect(server.address).await.is_err().then_some(())
    })
    .await;
    assert!(!server.serving.is_finished(), "one may still ask");
    last_answer(idle).await;
    // Nobody is left to wait for.
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_loses_no_request_of_clients_that_keep_asking() {
    let server = Server::start(Connections { farewell: SOON, ..Connections::default() }).await;
    server.answers.add_permits(Semaphore::MAX_PERMITS / 2);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut connection = server.connect().await;
        clients.push(tokio::spawn(async move {
            loop {
                connection.write_all(REQUEST).await.unwrap();
                if answered(&mut connection).await.contains(LAST) {
                    return;
                }
            }
        }));
    }
    eventually("all are at it", SOON, async || {
        (server.asked.available_permits() > 10 * CLIENTS).then_some(())
    })
    .await;
    server.stop().await;
    for client in clients {
        client.await.expect("each request was answered until one said that it was the last");
    }
}

/// Sends a request, and reads the answer, which says that the connection ends with it, and the end.
async fn last_answer(mut connection: TcpStream) {
    connection.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, connection.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(LAST), "{answer}");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let server = Server::start(Connections::default()).await;
    let mut connection = server.connect().await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: shop.example\r\nx-long: {}\r\n\r\n",
        "x".repeat(4 * api_gateway::MAX_HEAD_BYTES)
    );
    // The server may answer and close before it has read everything.
    let _ = connection.write_all(head.as_bytes()).await;
    let mut answer = [0; 12];
    if connection.read_exact(&mut answer).await.is_ok() {
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
    assert_eq!(server.asked.available_permits(), 0);
    server.stop().await;
}
