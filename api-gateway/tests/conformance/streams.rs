//! Server streams as server-sent events.

use std::time::Duration;

use api_gateway::Options;
use futures::StreamExt;
use futures::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tonic::Status;

use crate::support::{Harness, Reply, request};

fn two() -> Vec<Value> {
    vec![json!({"cursor": "1", "created": {"id": "a"}}), json!({"cursor": "2", "wasRemoved": {"id": "a"}})]
}

fn streaming(messages: Vec<Value>, status: Status) -> Harness {
    Harness::new(move |_| Reply::Stream(stream::iter(messages.clone()).boxed(), status.clone()))
}

/// A stream that says one thing and then stays silent.
fn silent(options: Options) -> Harness {
    Harness::with(options, |_| {
        Reply::Stream(stream::iter(two()).take(1).chain(stream::pending()).boxed(), Status::ok(""))
    })
}

/// The events of a body, as (event, id, data).
fn events(body: &[u8]) -> Vec<(String, String, Value)> {
    let text = std::str::from_utf8(body).unwrap();
    let field = |block: &str, name: &str| -> String {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("data: "));
    blocks
        .map(|block| {
            (field(block, "event"), field(block, "id"), serde_json::from_str(&field(block, "data")).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn each_message_is_an_event_and_a_complete_stream_says_that_it_ended() {
    let answer = streaming(two(), Status::ok("")).get("/v1/things/a:watch").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let events = events(&answer.body);
    assert_eq!(events[0].0, "created");
    assert_eq!(events[0].1, "1");
    assert_eq!(events[0].2["created"]["id"], "a");
    assert_eq!((events[1].0.as_str(), events[1].1.as_str()), ("wasRemoved", "2"));
    assert_eq!(events[2], ("end".to_owned(), String::new(), json!({})));
    assert!(answer.body.starts_with(b": open\nretry: 1000\n\n"), "{:?}", answer.body);
}

#[tokio::test]
async fn a_message_without_a_set_member_is_an_event_named_message() {
    let answer = streaming(vec![json!({})], Status::ok("")).get("/v1/things/a:watch").await;
    assert_eq!((events(&answer.body)[0].0.as_str(), events(&answer.body)[0].1.as_str()), ("message", ""));
}

#[tokio::test]
async fn the_last_event_id_wins_over_the_query_that_a_browser_repeats() {
    for (path, headers, after) in [
        ("/v1/things/a:watch?after=1", vec![("last-event-id", "5")], "5"),
        ("/v1/things/a:watch?after=1", vec![], "1"),
        ("/v1/things/a:watch", vec![("last-event-id", "5")], "5"),
    ] {
        let harness = streaming(vec![], Status::ok(""));
        harness.ask(request("GET", path, &headers, "")).await;
        assert_eq!(harness.backend.calls()[0].request, json!({"id": "a", "after": after}));
    }
}

#[tokio::test]
async fn an_error_before_the_first_message_is_a_plain_problem() {
    let harness = Harness::new(|_| Reply::Status(Status::not_found("no such thing")));
    harness.get("/v1/things/a:watch").await.problem(404);
}

#[tokio::test]
async fn an_error_in_the_middle_is_an_event_with_the_problem() {
    let harness = streaming(two(), Status::unavailable("gone for a moment"));
    let asked = request("GET", "/v1/things/a:watch", &[("x-request-id", "r-1")], "");
    let events = events(&harness.ask(asked).await.body);
    assert_eq!(events.len(), 3);
    assert_eq!(events[2].0, "error");
    assert_eq!(events[2].2["status"], 503);
    assert_eq!(events[2].2["instance"], "urn:request:r-1");
}

#[tokio::test]
async fn an_internal_error_in_the_middle_shows_nothing_of_itself() {
    let answer = streaming(two(), Status::internal("table secret_orders")).get("/v1/things/a:watch").await;
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    assert_eq!(events(&answer.body)[2].2["status"], 500);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive_with_comments_beyond_the_request_timeout() {
    let options = Options {
        request_timeout: Duration::from_secs(2),
        sse_keep_alive: Duration::from_secs(15),
        ..Options::default()
    };
    let harness = silent(options);
    let mut body = harness.send(request("GET", "/v1/things/a:watch", &[], "")).await.into_body();
    let mut seen = String::new();
    while seen.matches(": keep-alive\n\n").count() < 3 {
        let frame = body.frame().await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert!(seen.contains("event: created"), "{seen}");
}

#[tokio::test]
async fn a_stream_ends_at_shutdown_without_saying_that_it_is_complete() {
    let harness = silent(Options::default());
    let mut body = harness.send(request("GET", "/v1/things/a:watch", &[], "")).await.into_body();
    let mut seen = String::new();
    while let Some(frame) = body.frame().await {
        seen.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        if seen.contains("event: created") {
            harness.lifecycle.shutdown.cancel();
        }
    }
    assert!(!seen.contains("event: end"), "{seen}");
}

#[tokio::test]
async fn streams_have_a_limit_of_their_own() {
    let options = Options { max_streams: 1, max_in_flight: 1, ..Options::default() };
    let harness = silent(options);
    let open = harness.send(request("GET", "/v1/things/a:watch", &[], "")).await;
    assert_eq!(open.status(), 200);
    let refused = harness.get("/v1/things/b:watch").await;
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    drop(open);
    assert_eq!(harness.send(request("GET", "/v1/things/b:watch", &[], "")).await.status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_take_events_is_told() {
    let watch = |accept| request("GET", "/v1/things/a:watch", &[("accept", accept)], "");
    streaming(two(), Status::ok("")).ask(watch("application/json")).await.problem(406);
    for accept in ["text/event-stream", "*/*", "application/json, text/event-stream;q=0.5"] {
        assert_eq!(streaming(two(), Status::ok("")).ask(watch(accept)).await.status, 200, "{accept}");
    }
}

#[tokio::test]
async fn a_stream_whose_service_stops_ends_without_a_word_so_that_the_client_connects_again() {
    let stopping = service_runtime::status::unavailable(
        service_runtime::status::reason::STOPPING,
        "the server is stopping",
        Duration::from_secs(1),
    );
    let answer = streaming(two(), stopping).get("/v1/things/a:watch").await;
    let names: Vec<_> = events(&answer.body).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["created", "wasRemoved"]);
}
