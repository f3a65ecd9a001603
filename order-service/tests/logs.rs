//! What the order service logs, at the finest level. A process of its own, since what is logged is decided for a
//! whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "api/support.rs"]
#[expect(dead_code, reason = "one test uses a part of it")]
mod support;

use std::sync::{Arc, Mutex};

use contracts::shop::order::v1::forget_person_request::Person;

use support::*;

/// Where log lines go in a test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_log_of_everything_that_is_ever_logged_holds_nothing_personal() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();

    let (_world, app) = start().await;
    let reply = app.place(app.order(&[("A-1", 1)])).await.unwrap();
    let (order_id, token) = (reply.order.unwrap().order_id, reply.access_token);
    app.place(app.order(&[("NOWHERE", 1)])).await.unwrap_err();
    let mut card = app.order(&[("A-1", 1)]);
    card.payment_token = "4242424242424242".into();
    app.place(card).await.unwrap_err();
    app.cancel(&order_id, "Ada Byron has moved away", &token).await.unwrap();
    app.get(&order_id, &token).await.unwrap();
    app.history(&order_id, &token).await.unwrap();
    app.get(&order_id, "another-token-of-somebody").await.unwrap_err();
    app.forget(Person::OrderId(order_id)).await.unwrap();

    let log = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(log.contains("PlaceOrder") && log.contains("INSERT INTO personal_data_keys"), "much is logged");
    for secret in
        PERSONAL.into_iter().chain([&*token, "another-token", OPERATOR, "4242424242424242", "tok_success"])
    {
        assert!(!log.contains(secret), "`{secret}` stands in the log");
    }
}
