//! The shop dies at every named point between a command and everything that follows from it, while people shop. Started
//! again, it brings every acknowledged order to its end, and the books are right.
#![cfg(debug_assertions)]

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use e2e_tests::tools::tamper;
use e2e_tests::trade::{Goods, PRICE, Placed, order_of, tokens};
use e2e_tests::{Api, Shop};
use futures::future::join_all;
use serde_json::json;
use testkit::fault::{POINTS, VARIABLE};
use testkit::{is_long, say};

use e2e_tests::shoppers::{Request, all_end};

/// The passings at which the shop dies, one round for each. The first few are passed while it starts.
const PASSINGS: &[u64] = &[9];
const PASSINGS_LONG: &[u64] = &[9, 40, 150];
/// Shoppers who order at the same time.
const BUYERS: usize = 6;
/// What they pay with, in turn: the demo's outcomes that come soon.
const PAYMENTS: [&str; 6] = [
    tokens::SUCCESS,
    tokens::SUCCESS,
    tokens::DECLINED,
    tokens::ERROR_THEN_SUCCESS,
    tokens::SUCCESS,
    tokens::UNKNOWN_UNTIL_ASKED,
];
/// One order in so many is cancelled at once.
const CANCELLED_ONE_IN: usize = 5;
/// Orders that one shopper places before they wait for the last of them.
const ORDERS_IN_A_ROW: usize = 2;
/// Pause between two looks at an order.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// So many pieces that they never run out.
const STOCK: i64 = 1_000_000;
/// Longest wait until a point is reached under load.
const REACH_DEADLINE: Duration = Duration::from_secs(300);
/// How an aborted process ends.
const SIGABRT: i32 = 6;
/// The services that have tasks, which the dead process may have leased.
const WITH_TASKS: [&str; 3] = ["inventory", "payment", "saga"];
const LEASES_END: &str = "UPDATE eventsourcing.tasks SET leased_until = now() WHERE leased_until IS NOT NULL";

#[tokio::test]
async fn at_whatever_point_the_shop_dies_every_acknowledged_order_ends_and_the_books_are_right() {
    let mut shop = Shop::start().await;
    let goods = shop.api().goods(PRICE, STOCK).await;
    for point in POINTS {
        for passing in if is_long() { PASSINGS_LONG } else { PASSINGS } {
            let begin = Instant::now();
            let (acknowledged, unanswered) = die_and_recover(&mut shop, &goods, point, *passing).await;
            say(format!(
                "fault: {point:<17} at passing {passing:>3}: {acknowledged:>3} orders acknowledged, {unanswered} unanswered \
                 ones repeated, all at their end, audit clean, {:.1} s",
                begin.elapsed().as_secs_f64()
            ));
        }
    }
}

async fn die_and_recover(shop: &mut Shop, goods: &Goods, point: &str, passing: u64) -> (usize, usize) {
    shop.kill();
    shop.set(VARIABLE, Some(&format!("{point}:{passing}")));
    let said = shop.log().len();
    let mut buyers = Vec::new();
    let status = match shop.try_restart().await {
        Ok(()) => {
            let api = shop.api();
            let shopping = |buyer| tokio::spawn(shop_until_it_dies(api.clone(), goods.clone(), buyer));
            buyers.extend((0..BUYERS).map(shopping));
            shop.died(REACH_DEADLINE).await
        }
        // What is passed every second comes often enough while a slow machine starts the shop.
        Err(status) => status,
    };
    assert_eq!(status.signal(), Some(SIGABRT), "it died of something else than {point}: {status}");
    assert!(shop.log()[said..].contains(&format!("fault: {point} is reached")), "{point} was not reached");
    let (mut acknowledged, mut unanswered) = (Vec::new(), Vec::new());
    for buyer in join_all(buyers).await {
        let (placed, request) = buyer.expect("no buyer panics");
        acknowledged.extend(placed);
        unanswered.extend(request);
    }

    if !is_long() {
        // They end by themselves, only later.
        for service in WITH_TASKS {
            tamper(shop, service, LEASES_END).await;
        }
    }
    shop.set(VARIABLE, None);
    shop.restart().await;
    let api = shop.api();
    let repeated = unanswered.len();
    for request in unanswered {
        let placed = request.answered(&api).await;
        assert_eq!(request.answered(&api).await, placed, "a repeat is the same order");
        acknowledged.push(placed);
    }
    all_end(&api, &acknowledged).await;
    for placed in &acknowledged {
        let order = api.order(placed).await;
        let status = order["status"].as_str().unwrap_or_default();
        let ends = ["ORDER_STATUS_CONFIRMED", "ORDER_STATUS_REJECTED", "ORDER_STATUS_CANCELLED"];
        assert!(ends.contains(&status), "{order}");
    }
    shop.audit().await;
    (acknowledged.len() - repeated, repeated)
}

/// Places orders until the shop is gone. Returns those that were acknowledged, and the one that was not.
async fn shop_until_it_dies(api: Api, goods: Goods, buyer: usize) -> (Vec<Placed>, Option<Request>) {
    let mut acknowledged = Vec::new();
    loop {
        let turn = acknowledged.len();
        let request = Request::new(&order_of(&goods, 1, PAYMENTS[(buyer + turn) % PAYMENTS.len()]));
        let Some(placed) = request.send(&api).await else { return (acknowledged, Some(request)) };
        if (buyer + turn).is_multiple_of(CANCELLED_ONE_IN) {
            let cancel = json!({"reason": "CHANGED_MY_MIND"});
            let call = api.post(&format!("/v1/orders/{}:cancel", placed.order_id), &cancel);
            // It may have ended already, and the shop may be gone.
            call.bearer(&placed.token).key(&placed.order_id).try_send().await.ok();
        }
        acknowledged.push(placed.clone());
        if acknowledged.len().is_multiple_of(ORDERS_IN_A_ROW) && !ends_before_the_shop(&api, &placed).await {
            return (acknowledged, None);
        }
    }
}

/// Waits for the end of an order, or of the shop.
async fn ends_before_the_shop(api: &Api, placed: &Placed) -> bool {
    loop {
        let call = api.get(&format!("/v1/orders/{}", placed.order_id)).bearer(&placed.token);
        match call.at_position(&placed.position).try_send().await {
            // Who asks a shop that is behind is told to come again.
            Ok(answer) if answer.status == 503 => tokio::time::sleep(LOOK_PAUSE).await,
            Ok(answer) if answer.ok()["order"]["status"] != "ORDER_STATUS_PENDING" => return true,
            Ok(_) => tokio::time::sleep(LOOK_PAUSE).await,
            Err(_) => return false,
        }
    }
}
