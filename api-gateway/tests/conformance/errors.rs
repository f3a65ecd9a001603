//! Statuses of services and refusals of the gateway as problem documents.

use std::time::Duration;

use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::support::{Answer, Harness, Reply, echo, request};

async fn failing(code: Code, message: &'static str, details: ErrorDetails) -> Answer {
    let harness =
        Harness::new(move |_| Reply::Status(Status::with_error_details(code, message, details.clone())));
    harness.get("/v1/things/7").await
}

fn because(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, "things.test", [("limit".to_owned(), "5".to_owned())])
}

#[tokio::test]
async fn every_code_has_its_http_status() {
    for (code, status) in [
        (Code::Cancelled, 499),
        (Code::Unknown, 500),
        (Code::InvalidArgument, 400),
        (Code::DeadlineExceeded, 504),
        (Code::NotFound, 404),
        (Code::AlreadyExists, 409),
        (Code::PermissionDenied, 403),
        (Code::ResourceExhausted, 429),
        (Code::FailedPrecondition, 422),
        (Code::Aborted, 409),
        (Code::OutOfRange, 400),
        (Code::Unimplemented, 501),
        (Code::Internal, 500),
        (Code::Unavailable, 503),
        (Code::DataLoss, 500),
        (Code::Unauthenticated, 401),
    ] {
        let problem = failing(code, "said so", ErrorDetails::new()).await.problem(status);
        assert_eq!(problem["type"], "about:blank", "{code:?}");
        assert_eq!(problem["detail"] == "said so", status != 500, "{problem}");
    }
}

#[tokio::test]
async fn a_reason_changes_the_status_where_rfcs_ask_for_it() {
    for (code, reason, status) in [
        (Code::Aborted, "ETAG_MISMATCH", 412),
        (Code::Aborted, "LOST_RACE", 409),
        (Code::InvalidArgument, "REQUEST_ID_REUSED", 422),
        (Code::FailedPrecondition, "REQUEST_ID_REUSED", 422),
        (Code::FailedPrecondition, "ETAG_MISMATCH", 422),
    ] {
        failing(code, "no", because(reason)).await.problem(status);
    }
}

#[tokio::test]
async fn the_details_of_a_status_become_members() {
    let mut details = because("PRICE_CHANGED");
    details.add_bad_request_violation("lines[0].quantity", "must be positive");
    details.add_precondition_failure_violation("STOCK", "sku-1", "is sold out");
    let problem = failing(Code::FailedPrecondition, "the price is another now", details).await.problem(422);
    let expected = json!({
        "type": "urn:problem-type:things.test:price-changed", "title": "Price changed", "status": 422,
        "detail": "the price is another now", "reason": "PRICE_CHANGED", "domain": "things.test",
        "metadata": {"limit": "5"},
        "violations": [
            {"field": "lines[0].quantity", "description": "must be positive"},
            {"field": "sku-1", "description": "is sold out"},
        ],
        "instance": problem["instance"],
    });
    assert_eq!(problem, expected);
}

#[tokio::test]
async fn an_internal_error_shows_nothing_of_itself() {
    for code in [Code::Internal, Code::Unknown, Code::DataLoss] {
        let mut details = because("SECRET_REASON");
        details.add_bad_request_violation("secret", "secret");
        let answer = failing(code, "table secret_orders is gone", details).await;
        answer.problem(500);
        let text = String::from_utf8_lossy(&answer.body).to_lowercase();
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_backend_that_cannot_be_called_is_an_error_that_names_no_address() {
    let answer = Harness::new(|_| Reply::Refuse).get("/v1/things/7").await;
    answer.problem(500);
    assert!(!String::from_utf8_lossy(&answer.body).contains("10.1.2.3"), "{:?}", answer.body);
}

#[tokio::test]
async fn retry_after_is_the_delay_that_the_service_names_or_one_second() {
    let later = |seconds| ErrorDetails::with_retry_info(Some(Duration::from_millis(seconds)));
    for code in [Code::ResourceExhausted, Code::Unavailable] {
        assert_eq!(failing(code, "", later(2500)).await.header("retry-after"), "3");
        assert_eq!(failing(code, "", ErrorDetails::new()).await.header("retry-after"), "1");
    }
    assert_eq!(failing(Code::NotFound, "", ErrorDetails::new()).await.header("retry-after"), "");
}

#[tokio::test]
async fn an_unauthenticated_caller_is_told_the_scheme() {
    let answer = failing(Code::Unauthenticated, "no token", ErrorDetails::new()).await;
    assert_eq!(answer.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn a_problem_names_its_request() {
    let asked = request("GET", "/v1/nowhere", &[("x-request-id", "req-7")], "");
    let answer = echo().ask(asked).await;
    assert_eq!(answer.problem(404)["instance"], "urn:request:req-7");
    assert_eq!(answer.header("x-request-id"), "req-7");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_known_path_with_another_method_is_405() {
    for path in ["/", "/v1", "/v1/things/7/more", "/v1/things/", "/v1/hidden", "/v2/echo"] {
        echo().get(path).await.problem(404);
    }
    for (method, path, allowed) in [
        ("POST", "/v1/things/7", "DELETE, GET, PATCH, HEAD"),
        ("DELETE", "/v1/echo", "GET, POST, HEAD"),
        ("GET", "/v1/echo/a:shout", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("BREW", "/v1/inner", "PUT"),
        ("HEAD", "/v1/things/7:watch", "GET, HEAD"),
    ] {
        let answer = echo().ask(request(method, path, &[], "")).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_next_request_is_answered() {
    let harness =
        Harness::new(|call| if call.request["text"] == "boom" { Reply::Panic } else { Reply::Echo });
    let answer = harness.get("/v1/echo?text=boom").await;
    answer.problem(500);
    assert_ne!(answer.header("x-request-id"), "");
    assert_eq!(harness.get("/v1/echo").await.status, 200);
}
