//! What has an end: time, waiting, and patience with a service that is down.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use service_runtime::status::{RETRY_AFTER, reason, reason_of};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Server, asked, call, client, follow, options, read, soon, until};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn the_time_that_is_left_goes_along_and_ends_the_call() {
    let server = Server::start("a").await;
    let client = client(&[&server], options());
    let within = |what: &str, limit: Duration| {
        let mut request = asked(what, "");
        request.set_timeout(limit);
        request
    };
    let left: u128 =
        call(&client, "Read", within("time left", Duration::from_secs(20))).await.unwrap().parse().unwrap();
    assert!(left > 0 && left <= 20_000, "{left}");
    let left: u128 = read(&client, "time left").await.unwrap().parse().unwrap();
    assert!(left > 0 && left <= options().call_timeout.as_millis(), "{left}");
    let late = call(&client, "Read", within("wait", Duration::from_millis(100))).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(server.calls() <= 3, "what took too long is not begun again");
}

#[tokio::test]
async fn trace_and_correlation_go_along() {
    let server = Server::start("a").await;
    let client = client(&[&server], options());
    let with = |what: &str| {
        let mut request = asked(what, "");
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        request.metadata_mut().insert("x-request-id", "request-9".parse().unwrap());
        request
    };
    assert_eq!(call(&client, "Read", with("trace")).await.unwrap(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(call(&client, "Read", with("correlation")).await.unwrap(), "request-9");
}

fn retry_after(status: &Status) -> Duration {
    status.get_details_retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default()
}

#[tokio::test]
async fn the_circuit_opens_when_nobody_answers_and_closes_when_somebody_does() {
    let mut server = Server::start("a").await;
    let mut options = options();
    options.max_wait = Duration::from_millis(20);
    options.circuit_failures = 3;
    options.circuit_open = (HOUR, HOUR);
    // So long that only the circuit can tell that the server is back.
    let client = client(&[&server], options);
    until(async || read(&client, "").await.is_ok()).await;
    server.kill();
    let mut last = None;
    until(async || {
        let status = call(&client, "Change", asked("", "")).await.unwrap_err();
        assert_eq!(
            (status.code(), reason_of(&status).as_str()),
            (Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE)
        );
        last = Some(retry_after(&status));
        last > Some(HOUR / 2)
    })
    .await;
    server.restart().await;
    until(async || read(&client, "").await.is_ok()).await;
    for _ in 0..10 {
        read(&client, "").await.unwrap();
    }
}

#[tokio::test]
async fn a_service_that_answers_what_it_cannot_do_does_not_open_the_circuit() {
    let server = Server::start("a").await;
    let mut options = options();
    options.circuit_failures = 3;
    options.circuit_open = (HOUR, HOUR);
    let client = client(&[&server], options);
    for _ in 0..20 {
        read(&client, "down").await.unwrap_err();
    }
    assert_eq!(read(&client, "").await.unwrap(), "a");
}

#[tokio::test]
async fn a_call_waits_for_its_turn_in_a_bounded_queue() {
    let server = Server::start("a").await;
    let mut options = options();
    (options.max_calls, options.max_waiting) = (1, 1);
    let client = client(&[&server], options);
    let begin = |what: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { read(&client, what).await })
    };
    let first = begin("wait");
    server.one_waits().await;
    // One of these two finds a place in the queue.
    let mut others = FuturesUnordered::from_iter([begin("wait"), begin("wait")]);
    let refused = soon(others.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::Unavailable, reason::OVERLOADED));
    assert_eq!(retry_after(&refused), RETRY_AFTER);
    assert_eq!(server.calls(), 1);
    server.handlers.go_on.add_permits(2);
    soon(first).await.unwrap().unwrap();
    soon(others.next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_open_stream_counts_until_its_reader_leaves() {
    let server = Server::start("a").await;
    let mut options = options();
    (options.max_streams, options.max_waiting) = (1, 1);
    options.max_wait = Duration::from_millis(50);
    let client = client(&[&server], options);
    until(async || read(&client, "").await.is_ok()).await;
    let mut open = follow(&client, "").await.unwrap();
    assert_eq!(soon(open.message()).await.unwrap().unwrap().text, "a");
    let refused = follow(&client, "").await.unwrap_err();
    assert_eq!(reason_of(&refused), reason::OVERLOADED);
    read(&client, "").await.unwrap();
    drop(open);
    until(async || follow(&client, "").await.is_ok()).await;
}

#[tokio::test]
async fn a_method_that_the_protos_do_not_have_is_not_sent() {
    let server = Server::start("a").await;
    let client = client(&[&server], options());
    assert_eq!(call(&client, "Nothing", asked("", "")).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(server.calls(), 0);
}
