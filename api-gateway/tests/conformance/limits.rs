//! Sizes, times and numbers that have an end, and what stands around every answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_gateway::{Lifecycle, Options};
use axum::body::Body;
use futures::StreamExt;
use futures::stream;
use http::Request;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::json;

use crate::support::{DESCRIPTORS, Harness, Reply, TestBackend, build, echo, request};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
    let options = || Options { body_limit: 100, ..Options::default() };
    let body = |length: usize| format!("{{\"text\":\"{}\"}}", "x".repeat(length - 11));
    let harness = Harness::with(options(), |_| Reply::Echo);
    assert_eq!(harness.post("/v1/echo", &body(100)).await.status, 200);
    harness.post("/v1/echo", &body(101)).await.problem(413);
    let chunks = stream::iter(["x".repeat(60), "x".repeat(60)]).map(Ok::<_, std::io::Error>);
    let endless = Request::post("/v1/echo").header(JSON.0, JSON.1).body(Body::from_stream(chunks)).unwrap();
    harness.ask(endless).await.problem(413);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_in_time_is_504() {
    let options = Options { request_timeout: Duration::from_secs(2), ..Options::default() };
    let harness = Harness::with(options, |_| Reply::Never);
    harness.get("/v1/things/a").await.problem(504);
    assert_eq!(harness.backend.calls()[0].metadata["grpc-timeout"], "2000000u");
    harness.get("/v1/things/a:watch").await.problem(504);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_408() {
    let stalled = stream::iter([Ok::<_, std::io::Error>("{")]).chain(stream::pending());
    let request = Request::post("/v1/echo").header(JSON.0, JSON.1).body(Body::from_stream(stalled)).unwrap();
    echo().ask(request).await.problem(408);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let broken = stream::iter([Ok("{"), Err(std::io::Error::other("gone"))]);
    let request = Request::post("/v1/echo").header(JSON.0, JSON.1).body(Body::from_stream(broken)).unwrap();
    echo().ask(request).await.problem(400);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_until_one_has_ended() {
    let options = Options { max_in_flight: 1, ..Options::default() };
    let harness = Harness::with(options, |call| {
        if call.request["id"] == "slow" { Reply::Never } else { Reply::Message(json!({}), vec![]) }
    });
    let router = harness.router.clone();
    let slow = tokio::spawn(tower::ServiceExt::oneshot(router, request("GET", "/v1/things/slow", &[], "")));
    harness.backend.called(1).await;
    let refused = harness.get("/v1/things/a").await;
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(harness.get("/healthz").await.status, 200, "probes have no limit");
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    assert_eq!(harness.get("/v1/things/a").await.status, 200);
}

#[tokio::test]
async fn a_request_beyond_the_limit_waits_for_its_turn_in_a_bounded_queue() {
    let options = Options {
        max_in_flight: 1,
        max_queued: 1,
        queue_timeout: Duration::from_secs(120),
        ..Options::default()
    };
    let go_on = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&go_on);
    let harness = Harness::with(options, move |_| {
        let gate = Arc::clone(&gate);
        let one = stream::once(async move {
            gate.acquire().await.unwrap().forget();
            json!({"etag": "7"})
        });
        Reply::Stream(one.boxed(), tonic::Status::ok(""))
    });
    let begin = || {
        let router = harness.router.clone();
        tokio::spawn(tower::ServiceExt::oneshot(router, request("GET", "/v1/things/a", &[], "")))
    };
    let first = begin();
    harness.backend.called(1).await;
    // One of these two finds a place in the queue, the other is refused at once.
    let mut others = stream::FuturesUnordered::from_iter([begin(), begin()]);
    assert_eq!(others.next().await.unwrap().unwrap().unwrap().status(), 503);
    go_on.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(others.next().await.unwrap().unwrap().unwrap().status(), 200);
    assert_eq!(harness.backend.calls().len(), 2);
}

#[tokio::test]
async fn bodies_that_do_not_fit_beside_those_that_are_held_are_refused() {
    const BODY: usize = 8 * 1024;
    let options = Options { body_limit: BODY, max_body_bytes: BODY, ..Options::default() };
    let harness = Harness::with(options, |call| {
        if call.request["text"].as_str().unwrap_or_default().len() > 1000 {
            Reply::Never
        } else {
            Reply::Echo
        }
    });
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(BODY - 11));
    let router = harness.router.clone();
    let slow = tokio::spawn(tower::ServiceExt::oneshot(router, request("POST", "/v1/echo", &[JSON], &large)));
    harness.backend.called(1).await;
    let refused = harness.post("/v1/echo", &large).await;
    refused.problem(503);
    assert_eq!((refused.header("retry-after"), refused.header("connection")), ("1", "close"));
    assert_eq!(harness.get("/v1/echo?text=a").await.status, 200, "what has no body needs no room");
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    assert_eq!(harness.post("/v1/echo", r#"{"text": "a"}"#).await.status, 200);
}

#[tokio::test]
async fn long_answers_are_compressed_when_the_client_takes_it_and_those_with_an_etag_never() {
    let text = "x".repeat(5000);
    let reply = text.clone();
    let harness = Harness::new(move |call| match call.path.ends_with("GetThing") {
        true => Reply::Message(json!({"etag": "7", "value": reply}), vec![]),
        false => Reply::Echo,
    });
    let zipped = harness
        .ask(request("GET", &format!("/v1/echo?text={text}"), &[("accept-encoding", "gzip")], ""))
        .await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert!(zipped.body.len() < 1000);
    let plain = harness.ask(request("GET", "/v1/things/a", &[("accept-encoding", "gzip")], "")).await;
    assert_eq!((plain.header("content-encoding"), plain.headers.contains_key("etag")), ("", true));
    let short = harness.ask(request("GET", "/v1/nested/a/1", &[("accept-encoding", "gzip")], "")).await;
    assert_eq!(short.header("content-encoding"), "");
}

#[tokio::test]
async fn every_answer_has_its_security_headers() {
    for path in ["/v1/echo", "/v1/nowhere", "/healthz", "/openapi.json"] {
        let answer = echo().get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
    }
}

#[tokio::test]
async fn only_configured_origins_may_call_from_a_page() {
    let preflight = |origin| {
        request("OPTIONS", "/v1/echo", &[("origin", origin), ("access-control-request-method", "POST")], "")
    };
    let closed = echo().ask(preflight("https://shop.example")).await;
    assert_eq!(closed.header("access-control-allow-origin"), "");
    let options = Options { cors_origins: vec!["https://shop.example".to_owned()], ..Options::default() };
    let open = Harness::with(options, |_| Reply::Echo);
    let allowed = open.ask(preflight("https://shop.example")).await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://shop.example");
    assert!(allowed.header("access-control-allow-headers").contains("idempotency-key"));
    assert_eq!(open.ask(preflight("https://other.example")).await.header("access-control-allow-origin"), "");
    let answer = open.ask(request("GET", "/v1/echo", &[("origin", "https://shop.example")], "")).await;
    assert!(answer.header("access-control-expose-headers").contains("x-position"));
}

/// Remembers the names and labels of what was recorded.
#[derive(Default, Clone)]
struct Recorded(Arc<Mutex<Vec<Key>>>);

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0.lock().unwrap().push(key.clone());
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.lock().unwrap().push(key.clone());
        Histogram::noop()
    }
}

#[tokio::test]
async fn metrics_are_by_template_and_clients_cannot_make_up_labels() {
    let recorded = Recorded::default();
    let guard = metrics::set_default_local_recorder(&recorded);
    let harness = echo();
    for (method, path) in
        [("GET", "/v1/nested/secret/1"), ("GET", "/made/up"), ("BREW", "/v1/echo"), ("GET", "/healthz")]
    {
        harness.ask(request(method, path, &[], "")).await;
    }
    drop(guard);
    let keys = recorded.0.lock().unwrap();
    let labels = |name: &str| -> Vec<String> {
        let own = keys.iter().filter(|key| key.name() == name);
        own.map(|key| key.labels().map(|label| label.value().to_owned()).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let expected = [
        "/v1/nested/{inner.name}/{inner.deeper.number} GET 200",
        "none GET 404",
        "none other 405",
        "/healthz GET 200",
    ];
    assert_eq!(labels("http_server_handled_total"), expected);
    assert_eq!(labels("http_server_handling_seconds"), expected);
}

#[tokio::test]
async fn the_same_request_is_answered_in_process_and_over_http_2() {
    let backend = TestBackend::new(|_| Reply::Echo);
    let inner = backend.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            let answer = inner.answer(request.map(tonic::body::Body::new)).await.unwrap();
            Ok::<_, std::convert::Infallible>(answer.map(Body::new))
        }
    });
    let routes = tonic::service::Routes::from(axum::Router::new().fallback_service(service));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_routes(routes.clone()).serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    for remote in [api_gateway::Backend::new(routes), api_gateway::Backend::new(channel)] {
        let services = ["conformance.v1.Echo", "conformance.v1.Things"];
        let backends = services.map(|name| (name.to_owned(), remote.clone())).to_vec();
        let router =
            api_gateway::Gateway::build(Options::default(), &DESCRIPTORS, backends, Lifecycle::default())
                .unwrap();
        let harness = Harness { router, backend: backend.clone(), lifecycle: Lifecycle::default() };
        assert_eq!(harness.post("/v1/echo", r#"{"int64": "5"}"#).await.json()["int64"], "5");
    }
    assert_eq!(backend.calls().len(), 2);
    server.abort();
    assert!(build(Options::default(), &DESCRIPTORS, &backend, Lifecycle::default()).is_ok());
}
