//! Quotas of clients, in a shop that has been told to have them.

use e2e_tests::trade::{PRICE, order_of, tokens, unique};
use e2e_tests::{Ports, Shop};

#[tokio::test]
async fn a_guest_places_as_many_orders_as_the_quota_has_and_operators_have_their_own() {
    let variables = [("STORELINE_RATE_LIMITS", "true"), ("STORELINE_RATE_ORDERS", "3/1h")];
    let shop = Shop::start_with(Ports::Free, &variables).await;
    let api = shop.api();
    let goods = api.goods(PRICE, 10).await;
    let order = order_of(&goods, 1, tokens::SUCCESS);
    for _ in 0..3 {
        api.place(&order).await;
    }
    let place = || api.post("/v1/orders", &order).key(&unique("order"));
    // Neither another address nor a token of one's own making is a way round.
    for call in [place(), place().header("x-forwarded-for", "198.51.100.1"), place().bearer("made-up")] {
        let answer = call.send().await;
        assert_eq!(answer.refused(429)["reason"], "RATE_LIMITED");
        assert_eq!(answer.header("ratelimit-policy"), "\"orders\";q=3;w=3600");
        assert!(answer.header("ratelimit").starts_with("\"orders\";r=0;"), "{answer}");
        // One comes back every 20 minutes.
        let wait: u64 = answer.header("retry-after").parse().expect("it says when");
        assert!((1..=1200).contains(&wait), "{wait}");
    }
    api.get("/v1/products").ok().await;
    // The shop knows the operator's token from the product that it has made.
    let answer = place().operator().send().await;
    answer.ok();
    assert!(answer.header("ratelimit").starts_with("\"orders\";r=2;"), "{answer}");
}
