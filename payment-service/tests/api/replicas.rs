//! Several replicas of the service on one database.

use uuid::Uuid;

use crate::support::*;

#[tokio::test]
async fn with_two_replicas_each_request_is_one_call_to_the_provider() {
    let mut shop = Shop::open_with(patient).await;
    shop.add_replica(patient).await;
    let orders: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    for order in &orders {
        shop.requests.authorize(*order, "tok_success");
    }
    for order in &orders {
        shop.until_authorized(*order).await;
        shop.requests.capture(*order);
    }
    for order in &orders {
        shop.until_captured(*order).await;
        assert_eq!(shop.provider_payments(*order).await, [("captured".into(), 0)]);
        for operation in ["authorize", "capture"] {
            assert_eq!(shop.provider_calls(*order, operation).await, 1, "{operation}");
        }
    }
}

#[tokio::test]
async fn a_replica_takes_over_what_another_one_had_begun_when_it_was_killed() {
    /// As long as a call may take, since its lease is: what the dead one had begun is free soon.
    fn brief(options: &mut payment_service::Options) {
        quick(options);
        options.calls.timeout = std::time::Duration::from_secs(1);
    }
    let mut shop = Shop::open_with(brief).await;
    shop.add_replica(brief).await;
    let orders: Vec<Uuid> = (0..12).map(|_| Uuid::now_v7()).collect();
    for (number, order) in orders.iter().enumerate() {
        shop.requests.authorize(*order, ["tok_success", "tok_slow"][number % 2]);
    }
    shop.until_authorized(orders[0]).await;
    shop.kill_first();
    for order in &orders {
        shop.until_authorized(*order).await;
        let payments = shop.provider_payments(*order).await;
        assert_eq!(payments, [("authorized".into(), 0)], "one payment, whoever asked for it");
    }
}
