//! Many buyers at the same moment: nothing is oversold, nobody is charged twice or for nothing.

use std::collections::HashSet;

use e2e_tests::trade::{PRICE, Placed, contact, order_of, tokens, unique};
use e2e_tests::{ANSWER_DEADLINE, Api, eventually};
use futures::future::join_all;
use serde_json::{Value, json};

const BUYERS: usize = 200;
const PIECES: i64 = 50;
const DOUBLE_CLICKS: usize = 100;
/// Double clicks at a time.
const AT_ONCE: usize = 20;

#[tokio::test]
async fn of_200_buyers_at_once_50_get_the_50_pieces_and_the_others_are_told_and_not_charged() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, PIECES).await;
    let order = order_of(&goods, 1, tokens::SUCCESS);
    let buying = join_all((0..BUYERS).map(async |_| {
        let placed = api.place(&order).await;
        (api.ended(&placed).await, placed)
    }));
    let bought: Vec<(Value, Placed)> = buying.await;

    let distinct: HashSet<&str> = bought.iter().map(|(_, placed)| placed.order_id.as_str()).collect();
    assert_eq!(distinct.len(), BUYERS, "everybody has an order of their own");
    let with_status = |status: &str| bought.iter().filter(|(order, _)| order["status"] == status).count();
    assert_eq!(with_status("ORDER_STATUS_CONFIRMED") as i64, PIECES);
    assert_eq!(with_status("ORDER_STATUS_REJECTED") as i64, BUYERS as i64 - PIECES);
    for (order, placed) in &bought {
        let confirmed = order["status"] == "ORDER_STATUS_CONFIRMED";
        assert_eq!(order["reason"], if confirmed { "" } else { "INSUFFICIENT_STOCK" }, "{order}");
        let owed = if confirmed { PRICE } else { 0 };
        api.charge_becomes(&placed.order_id, owed).await;
    }
    api.stock_becomes(&goods.sku, 0, 0, PIECES).await;
}

#[tokio::test]
async fn the_same_order_submitted_twice_at_the_same_moment_is_one_order_and_one_capture_100_times_over() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, 2 * DOUBLE_CLICKS as i64).await;
    let mut orders = Vec::new();
    for _ in 0..DOUBLE_CLICKS / AT_ONCE {
        orders.extend(join_all((0..AT_ONCE).map(|_| click_twice(&api, &goods.sku, &goods.position))).await);
    }
    let distinct: HashSet<&str> = orders.iter().map(|(placed, _)| placed.order_id.as_str()).collect();
    assert_eq!(distinct.len(), DOUBLE_CLICKS);
    for (placed, customer) in &orders {
        assert_eq!(api.ended(placed).await["status"], "ORDER_STATUS_CONFIRMED");
        api.charge_becomes(&placed.order_id, PRICE).await;
        let theirs = api.list("/v1/orders", &format!("customerId={customer}"), "orders").await;
        assert_eq!(theirs.len(), 1, "one order each: {theirs:?}");
    }
    api.stock_becomes(&goods.sku, DOUBLE_CLICKS as i64, 0, DOUBLE_CLICKS as i64).await;
}

/// Sends one order twice at the same moment, and returns it with its customer.
async fn click_twice(api: &Api, sku: &str, position: &str) -> (Placed, String) {
    let customer = unique("customer");
    let order = json!({
        "lines": [{"sku": sku, "quantity": "1"}],
        "paymentToken": tokens::SUCCESS,
        "contact": contact(),
        "customerId": customer,
        "minPosition": position,
    });
    let key = unique("click");
    // A shop that is too busy says so, and the click is repeated.
    let click = || {
        eventually("a click is answered", ANSWER_DEADLINE, async || {
            Some(api.post("/v1/orders", &order).key(&key).send().await).filter(|answer| answer.status != 503)
        })
    };
    let (first, second) = tokio::join!(click(), click());
    assert_eq!(Placed::from_answer(&first), Placed::from_answer(&second), "both clicks have the same answer");
    (Placed::from_answer(&first), customer)
}
