//! Shoppers who go on while things break: every request has a key and is repeated with it until it is answered, and what
//! was acknowledged is remembered, so that a test can say in the end that all of it came to its end, once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use testkit::eventually;
use tokio::task::JoinHandle;

use crate::trade::{Goods, ORDER_DEADLINE, Placed, order_of, tokens, unique};
use crate::{ANSWER_DEADLINE, Api};

/// Who was not answered comes again after so long.
const COME_AGAIN: Duration = Duration::from_millis(50);
/// A shopper sees one order to its end before the next, but waits no longer than this: so what waits does not grow
/// without bounds while orders stand still.
const PATIENCE: Duration = Duration::from_secs(1);

/// A shopper's request, as it is repeated after a crash.
#[derive(Debug)]
pub struct Request {
    key: String,
    body: Value,
}

impl Request {
    /// An order with a key of its own.
    pub fn new(body: &Value) -> Self {
        Self { key: unique("order"), body: body.clone() }
    }

    /// None when the shop went before it answered.
    ///
    /// # Panics
    /// When the shop refuses.
    pub async fn send(&self, api: &Api) -> Option<Placed> {
        let answer = api.post("/v1/orders", &self.body).key(&self.key).try_send().await.ok()?;
        // A shop that is about to stop may say so instead.
        (answer.status != 503).then(|| Placed::from_answer(&answer))
    }

    /// The answer of a shop that is there. Who is told to come again does so.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn answered(&self, api: &Api) -> Placed {
        eventually("the shop answers", ANSWER_DEADLINE, async || self.send(api).await).await
    }

    /// The same, with what went wrong before the answer.
    async fn persisted(&self, api: &Api) -> (Placed, Vec<String>) {
        let begun = Instant::now();
        let mut failures = Vec::new();
        loop {
            match api.post("/v1/orders", &self.body).key(&self.key).try_send().await {
                Ok(answer) if answer.status == 200 => return (Placed::from_answer(&answer), failures),
                // A shop in trouble says so in one of these ways; everything else is a wrong answer.
                Ok(answer) if [502, 503, 504].contains(&answer.status) => failures.push(answer.to_string()),
                Ok(answer) => panic!("{answer}"),
                Err(error) => failures.push(format!("{error:?}")),
            }
            assert!(begun.elapsed() < ORDER_DEADLINE, "never answered: {failures:?}");
            tokio::time::sleep(COME_AGAIN).await;
        }
    }
}

/// Shoppers who order one piece after another until they are told to stop.
pub struct Shoppers {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What shoppers met with.
#[derive(Debug, Default)]
pub struct Seen {
    /// All that was acknowledged.
    pub placed: Vec<Placed>,
    /// Every answer that was none, though the repeat was answered.
    pub failures: Vec<String>,
}

impl Shoppers {
    /// So many at the same time, all for the same goods.
    pub fn start(api: &Api, goods: &Goods, shoppers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::<Mutex<Seen>>::default();
        let order = order_of(goods, 1, tokens::SUCCESS);
        let tasks = (0..shoppers)
            .map(|_| {
                let (api, order) = (api.clone(), order.clone());
                let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let (placed, failures) = Request::new(&order).persisted(&api).await;
                        {
                            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                            seen.placed.push(placed.clone());
                            seen.failures.extend(failures);
                        }
                        tokio::time::timeout(PATIENCE, is_ended(&api, &placed)).await.ok();
                    }
                })
            })
            .collect();
        Self { stop, seen, tasks }
    }

    /// How many orders were acknowledged.
    pub fn placed(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).placed.len()
    }

    /// The order that was acknowledged last.
    ///
    /// # Panics
    /// When there is none.
    pub fn latest(&self) -> Placed {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.placed.last().expect("an order was acknowledged").clone()
    }

    /// Waits until so many more orders are acknowledged.
    ///
    /// # Panics
    /// When they are not, or a shopper was refused.
    pub async fn more(&self, orders: usize) {
        let wanted = self.placed() + orders;
        let what = format!("{orders} more orders are acknowledged");
        eventually(&what, ORDER_DEADLINE, || {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a shopper was refused");
            std::future::ready((self.placed() >= wanted).then_some(()))
        })
        .await;
    }

    /// Lets them finish what they are at, and returns what they met with.
    ///
    /// # Panics
    /// When one of them was refused.
    pub async fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for task in join_all(self.tasks).await {
            task.expect("no shopper is refused");
        }
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits for the end of an order, whatever else happens meanwhile.
async fn is_ended(api: &Api, placed: &Placed) {
    let path = format!("/v1/orders/{}", placed.order_id);
    loop {
        let answer = api.get(&path).bearer(&placed.token).try_send().await;
        let order = answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.json());
        if order.is_some_and(|order| order["order"]["status"] != "ORDER_STATUS_PENDING") {
            return;
        }
        tokio::time::sleep(COME_AGAIN).await;
    }
}

/// Waits until nothing is under way any more, and makes sure that nothing is stuck.
///
/// # Panics
/// When something is.
pub async fn everything_ends(api: &Api) {
    eventually("no order is pending", ORDER_DEADLINE, async || {
        let pending = api.list("/v1/orders", "status=ORDER_STATUS_PENDING", "orders").await;
        pending.is_empty().then_some(())
    })
    .await;
    eventually("no saga runs", ORDER_DEADLINE, async || {
        let mut running = api.list("/v1/sagas", "status=SAGA_STATUS_RUNNING", "sagas").await;
        running.extend(api.list("/v1/sagas", "status=SAGA_STATUS_COMPENSATING", "sagas").await);
        running.is_empty().then_some(())
    })
    .await;
    let stuck = api.list("/v1/sagas", "status=SAGA_STATUS_STUCK", "sagas").await;
    assert!(stuck.is_empty(), "{stuck:?}");
}

/// The same once the lists, which follow the logs, know all that was placed.
///
/// # Panics
/// When something is stuck.
pub async fn all_end(api: &Api, placed: &[Placed]) {
    for placed in placed {
        api.order(placed).await;
    }
    everything_ends(api).await;
}
