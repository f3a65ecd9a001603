//! Quotas of clients: by class and by who they are, told in every answer, shared by gateways, and no reason to fail.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use api_gateway::Options;
use api_gateway::rate::{self, Limit};
use axum::extract::ConnectInfo;
use http::StatusCode;
use redis_link::Redis;
use serde_json::json;
use testkit::redis::Redis as Server;
use testkit::{SOON, eventually};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::support::{Answer, Call, Harness, Reply, request};

const JSON: (&str, &str) = ("content-type", "application/json");
const OPERATOR: &str = "Bearer the-operators";
const EXPIRED: &str = "Bearer expired";

/// So long that nothing comes back into a bucket while a test runs.
const HOUR: Duration = Duration::from_secs(3600);

fn quota(requests: u32) -> Limit {
    Limit::new(requests, HOUR).unwrap()
}

fn limits() -> rate::Options {
    let (reads, changes) = (quota(5), quota(4));
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    rate::Options {
        reads,
        changes,
        search: quota(3),
        orders: quota(2),
        trusted_proxies,
        ..Default::default()
    }
}

/// Services that know one operator.
fn script(call: &Call) -> Reply {
    let token = call.metadata.get("authorization").map(|value| value.to_str().unwrap());
    match (call.path.rsplit('/').next().unwrap(), token) {
        ("CreateThing", Some(OPERATOR)) => Reply::Message(json!({}), vec![]),
        ("CreateThing", _) => Reply::Status(Status::unauthenticated("who?")),
        ("GetThing", _) => Reply::Message(json!({"etag": "7"}), vec![]),
        _ => Reply::Echo,
    }
}

fn gateway(rate_limits: rate::Options) -> Harness {
    Harness::with(Options { rate_limits: Some(rate_limits), ..Options::default() }, script)
}

async fn ask(harness: &Harness, method: &str, path: &str, from: &str, headers: &[(&str, &str)]) -> Answer {
    let body = if method == "GET" { "" } else { "{}" };
    let headers: Vec<_> = headers.iter().copied().chain((method != "GET").then_some(JSON)).collect();
    let mut request = request(method, path, &headers, body);
    let peer: SocketAddr = format!("{from}:4711").parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    harness.ask(request).await
}

async fn get(harness: &Harness, from: &str) -> Answer {
    ask(harness, "GET", "/v1/echo", from, &[]).await
}

/// How many of so many requests are let through; all others must be refused as the quota's.
async fn passed(harness: &Harness, method: &str, path: &str, from: &str, requests: usize) -> usize {
    let mut passed = 0;
    for _ in 0..requests {
        let answer = ask(harness, method, path, from, &[]).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.problem(429)["reason"], "RATE_LIMITED");
        } else {
            assert_eq!(answer.status, 200);
            passed += 1;
        }
    }
    passed
}

#[tokio::test]
async fn every_class_of_routes_has_a_quota_of_its_own() {
    let harness = gateway(limits());
    for (method, path, quota) in [
        ("GET", "/v1/echo", 5),
        ("POST", "/v1/echo", 4),
        ("GET", "/v1/shops/a/files", 3),
        ("POST", "/v1/echo/loud:shout", 2),
    ] {
        assert_eq!(passed(&harness, method, path, "203.0.113.1", 10).await, quota, "{method} {path}");
    }
    assert_eq!(passed(&harness, "GET", "/v1/echo", "203.0.113.2", 10).await, 5, "another client has its own");
    assert_eq!(harness.backend.calls().len(), 5 + 4 + 3 + 2 + 5, "what is refused reaches no service");
    assert_eq!(
        ask(&harness, "GET", "/healthz", "203.0.113.1", &[]).await.status,
        200,
        "probes have no quota"
    );
    assert_eq!(ask(&harness, "GET", "/openapi.json", "203.0.113.1", &[]).await.status, 200);
}

#[tokio::test]
async fn every_answer_tells_the_quota_and_what_is_left_of_it() {
    let harness = gateway(limits());
    for left in ["4", "3", "2", "1", "0", "0"] {
        let answer = get(&harness, "203.0.113.1").await;
        assert_eq!(answer.header("ratelimit-policy"), "\"reads\";q=5;w=3600");
        let told = answer.header("ratelimit");
        assert!(told.starts_with(&format!("\"reads\";r={left};t=")), "{told}");
    }
    let refused = ask(&harness, "POST", "/v1/things", "203.0.113.1", &[]).await;
    refused.problem(401);
    assert_eq!(refused.header("ratelimit-policy"), "\"changes\";q=4;w=3600", "an error counts, too");
}

#[tokio::test]
async fn a_refused_client_is_let_through_after_the_time_that_it_was_told() {
    let harness =
        gateway(rate::Options { reads: Limit::new(2, Duration::from_secs(2)).unwrap(), ..limits() });
    let refused = eventually("a quota is used up", SOON, || async {
        let answer = get(&harness, "203.0.113.1").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    let problem = refused.problem(429);
    assert_eq!(
        (problem["reason"].as_str(), problem["domain"].as_str()),
        (Some("RATE_LIMITED"), Some("storeline"))
    );
    let wait = Duration::from_secs(refused.header("retry-after").parse().unwrap());
    assert!((1..=2).contains(&wait.as_secs()), "{wait:?}");
    let begun = Instant::now();
    eventually("the time has passed", SOON, || async { (begun.elapsed() >= wait).then_some(()) }).await;
    assert_eq!(get(&harness, "203.0.113.1").await.status, 200);
}

#[tokio::test]
async fn nothing_is_limited_or_told_unless_asked_for() {
    let harness = Harness::new(script);
    for _ in 0..100 {
        let answer = get(&harness, "203.0.113.1").await;
        assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (200, ""));
    }
}

#[tokio::test]
async fn a_credential_that_a_service_has_vouched_for_is_a_client_of_its_own_and_any_other_is_not() {
    let harness = gateway(limits());
    let create = |token: &'static str| {
        let harness = &harness;
        async move { ask(harness, "POST", "/v1/things", "203.0.113.1", &[("authorization", token)]).await.status }
    };
    let read = |token: &'static str| {
        let harness = &harness;
        async move { ask(harness, "GET", "/v1/things/a", "203.0.113.1", &[("authorization", token)]).await.status }
    };
    assert_eq!(create(OPERATOR).await, 200);
    assert_eq!(create(EXPIRED).await, 401);
    assert_eq!(passed(&harness, "GET", "/v1/echo", "203.0.113.1", 10).await, 5);
    for made_up in ["Bearer made-up", "Bearer made-up-again", EXPIRED] {
        assert_eq!(read(made_up).await, 429, "{made_up}");
    }
    for _ in 0..5 {
        assert_eq!(read(OPERATOR).await, 200);
    }
    assert_eq!(read(OPERATOR).await, 429, "an operator has a quota, too");
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_the_one_that_the_proxy_names() {
    let harness = gateway(limits());
    let through = |proxy: &'static str, client: &'static str| {
        let harness = &harness;
        async move { ask(harness, "GET", "/v1/echo", proxy, &[("x-forwarded-for", client)]).await.status }
    };
    for _ in 0..5 {
        assert_eq!(through("10.1.1.1", "203.0.113.1").await, 200);
    }
    assert_eq!(through("10.2.2.2", "203.0.113.1").await, 429);
    assert_eq!(through("10.1.1.1", "203.0.113.2").await, 200);
    assert_eq!(through("10.1.1.1", "203.0.113.2, 203.0.113.1").await, 429, "what a client writes itself");
    assert_eq!(through("203.0.113.1", "203.0.113.3").await, 429, "nobody else is believed");
}

#[tokio::test]
async fn the_document_says_when_a_client_is_refused() {
    let document = gateway(limits()).get("/openapi.json").await.json();
    let refused = &document["components"]["responses"]["429"];
    for header in ["Retry-After", "RateLimit", "RateLimit-Policy"] {
        assert!(refused["headers"][header]["description"].is_string(), "{header}");
    }
    let mut operations = 0;
    for path in document["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            assert_eq!(operation["responses"]["429"]["$ref"], "#/components/responses/429");
            operations += 1;
        }
    }
    assert!(operations > 10);
}

/// Gateways and the Redis that they share.
struct Shared {
    server: Server,
    links: Vec<Redis>,
    gateways: Vec<Harness>,
    stop: CancellationToken,
}

impl Shared {
    async fn of(gateways: usize, call_limit: Duration, limits: rate::Options) -> Self {
        let server = Server::start().await;
        let stop = CancellationToken::new();
        let link = |_| {
            let options = redis_link::Options { call_limit, ..redis_link::Options::new(server.url()) };
            Redis::start(options, stop.clone(), &TaskTracker::new()).unwrap()
        };
        let links: Vec<Redis> = (0..gateways).map(link).collect();
        let gateway = |link: &Redis| gateway(rate::Options { redis: Some(link.clone()), ..limits.clone() });
        let gateways = links.iter().map(gateway).collect();
        let shared = Self { server, links, gateways, stop };
        shared.available().await;
        shared
    }

    async fn available(&self) {
        for link in &self.links {
            tokio::time::timeout(SOON, link.until_available(true)).await.expect("Redis answers");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn gateways_take_from_one_bucket() {
    let shared = Shared::of(3, SOON, rate::Options { reads: quota(20), ..limits() }).await;
    let mut let_through = 0;
    for round in 0..60 {
        let answer = get(&shared.gateways[round % 3], "203.0.113.1").await;
        let_through += usize::from(answer.status == 200);
        if answer.status == 200 {
            let left = format!("\"reads\";r={};t=", 20 - let_through);
            assert!(answer.header("ratelimit").starts_with(&left), "{}", answer.header("ratelimit"));
        } else {
            // The whole quota comes back over an hour, so one request after three minutes.
            let wait: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=180).contains(&wait), "{wait}");
        }
    }
    assert_eq!(let_through, 20);
    assert_eq!(passed(&shared.gateways[0], "GET", "/v1/echo", "203.0.113.2", 25).await, 20);
}

#[tokio::test]
async fn many_requests_at_once_take_no_more_than_the_quota_from_all_gateways_together() {
    let shared = Shared::of(2, SOON, rate::Options { reads: quota(50), ..limits() }).await;
    let requests = (0..200).map(|round| get(&shared.gateways[round % 2], "203.0.113.1"));
    let answers = futures::future::join_all(requests).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 50);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 150);
}

#[tokio::test]
async fn limits_go_on_from_what_is_known_when_redis_is_killed_and_are_shared_again_when_it_is_back() {
    let mut shared = Shared::of(2, SOON, rate::Options { reads: quota(20), ..limits() }).await;
    assert_eq!(passed(&shared.gateways[0], "GET", "/v1/echo", "203.0.113.1", 12).await, 12);
    shared.server.kill();
    assert_eq!(passed(&shared.gateways[0], "GET", "/v1/echo", "203.0.113.1", 20).await, 8, "12 are known");
    assert_eq!(
        passed(&shared.gateways[1], "GET", "/v1/echo", "203.0.113.1", 30).await,
        20,
        "it knows of none"
    );
    shared.server.start_again().await;
    shared.available().await;
    for (gateway, client) in [(0, "203.0.113.7"), (1, "203.0.113.7"), (0, "203.0.113.7")] {
        get(&shared.gateways[gateway], client).await;
    }
    let left = get(&shared.gateways[1], "203.0.113.7").await;
    assert!(left.header("ratelimit").starts_with("\"reads\";r=16;"), "{}", left.header("ratelimit"));
}

#[tokio::test]
async fn a_redis_that_hangs_or_forgets_everything_changes_no_answer() {
    let limits = rate::Options { reads: quota(1000), ..limits() };
    let mut shared = Shared::of(2, Duration::from_millis(200), limits).await;
    shared.server.freeze();
    for gateway in &shared.gateways {
        // The first one waits for the limit of a call; nobody waits for Redis itself.
        assert_eq!(passed(gateway, "GET", "/v1/echo", "203.0.113.1", 50).await, 50);
    }
    assert!(shared.links.iter().all(|link| !link.is_available()));
    shared.server.thaw();
    shared.available().await;
    for round in 0..50 {
        if round % 10 == 0 {
            shared.server.flush();
        }
        assert_eq!(passed(&shared.gateways[round % 2], "GET", "/v1/echo", "203.0.113.1", 1).await, 1);
    }
}

#[tokio::test]
async fn a_client_that_is_refused_costs_redis_nothing_more() {
    let mut shared = Shared::of(1, SOON, limits()).await;
    assert_eq!(passed(&shared.gateways[0], "GET", "/v1/echo", "203.0.113.1", 6).await, 5);
    shared.server.freeze();
    // With this limit a request that asks a frozen Redis would not be answered in the time of the test.
    let flood = passed(&shared.gateways[0], "GET", "/v1/echo", "203.0.113.1", 1000);
    assert_eq!(tokio::time::timeout(SOON / 2, flood).await.expect("nobody is asked"), 0);
    shared.server.thaw();
}

#[test]
fn what_is_wrong_with_limits_is_told_before_anything_serves() {
    use service_runtime::config::ConfigReader;
    let mut reader = ConfigReader::from_map([
        ("STORELINE_RATE_LIMITS", "true"),
        ("STORELINE_RATE_READS", "fast"),
        ("STORELINE_RATE_ORDERS", "0/1m"),
        ("STORELINE_TRUSTED_PROXIES", "10.0.0.0/8, proxy.example"),
    ]);
    rate::Options::read(&mut reader, false);
    let wrong = reader.finish(()).unwrap_err();
    let names: Vec<_> = wrong.problems().iter().map(|problem| &*problem.name).collect();
    assert_eq!(names, ["STORELINE_RATE_READS", "STORELINE_RATE_ORDERS", "STORELINE_TRUSTED_PROXIES"]);

    let mut reader =
        ConfigReader::from_map([("STORELINE_RATE_SEARCH", "5/1h"), ("STORELINE_TRUSTED_PROXIES", "::1")]);
    assert!(rate::Options::read(&mut reader, false).is_none());
    let options = rate::Options::read(&mut reader, true).unwrap();
    assert_eq!((options.search, options.reads), (quota(5), rate::READS));
    assert_eq!(options.trusted_proxies, ["::1".parse().unwrap()]);
    reader.finish(()).unwrap();
}
