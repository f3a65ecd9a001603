//! Personal data: sealed wherever it is stored, and gone when its key is.

use std::path::PathBuf;
use std::process::Command;

use contracts::shop::order::v1 as wire;
use contracts::shop::order::v1::forget_person_request::Person;
use order_service::StartError;
use service_runtime::Secret;
use sha2::{Digest, Sha256};
use sqlx::Connection;
use testkit::{SOON, eventually};
use tonic::Code;

use crate::support::*;

fn pg_dump(url: &str) -> String {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let candidates = installed.map(|version| version.path().join("bin/pg_dump")).filter(|path| path.exists());
    let program = candidates.max().unwrap_or_else(|| PathBuf::from("pg_dump"));
    // libpq refuses the parameters that sqlx adds to its URLs.
    let url = url.split_once('?').map_or(url, |(plain, _)| plain);
    let dump = Command::new(&program).args(["--inserts", "--dbname", url]).output();
    let dump = dump.unwrap_or_else(|error| panic!("{} is needed for this test: {error}", program.display()));
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    String::from_utf8(dump.stdout).unwrap()
}

#[tokio::test]
async fn a_dump_of_the_database_holds_nothing_personal() {
    let (world, app) = start().await;
    let guest = app.order(&[("A-1", 1)]);
    let customer = wire::PlaceOrderRequest { customer_id: "c-1".into(), ..app.order(&[("A-1", 1)]) };
    let refused = app.order(&[("NOWHERE", 1)]);
    let reply = app.place(guest.clone()).await.unwrap();
    let (order_id, token) = (reply.order.unwrap().order_id, reply.access_token);
    app.place(customer).await.unwrap();
    app.place(refused).await.unwrap_err();
    app.cancel(&order_id, "Ada Byron has moved away from St James Square", &token).await.unwrap();
    world.complete_cancellation(&order_id, "REQUESTED_BY_SHOPPER");
    app.until(&order_id, wire::OrderStatus::Cancelled).await;

    let dump = pg_dump(world.database.admin_url());
    assert!(dump.contains(&order_id) && dump.contains("sealed_contact"), "it is the right database");
    for personal in PERSONAL {
        assert!(!dump.contains(personal), "`{personal}` stands in the database");
    }
    assert!(!dump.contains(&token), "access tokens are not stored");
    // Whoever guesses the whole request cannot make sure of it with the fingerprint that is stored.
    let body = wire::PlaceOrderRequest { request_id: String::new(), ..guest };
    let guessed: String = Sha256::digest(message(body)).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!dump.contains(&guessed));
}

#[tokio::test]
async fn a_forgotten_guest_is_gone_from_every_read_and_the_order_is_not() {
    let (world, app) = start().await;
    let (order_id, token) = app.placed().await;
    app.cancel(&order_id, "I am moving away", &token).await.unwrap();
    let forget = || app.forget(Person::OrderId(order_id.clone()));
    assert_eq!(forget().await.unwrap(), 1);
    assert_eq!(forget().await.unwrap(), 0, "forgetting twice is forgetting once");

    let order = app.get(&order_id, &token).await.unwrap();
    assert_eq!((&order.contact, order.person_forgotten), (&None, true));
    assert_eq!((order.status(), order.total), (wire::OrderStatus::Pending, eur(1250)));
    let listed = app.list(wire::ListOrdersRequest::default()).await.unwrap().orders;
    assert!(listed[0].person_forgotten && listed[0].contact.is_none());
    let history = app.history(&order_id, OPERATOR).await.unwrap();
    assert_eq!(history[1].reason, "REQUESTED_BY_SHOPPER", "what they wrote is gone, that they asked is not");

    world.confirm(&order_id);
    app.until(&order_id, wire::OrderStatus::Confirmed).await;
    let note = app.cancel(&order_id, "something personal again", &token).await.unwrap();
    assert!(note.cancellation_requested, "a forgotten person may still cancel");
    assert_eq!(world.keys().await, 0, "and no key is made for that");
}

#[tokio::test]
async fn a_forgotten_customer_is_gone_from_all_orders_and_may_come_back() {
    let (world, app) = start().await;
    let request = || wire::PlaceOrderRequest { customer_id: "c-1".into(), ..app.order(&[("A-1", 1)]) };
    let first = app.place(request()).await.unwrap();
    let second = request();
    app.place(second.clone()).await.unwrap();
    let other = wire::PlaceOrderRequest { customer_id: "c-2".into(), ..app.order(&[("A-1", 1)]) };
    app.place(other).await.unwrap();
    assert_eq!(world.keys().await, 2, "a customer has one key");

    let first_id = first.order.unwrap().order_id;
    let status = app.forget(Person::OrderId(first_id.clone())).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "ORDER_OF_CUSTOMER".into()));
    assert_eq!(fact(&status, "customerId"), "c-1");
    assert_eq!(app.forget(Person::CustomerId("c-1".into())).await.unwrap(), 1);
    assert_eq!(app.forget(Person::CustomerId("nobody".into())).await.unwrap(), 0);

    let repeated = app.place(second).await.unwrap().order.unwrap();
    assert!(repeated.person_forgotten, "a repeat brings nothing back");
    assert_eq!(world.keys().await, 1, "nor does it leave a key");

    let third = app.place(request()).await.unwrap();
    let last = wire::ListOrdersRequest { min_position: third.position, ..Default::default() };
    let orders = app.list(last).await.unwrap().orders;
    let forgotten: Vec<_> = orders.iter().map(|o| (o.customer_id.as_str(), o.person_forgotten)).collect();
    assert_eq!(forgotten, [("c-1", false), ("c-2", false), ("c-1", true), ("c-1", true)]);
    assert!(app.get(&first_id, &first.access_token).await.unwrap().person_forgotten);
}

#[tokio::test]
async fn a_customer_who_is_forgotten_while_ordering_is_forgotten_in_that_order_too() {
    let (world, app) = start().await;
    let mut blocker = sqlx::PgConnection::connect(world.database.admin_url()).await.unwrap();
    let lock = "SELECT pg_advisory_lock(7310577125410)";
    sqlx::query(lock).execute(&mut blocker).await.unwrap();
    let request = wire::PlaceOrderRequest { customer_id: "c-1".into(), ..app.order(&[("A-1", 1)]) };
    let forgotten_meanwhile = async {
        let key = async || (world.keys().await == 1).then_some(());
        eventually("the key is there before the event", SOON, key).await;
        assert_eq!(app.forget(Person::CustomerId("c-1".into())).await.unwrap(), 1);
        drop(blocker);
    };
    let (placed, ()) = tokio::join!(app.place(request), forgotten_meanwhile);
    let placed = placed.unwrap();
    let order = app.get(&placed.order.unwrap().order_id, &placed.access_token).await.unwrap();
    assert_eq!((order.contact, order.person_forgotten), (None, true));
    assert_eq!(world.keys().await, 0);
}

#[tokio::test]
async fn nobody_is_forgotten_by_a_request_that_names_nobody() {
    let (_world, app) = start().await;
    let nobody = wire::ForgetPersonRequest { person: None };
    let status = app.client().forget_person(with(OPERATOR, nobody)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let fingerprints = Person::CustomerId("service:request-fingerprints".into());
    assert_eq!(app.forget(fingerprints).await.unwrap(), 0, "the service's own key is no person's");
}

#[tokio::test]
async fn master_keys_are_rotated_without_losing_anything() {
    let (world, app) = start().await;
    let request = app.order(&[("A-1", 1)]);
    let reply = app.place(request.clone()).await.unwrap();
    let (order_id, token) = (reply.order.unwrap().order_id, reply.access_token);
    app.stop().await;

    let with_keys =
        |keys: Vec<Secret>| order_service::Options { personal_data_keys: keys, ..world.options() };
    let app = world.start(with_keys(vec![master_key('b'), master_key('a')])).await.unwrap();
    assert_eq!(app.get(&order_id, &token).await.unwrap().contact, Some(contact()));
    let one_master = "SELECT count(DISTINCT master_key) FROM personal_data_keys";
    let new_key: String = Sha256::digest([0xbb; 32])[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    eventually("all keys are wrapped under the new master key", SOON, || async {
        let wrapped: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT encode(master_key, 'hex') FROM personal_data_keys")
                .fetch_all(&world.admin)
                .await
                .unwrap();
        (wrapped == [new_key.clone()]).then_some(())
    })
    .await;
    assert_eq!(world.count(one_master).await, 1);
    app.stop().await;

    let app = world.start(with_keys(vec![master_key('b')])).await.unwrap();
    assert_eq!(app.get(&order_id, &token).await.unwrap().contact, Some(contact()));
    let again = app.place(request).await.unwrap();
    assert_eq!(again.order.unwrap().order_id, order_id, "a repeat is known across the rotation");
    app.stop().await;

    let wrong = world.start(with_keys(vec![master_key('a')])).await.err();
    assert!(
        matches!(wrong, Some(StartError::PersonalData(_))),
        "it says so at the start, not at the first read"
    );
}
