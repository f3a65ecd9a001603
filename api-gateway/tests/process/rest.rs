//! REST before services in other processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http_body_util::BodyExt;

use crate::support::{Gateway, Server, soon, until};

/// Clients at once, of reads and of changes each.
const CLIENTS: usize = 4;
/// Restarts of each replica.
const ROUNDS: usize = 3;

#[tokio::test]
async fn credentials_and_metadata_go_on_to_the_service() {
    let server = Server::start().await;
    let gateway = Gateway::start(&[&server]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("authorization", "Bearer mine"), ("traceparent", trace), ("x-request-id", "request-1")];
    let answer = gateway.send("GET", "/v1/products/p1", &headers, "").await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap()),
        (200, "request-1")
    );
    let got = server.handlers.last.lock().unwrap().clone();
    for (name, value) in headers {
        assert_eq!(got[name], value);
    }
    let timeout = got["grpc-timeout"].to_str().unwrap().trim_end_matches('u').parse::<u64>().unwrap();
    assert!((1..=30_000_000).contains(&timeout), "{timeout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restarts_of_a_service_fail_no_request() {
    let mut servers = [Server::start().await, Server::start().await];
    let gateway = Arc::new(Gateway::start(&servers.each_ref()).await);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS * 2)
        .map(|number| {
            let (gateway, stop, done) = (Arc::clone(&gateway), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // A change without an Idempotency-Key: nobody may repeat it once a service has it.
                    let (status, body) = match number % 2 {
                        0 => gateway.get("/v1/products/p1").await,
                        _ => gateway.post("/v1/orders", "{}").await,
                    };
                    assert_eq!(status, 200, "{body}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let goes_on = async |more: usize| {
        let before = done.load(Ordering::Relaxed);
        let failed = || clients.iter().any(tokio::task::JoinHandle::is_finished);
        until(async || done.load(Ordering::Relaxed) >= before + more || failed()).await;
    };
    for _ in 0..ROUNDS {
        for server in &mut servers {
            goes_on(100).await;
            server.restart().await;
            let before = server.calls();
            until(async || server.calls() > before || clients.iter().any(|client| client.is_finished()))
                .await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        soon(client).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_of_events_is_passed_on_and_ends_without_a_word_when_its_service_stops() {
    let mut server = Server::start().await;
    let gateway = Gateway::start(&[&server]).await;
    let headers = [("authorization", "Bearer mine"), ("accept", "text/event-stream")];
    let answer = gateway.send("GET", "/v1/orders/o1/events", &headers, "").await;
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let mut text = String::new();
    while !text.contains("data:") {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    server.restart().await;
    let rest = soon(body.collect()).await.unwrap().to_bytes();
    let rest = String::from_utf8(rest.to_vec()).unwrap();
    // Neither end nor error: the client connects again, and goes on where it was.
    assert!(!rest.contains("event:"), "{rest}");
    assert_eq!(gateway.get("/v1/products/p1").await.0, 200);
}

#[tokio::test]
async fn a_service_that_is_gone_is_503_with_retry_after_and_the_gateway_lives_on() {
    let server = Server::start().await;
    let gateway = Gateway::start(&[&server]).await;
    drop(server);
    let answer = gateway.send("GET", "/v1/products/p1", &[], "").await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (503, "application/problem+json")
    );
    assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(gateway.get("/healthz").await.0, 200);
    assert_eq!(gateway.get("/openapi.json").await.0, 200);
}
