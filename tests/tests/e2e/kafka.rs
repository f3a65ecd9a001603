//! The all-in-one whose services follow each other over Kafka in place of their logs: orders come to the same ends, also
//! those that were under way when the process was stopped, or killed.

use std::time::Duration;

use e2e_tests::trade::{Goods, ORDER_DEADLINE, PRICE, Placed, order_of, tokens, unique};
use e2e_tests::{Api, Ports, Shop, eventually};
use serde_json::{Value, json};
use testkit::kafka;

/// So many are there at first, and every order is of one.
const STOCK: i64 = 9;
/// The operator's list of relays.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

async fn shop_over_kafka(prefix: &str) -> Shop {
    let brokers = kafka::bootstrap();
    let variables = [
        ("BUS", "kafka"),
        ("STORELINE_KAFKA_BROKERS", brokers.as_str()),
        ("STORELINE_KAFKA_TOPIC_PREFIX", prefix),
        ("STORELINE_KAFKA_PARTITIONS", "2"),
        ("STORELINE_KAFKA_REPLICATION", "1"),
        ("STORELINE_KAFKA_MIN_INSYNC", "1"),
    ];
    Shop::start_with(Ports::Free, &variables).await
}

async fn place(api: &Api, goods: &Goods, payment_token: &str) -> Placed {
    api.place(&order_of(goods, 1, payment_token)).await
}

async fn assert_ends(api: &Api, placed: &Placed, status: &str) {
    let order = api.ended(placed).await;
    assert_eq!(order["status"], status, "{order}");
}

/// An order that its shopper wished to have cancelled in time.
async fn cancelled(api: &Api, goods: &Goods) -> Placed {
    // Under way for seconds, which the wish may come too late for on a busy machine: then once more.
    eventually("a wish comes before the order's end", ORDER_DEADLINE, async || {
        let placed = place(api, goods, tokens::UNKNOWN_UNTIL_ASKED).await;
        let path = format!("/v1/orders/{}:cancel", placed.order_id);
        let cancel = api.post(&path, &json!({"reason": "CHANGED_MY_MIND"})).bearer(&placed.token);
        let asked = cancel.key(&unique("cancel")).ok().await;
        (asked["order"]["status"] == "ORDER_STATUS_PENDING").then_some(placed)
    })
    .await
}

/// How far each log is copied, by its topic.
async fn relays(shop: &Shop) -> Vec<Value> {
    let lines = shop.run(&["relay", "--json"], COMMAND_DEADLINE).await.ok();
    lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn is_at_work(relay: &Value, prefix: &str) -> bool {
    let topic = relay["topic"].as_str().unwrap_or_default();
    topic.starts_with(prefix) && relay["state"] == "RUNNING" && relay["position"].as_i64() > Some(0)
}

#[tokio::test]
async fn orders_over_kafka_come_to_their_ends_over_a_stop_and_a_kill() {
    let prefix = kafka::topic_prefix();
    let mut shop = shop_over_kafka(&prefix).await;
    let api = shop.api();
    let goods = api.goods(PRICE, STOCK).await;
    let confirmed = place(&api, &goods, tokens::SUCCESS).await;
    let rejected = place(&api, &goods, tokens::DECLINED).await;
    assert_ends(&api, &confirmed, "ORDER_STATUS_CONFIRMED").await;
    assert_ends(&api, &rejected, "ORDER_STATUS_REJECTED").await;
    let others = api.goods(PRICE, STOCK).await;
    let unwanted = cancelled(&api, &others).await;
    assert_ends(&api, &unwanted, "ORDER_STATUS_CANCELLED").await;
    api.charge_becomes(&unwanted.order_id, 0).await;

    eventually("every service's log is copied into a topic", ORDER_DEADLINE, async || {
        let relays = relays(&shop).await;
        assert_eq!(relays.len(), shop.grpc().len(), "one for every service: {relays:?}");
        relays.iter().all(|relay| is_at_work(relay, &prefix)).then_some(())
    })
    .await;

    let slow = place(&api, &goods, tokens::SLOW).await;
    assert_eq!(shop.stop().await.code(), Some(0));
    shop.restart().await;
    let api = shop.api();
    assert_ends(&api, &slow, "ORDER_STATUS_CONFIRMED").await;

    let quick = place(&api, &goods, tokens::SUCCESS).await;
    shop.kill();
    shop.restart().await;
    let api = shop.api();
    assert_ends(&api, &quick, "ORDER_STATUS_CONFIRMED").await;
    let later = place(&api, &goods, tokens::SUCCESS).await;
    assert_ends(&api, &later, "ORDER_STATUS_CONFIRMED").await;

    for bought in [&confirmed, &slow, &quick, &later] {
        api.charge_becomes(&bought.order_id, PRICE).await;
        api.saga_with_status(&bought.order_id, "SAGA_STATUS_COMPLETED").await;
    }
    api.stock_becomes(&goods.sku, STOCK - 4, 0, 4).await;
    shop.audit().await;
}
