//! One order from the catalogue to its cancellation, and that everybody in the shop tells the same story about it.

use e2e_tests::trade::{PRICE, Placed, contact, order_of, product, tokens, unique};
use e2e_tests::{at, number, text};
use serde_json::{Value, json};

fn names(events: &[Value]) -> Vec<String> {
    events.iter().map(|entry| text(entry, "/event")).collect()
}

#[tokio::test]
async fn an_order_is_placed_followed_confirmed_cancelled_and_refunded_over_rest_alone() {
    let api = crate::stage().await.api();

    let sku = unique("MUG");
    let created = api.post("/v1/products", &product(&sku, PRICE)).operator().key(&sku).send().await;
    let product_id = text(&created.ok(), "/product/productId");
    let catalogue = text(&created.ok(), "/position");
    assert_eq!(created.header("x-position"), catalogue, "the header and the body name the same position");
    let read = api.get(&format!("/v1/products/{product_id}")).at_position(&catalogue).ok().await;
    assert_eq!(text(&read, "/product/variants/0/sku"), sku);
    let received = api.receive(&sku, 7).await;
    assert_eq!(number(&received, "/stock/available"), 7);

    let order = json!({
        "lines": [{"sku": sku, "quantity": "2"}],
        "expectedTotal": {"currencyCode": "EUR", "minorUnits": "2500"},
        "paymentToken": tokens::SUCCESS,
        "contact": contact(),
    });
    let placing = api.post("/v1/orders", &order).key(&unique("order")).at_position(&catalogue);
    let placed = Placed::from_answer(&placing.send().await);
    let followed: Vec<Value> = api.follow(&placed).await.iter().map(|event| event.json()).collect();
    let entries: Vec<Value> = followed.iter().map(|message| at(message, "/entry").clone()).collect();
    assert_eq!(names(&entries), ["OrderPlaced", "OrderConfirmed"]);
    assert_eq!(followed.last().map(|message| &message["last"]), Some(&json!(true)));

    let confirmed = api.order(&placed).await;
    assert_eq!(confirmed["status"], "ORDER_STATUS_CONFIRMED");
    assert_eq!(number(&confirmed, "/total/minorUnits"), 2 * PRICE);
    assert_eq!(confirmed["contact"], contact());
    let saga = api.saga_with_status(&placed.order_id, "SAGA_STATUS_COMPLETED").await;
    assert_eq!(text(&saga, "/sagaId"), format!("checkout-{}", placed.order_id));
    assert_eq!(saga["openStep"], "");
    assert!(saga["timeline"].as_array().is_some_and(|timeline| timeline.len() >= 12), "{saga}");
    let payment = api.payment_with_status(&placed.order_id, "PAYMENT_STATUS_CAPTURED").await;
    assert_eq!(number(&payment, "/captured/minorUnits"), 2 * PRICE);
    api.reservation_with_status(&placed.order_id, "RESERVATION_STATUS_COMMITTED").await;
    api.stock_becomes(&sku, 5, 0, 2).await;

    let reason = json!({"reason": "CHANGED_MY_MIND"});
    let path = format!("/v1/orders/{}:cancel", placed.order_id);
    let asked = api.post(&path, &reason).bearer(&placed.token).key(&unique("cancel")).ok().await;
    assert_eq!(asked["order"]["cancellationRequested"], true);
    let cancelled = api.order_with_status(&placed, "ORDER_STATUS_CANCELLED").await;
    assert_eq!(cancelled["reason"], "CHANGED_MY_MIND");
    let saga_id = format!("cancellation-{}", placed.order_id);
    api.saga_with_status(&saga_id, "SAGA_STATUS_COMPLETED").await;
    api.charge_becomes(&placed.order_id, 0).await;
    let payment = api.payment(&placed.order_id).await.expect("it was captured");
    assert_eq!(number(&payment, "/refunded/minorUnits"), 2 * PRICE, "{payment}");
    api.reservation_with_status(&placed.order_id, "RESERVATION_STATUS_RESTOCKED").await;
    // Everything is for sale again.
    api.stock_becomes(&sku, 7, 0, 2).await;

    let path = format!("/v1/orders/{}/history", placed.order_id);
    let history = api.get(&path).bearer(&placed.token).at_position(&text(&asked, "/position")).ok().await;
    let entries = at(&history, "/entries").as_array().cloned().unwrap_or_default();
    assert_eq!(
        names(&entries),
        ["OrderPlaced", "OrderConfirmed", "OrderCancellationRequested", "OrderCancelled"]
    );
    assert_eq!(names(&entries)[..2], names(&followed.iter().map(|m| m["entry"].clone()).collect::<Vec<_>>()));
}

#[tokio::test]
async fn a_stream_that_broke_off_continues_after_the_last_event_that_was_seen() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, 5).await;
    let placed = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    let all = api.follow(&placed).await;
    assert!(all.len() >= 2, "{all:?}");
    let path = format!("/v1/orders/{}/events", placed.order_id);
    let mut rest = api.get(&path).bearer(&placed.token).header("last-event-id", &all[0].id).events().await;
    for expected in &all[1..] {
        assert_eq!(rest.next().await.as_ref(), Some(expected));
    }
}

#[tokio::test]
async fn a_confirmed_order_is_shipped_and_delivered_and_then_not_cancelled_any_more() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, 5).await;
    let placed = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    assert_eq!(api.ended(&placed).await["status"], "ORDER_STATUS_CONFIRMED");
    for (verb, status) in [("ship", "ORDER_STATUS_SHIPPED"), ("deliver", "ORDER_STATUS_DELIVERED")] {
        let path = format!("/v1/orders/{}:{verb}", placed.order_id);
        let answer = api.post(&path, &json!({})).operator().key(&unique(verb)).ok().await;
        assert_eq!(answer["order"]["status"], status);
    }
    let path = format!("/v1/orders/{}:cancel", placed.order_id);
    let cancel = api.post(&path, &json!({"reason": "TOO_LATE"})).bearer(&placed.token).key(&unique("cancel"));
    let refused = cancel.refused(422).await;
    assert_eq!(refused["reason"], "ORDER_ALREADY_SHIPPED", "{refused}");
}
