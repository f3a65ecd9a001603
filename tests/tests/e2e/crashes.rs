//! The shop dies, or is stopped, while people shop. Whatever it acknowledged comes to its end, whoever repeats a request
//! gets the answer of the first, and the books are right.

use std::collections::HashSet;
use std::future::ready;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e_tests::shoppers::{Request, all_end, everything_ends};
use e2e_tests::trade::{ORDER_DEADLINE, PRICE, order_of, tokens};
use e2e_tests::{Shop, eventually, number};
use futures::future::join_all;
use testkit::{is_long, say};

const KILLS: usize = 10;
/// Kills in the middle of a demo.
const DEMO_KILLS: usize = 10;
const DEMO_KILLS_LONG: usize = 50;
const BUYERS: usize = 20;
/// "At once", for a debug build on a slow machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(30);
/// How long a demo takes to import its products.
const DEMO_BEGINS: Duration = Duration::from_secs(2);
/// How long after its first order it takes to have all of them paid.
const DEMO_PAYS: Duration = Duration::from_secs(10);
/// A whole demo, its slowest payments included.
const DEMO_DEADLINE: Duration = Duration::from_secs(180);
/// Buyers that keep placing orders while the shop is stopped.
const STEADY_BUYERS: usize = 8;
/// So many orders are acknowledged before the stop.
const ORDERS_BEFORE_STOP: usize = 40;

fn moment_before(end: Duration) -> Duration {
    Duration::from_micros(rand::random_range(0..=end.as_micros().try_into().unwrap_or(u64::MAX)))
}

/// A demo that runs, and what it has printed.
struct Demo {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Ends with the demo.
    reader: Option<JoinHandle<()>>,
}

impl Demo {
    fn start(shop: &Shop) -> Self {
        let mut command = shop.command();
        command.arg("demo").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the shop's binary runs");
        let printed = BufReader::new(child.stdout.take().expect("it is piped"));
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let read = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in printed.lines() {
                read.lock().expect("nobody panics").push(line.expect("it prints UTF-8"));
            }
        });
        Self { child, lines, reader: Some(reader) }
    }

    /// The orders that were acknowledged so far.
    fn placed(&self) -> Vec<String> {
        let lines = self.lines.lock().expect("nobody panics");
        let placed =
            lines.iter().filter_map(|line| Some(line.split_once("placed as ")?.1.split_once(',')?.0));
        placed.map(str::to_owned).collect()
    }

    /// Waits until it has placed an order, or has come to its end.
    async fn shops(&mut self) {
        eventually("the demo places an order", DEMO_DEADLINE, || {
            let ended = self.child.try_wait().expect("the child is ours").is_some();
            ready((ended || !self.placed().is_empty()).then_some(()))
        })
        .await;
    }

    /// Kills it and returns the orders that were acknowledged.
    fn end(mut self) -> Vec<String> {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
        self.reader.take().map(JoinHandle::join);
        self.placed()
    }
}

#[tokio::test]
async fn after_a_kill_with_20_orders_under_way_every_repeat_is_the_same_one_order_and_one_capture() {
    let mut shop = Shop::start().await;
    let api = shop.api();
    let sold = (KILLS * BUYERS) as i64;
    let goods = api.goods(PRICE, sold).await;
    let order = order_of(&goods, 1, tokens::SUCCESS);
    let mut placed = Vec::new();
    let mut acknowledged = 0;
    // How long one round takes tells which moments are worth a kill.
    let mut round = Duration::from_millis(300);
    for _ in 0..KILLS {
        let requests: Arc<Vec<Request>> = Arc::new((0..BUYERS).map(|_| Request::new(&order)).collect());
        let api = shop.api();
        let placing = tokio::spawn({
            let (api, requests) = (api.clone(), Arc::clone(&requests));
            async move { join_all(requests.iter().map(|request| request.send(&api))).await }
        });
        tokio::time::sleep(moment_before(round / 2)).await;
        shop.kill();
        let before = placing.await.expect("no buyer panics");
        shop.restart().await;
        let api = shop.api();
        let begin = Instant::now();
        let after = join_all(requests.iter().map(async |request| {
            let placed = request.answered(&api).await;
            (placed, begin.elapsed())
        }))
        .await;
        for (before, (after, took)) in before.iter().zip(&after) {
            assert!(*took < AT_ONCE, "the repeat was answered after {took:?}");
            if let Some(before) = before {
                acknowledged += 1;
                assert_eq!(before, after, "the repeat of an acknowledged order is that order");
            }
        }
        round = begin.elapsed().max(Duration::from_millis(50));
        placed.extend(after.into_iter().map(|(placed, _)| placed));
    }
    say(format!("crowd: {acknowledged} of {sold} orders were acknowledged before one of {KILLS} kills"));

    let api = shop.api();
    all_end(&api, &placed).await;
    let distinct: HashSet<&str> = placed.iter().map(|placed| placed.order_id.as_str()).collect();
    assert_eq!(distinct.len(), KILLS * BUYERS, "every buyer has an order of their own");
    assert_eq!(api.list("/v1/orders", "", "orders").await.len(), KILLS * BUYERS, "there is no other order");
    for placed in &placed {
        assert_eq!(api.order(placed).await["status"], "ORDER_STATUS_CONFIRMED");
        let payment = api.payment_with_status(&placed.order_id, "PAYMENT_STATUS_CAPTURED").await;
        assert_eq!(number(&payment, "/captured/minorUnits"), PRICE, "{payment}");
        assert_eq!(number(&payment, "/refunded/minorUnits"), 0, "{payment}");
    }
    assert_eq!(
        api.list("/v1/payments", "", "payments").await.len(),
        KILLS * BUYERS,
        "nobody else was charged"
    );
    api.stock_becomes(&goods.sku, 0, 0, sold).await;
    shop.audit().await;
}

#[tokio::test]
async fn after_a_kill_at_any_moment_of_the_demo_every_acknowledged_order_reaches_its_end() {
    let mut shop = Shop::start().await;
    let mut acknowledged = HashSet::new();
    let kills = if is_long() { DEMO_KILLS_LONG } else { DEMO_KILLS };
    for kill in 0..kills {
        let mut demo = Demo::start(&shop);
        if kill % 2 == 0 {
            tokio::time::sleep(moment_before(DEMO_BEGINS)).await;
        } else {
            demo.shops().await;
            tokio::time::sleep(moment_before(DEMO_PAYS)).await;
        }
        shop.kill();
        acknowledged.extend(demo.end());
        shop.restart().await;
    }
    say(format!("demo: {} orders were acknowledged before one of {kills} kills", acknowledged.len()));
    assert!(!acknowledged.is_empty(), "no kill came after an order");

    let api = shop.api();
    for order_id in &acknowledged {
        eventually(&format!("{order_id} ends"), ORDER_DEADLINE, async || {
            let order = api.get(&format!("/v1/orders/{order_id}")).operator().ok().await;
            let ends = ["ORDER_STATUS_CONFIRMED", "ORDER_STATUS_REJECTED", "ORDER_STATUS_CANCELLED"];
            ends.contains(&order["order"]["status"].as_str()?).then_some(())
        })
        .await;
    }
    everything_ends(&api).await;
    shop.audit().await;
    // What was interrupted so often can still be done.
    shop.run(&["demo"], DEMO_DEADLINE).await.ok();
    shop.audit().await;
}

#[tokio::test]
async fn a_shop_that_is_asked_to_stop_under_load_answers_what_it_took_and_forgets_none_of_it() {
    let mut shop = Shop::start().await;
    let api = shop.api();
    let goods = api.goods(PRICE, 100_000).await;
    let order = order_of(&goods, 1, tokens::SUCCESS);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let buyers: Vec<_> = (0..STEADY_BUYERS)
        .map(|_| {
            let (api, order, acknowledged) = (api.clone(), order.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                loop {
                    let request = Request::new(&order);
                    match request.send(&api).await {
                        Some(placed) => acknowledged.lock().expect("no buyer panics").push(placed),
                        None => return request,
                    }
                }
            })
        })
        .collect();
    eventually("orders are placed", ORDER_DEADLINE, async || {
        (acknowledged.lock().expect("no buyer panics").len() >= ORDERS_BEFORE_STOP).then_some(())
    })
    .await;
    let status = shop.stop().await;
    assert_eq!(status.code(), Some(0), "a stop that was asked for is no failure");
    assert!(!Shop::has_database_running(&shop.data()), "its PostgreSQL stops with it");
    let unanswered = join_all(buyers).await;

    shop.restart().await;
    let api = shop.api();
    let mut placed = acknowledged.lock().expect("no buyer panics").clone();
    for request in unanswered {
        let request = request.expect("no buyer panics");
        placed.push(request.answered(&api).await);
    }
    all_end(&api, &placed).await;
    for placed in &placed {
        assert_eq!(api.order(placed).await["status"], "ORDER_STATUS_CONFIRMED");
    }
    assert_eq!(api.list("/v1/orders", "", "orders").await.len(), placed.len(), "there is no other order");
    shop.audit().await;
}
