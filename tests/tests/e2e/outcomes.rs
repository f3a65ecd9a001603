//! Every way in which an order can end, and that money and goods agree with it. What the payment provider does is
//! chosen by the payment token.

use e2e_tests::trade::{Goods, PRICE, Placed, order_of, tokens, unique};
use e2e_tests::{Api, number, text};
use serde_json::{Value, json};

const STOCK: i64 = 3;

async fn buy(api: &Api, goods: &Goods, payment_token: &str) -> (Placed, Value) {
    let placed = api.place(&order_of(goods, 1, payment_token)).await;
    let order = api.ended(&placed).await;
    (placed, order)
}

async fn assert_confirmed(payment_token: &str) {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, STOCK).await;
    let (placed, order) = buy(&api, &goods, payment_token).await;
    assert_eq!(order["status"], "ORDER_STATUS_CONFIRMED", "{order}");
    let payment = api.payment_with_status(&placed.order_id, "PAYMENT_STATUS_CAPTURED").await;
    assert_eq!(number(&payment, "/captured/minorUnits"), PRICE, "{payment}");
    assert_eq!(number(&payment, "/refunded/minorUnits"), 0, "{payment}");
    api.stock_becomes(&goods.sku, STOCK - 1, 0, 1).await;
    api.saga_with_status(&placed.order_id, "SAGA_STATUS_COMPLETED").await;
}

#[tokio::test]
async fn a_declined_payment_rejects_the_order_and_gives_the_goods_back() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, STOCK).await;
    let (placed, order) = buy(&api, &goods, tokens::DECLINED).await;
    assert_eq!(order["status"], "ORDER_STATUS_REJECTED", "{order}");
    assert_eq!(order["reason"], "CARD_DECLINED", "{order}");
    let payment = api.payment_with_status(&placed.order_id, "PAYMENT_STATUS_DECLINED").await;
    assert_eq!(number(&payment, "/captured/minorUnits"), 0, "{payment}");
    api.stock_becomes(&goods.sku, STOCK, 0, 0).await;
    api.saga_with_status(&placed.order_id, "SAGA_STATUS_COMPENSATED").await;
}

#[tokio::test]
async fn an_order_for_more_than_there_is_is_rejected_before_any_payment_is_asked_for() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, STOCK).await;
    let placed = api.place(&order_of(&goods, STOCK + 1, tokens::SUCCESS)).await;
    let order = api.ended(&placed).await;
    assert_eq!(order["status"], "ORDER_STATUS_REJECTED", "{order}");
    assert_eq!(order["reason"], "INSUFFICIENT_STOCK", "{order}");
    assert_eq!(api.payment(&placed.order_id).await, None);
    api.reservation_with_status(&placed.order_id, "RESERVATION_STATUS_REJECTED").await;
    api.stock_becomes(&goods.sku, STOCK, 0, 0).await;
}

#[tokio::test]
async fn an_order_of_several_lines_takes_all_of_them_or_none() {
    let api = crate::stage().await.api();
    let (plenty, scarce) = (api.goods(PRICE, STOCK).await, api.goods(PRICE, 1).await);
    let order = |quantity: i64| {
        let mut order = order_of(&scarce, quantity, tokens::SUCCESS);
        order["lines"] = json!([
            {"sku": plenty.sku, "quantity": "1"},
            {"sku": scarce.sku, "quantity": quantity.to_string()},
        ]);
        order["expectedTotal"]["minorUnits"] = json!((PRICE * (quantity + 1)).to_string());
        order
    };
    let placed = api.place(&order(2)).await;
    assert_eq!(api.ended(&placed).await["status"], "ORDER_STATUS_REJECTED");
    api.stock_becomes(&plenty.sku, STOCK, 0, 0).await;
    let placed = api.place(&order(1)).await;
    assert_eq!(api.ended(&placed).await["status"], "ORDER_STATUS_CONFIRMED");
    api.stock_becomes(&plenty.sku, STOCK - 1, 0, 1).await;
    api.stock_becomes(&scarce.sku, 0, 0, 1).await;
}

#[tokio::test]
async fn an_order_that_costs_nothing_is_confirmed_without_a_payment() {
    let api = crate::stage().await.api();
    let goods = api.goods(0, STOCK).await;
    let (placed, order) = buy(&api, &goods, "").await;
    assert_eq!(order["status"], "ORDER_STATUS_CONFIRMED", "{order}");
    assert_eq!(number(&order, "/total/minorUnits"), 0);
    api.stock_becomes(&goods.sku, STOCK - 1, 0, 1).await;
    assert_eq!(api.payment(&placed.order_id).await, None);
}

#[tokio::test]
async fn a_payment_whose_answer_is_lost_is_found_out_about_and_confirmed_once() {
    assert_confirmed(tokens::TIMEOUT_THEN_SUCCESS).await;
}

#[tokio::test]
async fn a_payment_that_the_provider_does_not_know_the_end_of_is_asked_about_until_it_does() {
    assert_confirmed(tokens::UNKNOWN_UNTIL_ASKED).await;
}

#[tokio::test]
async fn a_payment_that_the_provider_fails_at_first_is_tried_again_and_taken_once() {
    assert_confirmed(tokens::ERROR_THEN_SUCCESS).await;
}

#[tokio::test]
async fn a_slow_payment_is_waited_for() {
    assert_confirmed(tokens::SLOW).await;
}

#[tokio::test]
async fn a_capture_that_fails_rejects_the_order_releases_the_goods_and_voids_the_authorization() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, STOCK).await;
    let (placed, order) = buy(&api, &goods, tokens::CAPTURE_FAILS).await;
    assert_eq!(order["status"], "ORDER_STATUS_REJECTED", "{order}");
    assert_eq!(order["reason"], "CAPTURE_REFUSED", "{order}");
    let payment = api.payment_with_status(&placed.order_id, "PAYMENT_STATUS_VOIDED").await;
    assert_eq!(number(&payment, "/captured/minorUnits"), 0, "{payment}");
    api.reservation_with_status(&placed.order_id, "RESERVATION_STATUS_RELEASED").await;
    api.stock_becomes(&goods.sku, STOCK, 0, 0).await;
    api.saga_with_status(&placed.order_id, "SAGA_STATUS_COMPENSATED").await;
}

#[tokio::test]
async fn an_order_cancelled_while_its_payment_is_under_way_charges_and_refunds_nothing() {
    let api = crate::stage().await.api();
    // Under way for seconds, which the wish may come too late for on a busy machine: then once more.
    let wished = testkit::eventually("a wish comes before the order's end", testkit::SOON, async || {
        let goods = api.goods(PRICE, STOCK).await;
        let placed = api.place(&order_of(&goods, 1, tokens::UNKNOWN_UNTIL_ASKED)).await;
        let path = format!("/v1/orders/{}:cancel", placed.order_id);
        let cancel = api.post(&path, &json!({"reason": "CHANGED_MY_MIND"})).bearer(&placed.token);
        let asked = cancel.key(&unique("cancel")).ok().await;
        (asked["order"]["status"] == "ORDER_STATUS_PENDING").then_some((goods, placed, asked))
    });
    let (goods, placed, asked) = wished.await;
    assert_eq!(asked["order"]["cancellationRequested"], true, "{asked}");
    let order = api.ended(&placed).await;
    assert_eq!(order["status"], "ORDER_STATUS_CANCELLED", "{order}");
    assert_eq!(order["reason"], "CHANGED_MY_MIND", "{order}");
    api.saga_with_status(&placed.order_id, "SAGA_STATUS_COMPENSATED").await;
    if let Some(payment) = api.payment(&placed.order_id).await {
        assert_eq!(number(&payment, "/captured/minorUnits"), 0, "{payment}");
        assert_eq!(number(&payment, "/refunded/minorUnits"), 0, "{payment}");
    }
    api.stock_becomes(&goods.sku, STOCK, 0, 0).await;
}

#[tokio::test]
async fn a_price_that_changed_is_told_with_both_totals_and_the_order_is_not_placed() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, STOCK).await;
    let path = format!("/v1/products/{}/variants/{}:changePrice", goods.product_id, goods.sku);
    let price = json!({"price": {"currencyCode": "EUR", "minorUnits": "1300"}, "reason": "glaze got dearer"});
    let changed = api.post(&path, &price).operator().key(&unique("price")).ok().await;
    let mut order = order_of(&goods, 2, tokens::SUCCESS);
    order["minPosition"] = changed["position"].clone();
    let refused = api.post("/v1/orders", &order).key(&unique("order")).refused(422).await;
    assert_eq!(refused["reason"], "PRICE_CHANGED", "{refused}");
    let said = refused.to_string();
    assert!(said.contains("2500") && said.contains("2600"), "both totals are told: {said}");
    order["expectedTotal"]["minorUnits"] = json!("2600");
    let placed = api.place(&order).await;
    assert_eq!(number(&api.ended(&placed).await, "/total/minorUnits"), 2600);
}

#[tokio::test]
async fn what_is_not_for_sale_cannot_be_ordered() {
    let api = crate::stage().await.api();
    let goods = api.goods(PRICE, STOCK).await;
    let mut order = order_of(&goods, 1, tokens::SUCCESS);
    order["lines"][0]["sku"] = json!(unique("NO-SUCH"));
    let refused = api.post("/v1/orders", &order).key(&unique("order")).refused(422).await;
    assert_eq!(refused["reason"], "UNKNOWN_SKU", "{refused}");

    let path = format!("/v1/products/{}:discontinue", goods.product_id);
    let ended = api.post(&path, &json!({"reason": "sold out"})).operator().key(&unique("end")).ok().await;
    let mut order = order_of(&goods, 1, tokens::SUCCESS);
    order["minPosition"] = json!(text(&ended, "/position"));
    let refused = api.post("/v1/orders", &order).key(&unique("order")).refused(422).await;
    assert_eq!(refused["reason"], "PRODUCT_DISCONTINUED", "{refused}");
}
