//! What is sent again, and what never is.

use std::time::Duration;

use service_client::ServiceClient;
use service_runtime::status::{reason, reason_of};
use tonic::{Code, Status};

use crate::support::{Server, asked, call, client, follow, options, read, until};

/// A call that is at one of two replicas when that is killed: what its caller gets, and how many calls the other got
/// meanwhile.
async fn killed_under(method: &'static str, request_id: &'static str) -> (Result<String, Status>, usize) {
    let (mut a, mut b) = (Server::start("a").await, Server::start("b").await);
    let client = client(&[&a, &b], options());
    until(async || read(&client, "").await.unwrap() == "a" && b.calls() > 0).await;
    let before = (a.calls(), b.calls());
    let caller = tokio::spawn(async move { call(&client, method, asked("wait", request_id)).await });
    let other = tokio::select! {
        () = a.one_waits() => {
            b.handlers.go_on.add_permits(1);
            a.kill();
            (&b, before.1)
        }
        () = b.one_waits() => {
            a.handlers.go_on.add_permits(1);
            b.kill();
            (&a, before.0)
        }
    };
    let answer = caller.await.unwrap();
    (answer, other.0.calls() - other.1)
}

#[tokio::test]
async fn a_change_without_a_request_id_is_not_sent_again_when_its_connection_breaks() {
    let (answer, again) = killed_under("Change", "").await;
    let status = answer.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE)
    );
    assert!(status.message().contains("not known"), "{status}");
    assert_eq!(again, 0);
}

#[tokio::test]
async fn a_read_and_a_change_with_a_request_id_are() {
    for (method, request_id) in [("Read", ""), ("Change", "request-7")] {
        let (answer, again) = killed_under(method, request_id).await;
        answer.unwrap();
        assert_eq!(again, 1, "{method}");
    }
}

async fn tries(method: &str, what: &str, request_id: &str) -> (Code, usize) {
    let server = Server::start("a").await;
    let client = client(&[&server], options());
    let status = call(&client, method, asked(what, request_id)).await.unwrap_err();
    (status.code(), server.calls())
}

#[tokio::test]
async fn an_answer_of_unavailable_is_tried_twice_more_where_that_is_safe() {
    for (method, request_id, expected) in [("Read", "", 3), ("Change", "r", 3), ("Change", "", 1)] {
        for what in ["down", "bare"] {
            assert_eq!(
                tries(method, what, request_id).await,
                (Code::Unavailable, expected),
                "{method} {what}"
            );
        }
    }
    assert_eq!(tries("Read", "behind", "").await, (Code::Unavailable, 1), "it has waited long enough");
}

#[tokio::test]
async fn a_full_replica_is_passed_over_for_another() {
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let client = client(&[&a, &b], options());
    until(async || read(&client, "").await.unwrap() == "a" && b.calls() > 0).await;
    for _ in 0..20 {
        assert_eq!(read(&client, "full at a").await.unwrap(), "b");
    }
    let alone = crate::support::client(&[&a], options());
    let before = a.calls();
    let status = read(&alone, "full at a").await.unwrap_err();
    assert_eq!((reason_of(&status).as_str(), a.calls()), (reason::OVERLOADED, before + 1));
}

#[tokio::test]
async fn a_stream_that_is_refused_before_it_begins_is_tried_again() {
    let server = Server::start("a").await;
    let client = client(&[&server], options());
    assert_eq!(follow(&client, "bare").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    const CALLS: usize = 50;
    const ALWAYS: usize = 10;
    let server = Server::start("a").await;
    let mut options = options();
    // One a second over the ten seconds that it remembers.
    options.retry.budget = (0.0, 1);
    options.retry.pause = (Duration::ZERO, Duration::ZERO);
    let client: ServiceClient = client(&[&server], options);
    for _ in 0..CALLS {
        assert_eq!(read(&client, "down").await.unwrap_err().code(), Code::Unavailable);
    }
    // More only if this took so long that the budget has forgotten the first retries; without one it were two a call.
    assert!((CALLS + ALWAYS..CALLS * 2).contains(&server.calls()), "{}", server.calls());
}
