//! Request headers that become fields or metadata, and fields and metadata that become response headers.

use serde_json::{Value, json};

use crate::support::{Answer, Harness, Reply, request};

const JSON: (&str, &str) = ("content-type", "application/json");

fn things() -> Harness {
    Harness::new(|call| match call.path.rsplit('/').next() {
        Some("GetThing") => {
            Reply::Message(json!({"id": call.request["id"], "etag": "7"}), vec![("x-position", "log:1:42")])
        }
        _ => Reply::Message(json!({"thing": {"id": "a", "etag": "8"}}), vec![("x-position", "log:1:43")]),
    })
}

async fn sent(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let harness = things();
    let answer = harness.ask(request(method, path, headers, body)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    harness.backend.calls().remove(0).request
}

async fn answer(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    things().ask(request(method, path, headers, body)).await
}

/// Whether it is the field, a point and 16 hexadecimal digits.
fn is_tag_of_read(tag: &str, field: &str) -> bool {
    let hash = tag.strip_prefix(&format!("\"{field}.")).and_then(|rest| rest.strip_suffix('"'));
    hash.is_some_and(|hash| hash.len() == 16 && u64::from_str_radix(hash, 16).is_ok())
}

#[tokio::test]
async fn the_idempotency_key_is_the_request_id() {
    for key in ["key-1", "\"key-1\""] {
        assert_eq!(
            sent("POST", "/v1/things", &[JSON, ("idempotency-key", key)], "{}").await["requestId"],
            "key-1"
        );
        assert_eq!(
            sent("DELETE", "/v1/things/a", &[("idempotency-key", key)], "").await["requestId"],
            "key-1"
        );
        let body = r#"{"requestId": "key-1"}"#;
        assert_eq!(
            sent("POST", "/v1/things", &[JSON, ("idempotency-key", key)], body).await["requestId"],
            "key-1"
        );
    }
}

#[tokio::test]
async fn another_request_id_beside_the_idempotency_key_is_refused() {
    let headers = [JSON, ("idempotency-key", "key-1")];
    let refused = answer("POST", "/v1/things", &headers, r#"{"requestId": "key-2"}"#).await;
    assert_eq!(refused.violations(), ["request_id"]);
}

#[tokio::test]
async fn an_idempotency_key_has_at_most_255_characters_and_is_given_once() {
    let longest = "k".repeat(api_gateway::MAX_IDEMPOTENCY_KEY);
    assert_eq!(
        sent("POST", "/v1/things", &[JSON, ("idempotency-key", &longest)], "{}").await["requestId"],
        longest
    );
    for key in [format!("{longest}k"), "\"open".to_owned(), "\"\"".to_owned()] {
        let refused = answer("POST", "/v1/things", &[JSON, ("idempotency-key", &key)], "{}").await;
        assert_eq!(refused.violations(), ["idempotency-key"]);
    }
    let mut twice = request("POST", "/v1/things", &[JSON, ("idempotency-key", "a")], "{}");
    twice.headers_mut().append("idempotency-key", "b".parse().unwrap());
    assert_eq!(things().ask(twice).await.violations(), ["idempotency-key"]);
}

#[tokio::test]
async fn a_replayed_answer_says_so() {
    for (metadata, header) in [(vec![("idempotency-replayed", "true")], "true"), (vec![], "")] {
        let harness = Harness::new(move |_| Reply::Message(json!({}), metadata.clone()));
        let answer = harness.ask(request("DELETE", "/v1/things/a", &[("idempotency-key", "k")], "")).await;
        assert_eq!(answer.header("idempotency-replayed"), header);
    }
}

#[tokio::test]
async fn a_replayed_refusal_says_so() {
    for (replayed, header) in [(true, "true"), (false, "")] {
        let harness = Harness::new(move |_| {
            let mut status = tonic::Status::failed_precondition("the thing is closed");
            if replayed {
                status.metadata_mut().insert("idempotency-replayed", "true".parse().unwrap());
            }
            Reply::Status(status)
        });
        let answer = harness.ask(request("DELETE", "/v1/things/a", &[("idempotency-key", "k")], "")).await;
        answer.problem(422);
        assert_eq!(answer.header("idempotency-replayed"), header);
    }
}

#[tokio::test]
async fn the_etag_of_an_answer_is_a_header_at_the_top_or_in_its_only_resource() {
    let read = answer("GET", "/v1/things/a", &[], "").await;
    assert!(is_tag_of_read(read.header("etag"), "7"), "{read:?}");
    assert_eq!(read.header("cache-control"), "private, no-cache");
    let changed = answer("POST", "/v1/things", &[JSON], "{}").await;
    assert_eq!(changed.header("etag"), "\"8\"");
    assert_eq!(changed.header("cache-control"), "no-store");
    let quoted = Harness::new(|_| Reply::Message(json!({"etag": "\"7\""}), vec![])).get("/v1/things/a").await;
    assert!(is_tag_of_read(quoted.header("etag"), "7"), "the field may have the quotes already: {quoted:?}");
    let unset = Harness::new(|_| Reply::Message(json!({}), vec![])).get("/v1/things/a").await;
    assert!(!unset.headers.contains_key("etag"));
}

#[tokio::test]
async fn if_match_is_the_etag_of_the_request_or_of_the_resource_in_it() {
    let read = answer("GET", "/v1/things/a", &[], "").await;
    let several = format!("W/\"8\", \"7\", {}", read.header("etag"));
    for tag in ["\"7\"", "7", read.header("etag"), read.header("etag").trim_matches('"'), &several] {
        assert_eq!(sent("DELETE", "/v1/things/a", &[("if-match", tag)], "").await["etag"], "7");
        let sent =
            sent("PATCH", "/v1/things/a?updateMask=value", &[JSON, ("if-match", tag)], r#"{"value": "v"}"#)
                .await;
        assert_eq!(sent["thing"], json!({"id": "a", "etag": "7", "value": "v"}));
        assert_eq!(sent["updateMask"], "value");
    }
    let body = r#"{"etag": "\"7\""}"#;
    let same = sent("PATCH", "/v1/things/a", &[JSON, ("if-match", "\"7\"")], body).await;
    assert_eq!(same["thing"]["etag"], "7", "quotes make no difference");
    assert!(sent("DELETE", "/v1/things/a", &[("if-match", "*")], "").await.get("etag").is_none());
}

#[tokio::test]
async fn an_if_match_that_cannot_be_checked_is_refused() {
    let weak = answer("DELETE", "/v1/things/a", &[("if-match", "W/\"7\"")], "").await.problem(412);
    assert_eq!(weak["reason"], "ETAG_MISMATCH");
    for tag in
        ["\"6\", \"7\"", "\"\"", "\".0123456789abcdef\"", "*, \"7\"", "\"7", "7, 8", ",", "\"6\" \"7\""]
    {
        let refused = answer("DELETE", "/v1/things/a", &[("if-match", tag)], "").await;
        assert_eq!(refused.violations(), ["if-match"], "{tag}");
    }
    let twice = answer("DELETE", "/v1/things/a?etag=6", &[("if-match", "\"7\"")], "").await;
    assert_eq!(twice.violations(), ["etag"]);
    let nothing_to_compare = answer("POST", "/v1/things", &[JSON, ("if-match", "\"7\"")], "{}").await;
    assert_eq!(nothing_to_compare.violations(), ["if-match"]);
}

#[tokio::test]
async fn a_read_with_the_etag_that_it_has_is_not_modified() {
    let first = answer("GET", "/v1/things/a", &[], "").await;
    let etag = first.header("etag");
    for tags in [etag, &format!("W/{etag}"), &format!("\"1\", ,W/{etag}"), "*"] {
        let answer = answer("GET", "/v1/things/a", &[("if-none-match", tags)], "").await;
        assert_eq!(answer.status, 304, "{tags}");
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.header("x-position"), "log:1:42");
    }
    for tags in ["\"8\"", "\"7\"", "\"a,*,b\"", "*, \"8\"", "7"] {
        let answer = answer("GET", "/v1/things/a", &[("if-none-match", tags)], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, etag), "{tags}");
    }
}

#[tokio::test]
async fn a_read_whose_content_changed_is_answered_though_its_etag_field_did_not_move() {
    let read = |value: &'static str, tags: String| async move {
        let harness = Harness::new(move |_| Reply::Message(json!({"etag": "7", "value": value}), vec![]));
        harness.ask(request("GET", "/v1/things/a", &[("if-none-match", &tags)], "")).await
    };
    let before = read("sold out", "\"none\"".to_owned()).await.header("etag").to_owned();
    let after = read("in stock", before.clone()).await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header("etag"), before);
    assert!(is_tag_of_read(after.header("etag"), "7") && is_tag_of_read(&before, "7"));
    assert_eq!(read("sold out", before).await.status, 304);
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let answer = answer("HEAD", "/v1/things/a", &[], "").await;
    let read = things().get("/v1/things/a").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("etag"), answer.body.len()),
        (200, read.header("etag"), 0)
    );
}

#[tokio::test]
async fn positions_travel_as_headers() {
    assert_eq!(answer("POST", "/v1/things", &[JSON], "{}").await.header("x-position"), "log:1:43");
    let in_body = Harness::new(|_| Reply::Message(json!({"position": "log:1:9"}), vec![]));
    assert_eq!(in_body.ask(request("DELETE", "/v1/things/a", &[], "")).await.header("x-position"), "log:1:9");
    let min = ("x-min-position", "log:1:43, other:1:7");
    assert_eq!(
        sent("GET", "/v1/things/a", &[("x-min-position", "log:1:43")], "").await["minPosition"],
        "log:1:43"
    );
    assert_eq!(
        sent("POST", "/v1/things", &[JSON, min], "{}").await["minPosition"],
        json!(["log:1:43", "other:1:7"])
    );
    let many = vec!["p"; api_gateway::MAX_MIN_POSITIONS + 1].join(",");
    let refused = answer("POST", "/v1/things", &[JSON, ("x-min-position", &many)], "{}").await;
    assert_eq!(refused.violations(), ["x-min-position"]);
}

#[tokio::test]
async fn credential_trace_request_id_and_deadline_go_on_to_the_service_and_nothing_else() {
    let harness = things();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("authorization", "Bearer secret"),
        ("traceparent", trace),
        ("tracestate", "a=b"),
        ("x-request-id", "r-1"),
        ("cookie", "c=1"),
        ("x-internal-role", "operator"),
        ("grpc-timeout", "1H"),
    ];
    harness.ask(request("GET", "/v1/things/a", &headers, "")).await;
    let metadata = harness.backend.calls().remove(0).metadata;
    for (name, value) in &headers[..4] {
        assert_eq!(metadata[*name], value, "{name}");
    }
    assert!(!metadata.contains_key("cookie") && !metadata.contains_key("x-internal-role"), "{metadata:?}");
    let timeout = metadata["grpc-timeout"].to_str().unwrap();
    assert!(timeout != "1H" && timeout.starts_with("29"), "{timeout}");
}

#[tokio::test]
async fn a_request_without_a_trace_begins_one() {
    let harness = things();
    let answer = harness.get("/v1/things/a").await;
    let metadata = harness.backend.calls().remove(0).metadata;
    let trace: Vec<&str> = metadata["traceparent"].to_str().unwrap().split('-').collect();
    assert_eq!(trace.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
    assert_eq!(metadata["x-request-id"], answer.header("x-request-id"));
}
