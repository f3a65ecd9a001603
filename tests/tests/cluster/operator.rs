//! The operator's commands against a cluster, through configuration.

use std::time::Duration;

use e2e_tests::trade::{PRICE, order_of, tokens};

/// A whole demo, its slowest payments included, or the rebuild of a model.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn the_demo_plays_all_outcomes_and_the_audit_finds_the_books_in_order() {
    let cluster = crate::stage().await;
    cluster.run(&["demo"], COMMAND_DEADLINE).await.ok();
    cluster.audit().await;
}

#[tokio::test]
async fn sagas_and_parked_messages_are_seen_and_a_model_is_made_anew_of_a_topic() {
    let cluster = crate::stage().await;
    let api = cluster.api();
    let goods = api.goods(PRICE, 2).await;
    let placed = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    api.ended(&placed).await;
    let saga = cluster.run(&["saga", &placed.order_id], COMMAND_DEADLINE).await.ok();
    assert!(saga.contains(&placed.order_id), "{saga}");
    let parked = cluster.run(&["parked"], COMMAND_DEADLINE).await.ok();
    assert!(parked.contains("No message is parked"), "{parked}");
    cluster.run(&["rebuild", "order.catalogue"], COMMAND_DEADLINE).await.ok();
    let placed = api.place(&order_of(&goods, 1, tokens::SUCCESS)).await;
    assert_eq!(api.ended(&placed).await["status"], "ORDER_STATUS_CONFIRMED", "the new model knows the goods");
}
