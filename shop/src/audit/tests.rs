//! Shops that pass, and shops that were tampered with: every check is seen to fail, alone, on a database that was
//! changed behind the back of its service.

mod rebuilds;
mod scene;

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use super::{Log, Verdict};
use scene::{Injected, Scene, placed};

/// Orders of every outcome.
struct Orders {
    confirmed: Uuid,
    second: Uuid,
    refunded_by_hand: Uuid,
    sold_out: Uuid,
    free_sold_out: Uuid,
    declined: Uuid,
    cancelled: Uuid,
    /// The provider does not say what became of its authorization.
    unknown: Uuid,
}

/// More pieces than there are.
const TOO_MANY: i64 = 1000;

async fn every_outcome(scene: &Scene) -> Orders {
    let confirmed = scene.place("MUG", 2, "tok_success").await;
    let second = scene.place("PEN", 1, "tok_success").await;
    let refunded_by_hand = scene.place("MUG", 1, "tok_success").await;
    let declined = scene.place("PEN", 1, "tok_decline").await;
    let cancelled = scene.place("PEN", 3, "tok_success").await;
    let free = scene.place("FREE", 1, "").await;
    let unknown = scene.place("PEN", 1, "tok_unknown_until_asked").await;
    let not_captured = scene.place("PEN", 1, "tok_capture_fails").await;
    let told_twice = scene.place("PEN", 1, "tok_webhook_twice").await;
    let told_late = scene.place("MUG", 1, "tok_webhook_reordered").await;
    let not_refunded = scene.place("MUG", 1, "tok_refund_fails").await;
    let called_off = scene.place("MUG", 1, "tok_success").await;
    scene.cancel(called_off).await;
    for order in [confirmed, second, refunded_by_hand, cancelled, free, told_twice, told_late, not_refunded] {
        scene.reaches(order, "confirmed").await;
    }
    // By now each of these has a piece less than is wanted.
    let sold_out = scene.place("MUG", TOO_MANY, "tok_success").await;
    let free_sold_out = scene.place("FREE", TOO_MANY, "").await;
    for order in [cancelled, not_refunded] {
        scene.cancel(order).await;
    }
    for order in [called_off, cancelled] {
        scene.reaches(order, "cancelled").await;
    }
    for order in [sold_out, free_sold_out, declined, not_captured] {
        scene.reaches(order, "rejected").await;
    }
    scene.refund(refunded_by_hand, 700).await;
    scene.eventually_there(Log::Payment, "SELECT 1 FROM payments WHERE status = 'unknown'").await;
    for event in ["OutcomeUnknown", "RefundRefused"] {
        let waits = format!("SELECT 1 FROM eventlog.events WHERE type = '{event}'");
        scene.eventually_there(Log::Saga, &waits).await;
    }
    Orders { confirmed, second, refunded_by_hand, sold_out, free_sold_out, declined, cancelled, unknown }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_with_orders_of_every_outcome_passes_while_it_runs_and_when_it_is_stopped() {
    let mut scene = Scene::open().await;
    every_outcome(&scene).await;
    Scene::assert_passes(&scene.audit().await);
    scene.stop().await;
    let report = scene.audit().await;
    Scene::assert_passes(&report);
    let idle: Vec<_> =
        report.findings.iter().filter(|f| f.judged == 0 && !f.check.contains("parked")).collect();
    let idle: Vec<_> = idle.into_iter().filter(|f| f.check != "orders-in-motion").collect();
    assert!(idle.is_empty(), "every check looked at something: {idle:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_shop_passes_at_every_moment() {
    let scene = Scene::open().await;
    let mut orders = Vec::new();
    for round in 0..10 {
        for _ in 0..4 {
            orders.push((scene.place("PEN", 1, "tok_success").await, "confirmed"));
            orders.push((scene.place("PEN", 1, "tok_decline").await, "rejected"));
            orders.push((scene.place("FREE", 2, "").await, "confirmed"));
        }
        if let Some((order, outcome)) = orders.get_mut(round * 12) {
            scene.reaches(*order, "confirmed").await;
            scene.cancel(*order).await;
            *outcome = "cancelled";
        }
        Scene::assert_passes(&scene.audit().await);
    }
    for (order, outcome) in orders {
        scene.reaches(order, outcome).await;
    }
    Scene::assert_passes(&scene.audit().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_without_any_event_passes() {
    let shop = Scene::empty().await;
    Scene::assert_passes(&shop.audit().await);
}

#[test]
fn the_logs_have_the_names_that_their_services_gave_them() {
    let services = [
        product_service::LOG,
        inventory_service::LOG,
        order_service::LOG,
        payment_service::LOG,
        saga_orchestrator::LOG,
    ];
    assert_eq!(Log::ALL.map(Log::name), services);
    assert!(Log::ALL.iter().all(|log| Log::of_name(log.name()) == Some(*log)));
}

/// Broken behind the scenes, step by step; each step breaks one check, and the others stay as they were.
struct Tampered {
    scene: Scene,
    before: BTreeMap<String, u64>,
}

impl Tampered {
    async fn shop() -> (Self, Orders) {
        let mut scene = Scene::open().await;
        let orders = every_outcome(&scene).await;
        scene.stop().await;
        Scene::assert_passes(&scene.audit().await);
        (Self { scene, before: BTreeMap::new() }, orders)
    }

    /// What was done to the shop since the last look is found by this check alone, or by these (joined by ` + `).
    #[track_caller]
    fn assert_breaks(&mut self, check: &str, what: &str, now: BTreeMap<String, u64>) {
        let worse: Vec<_> =
            now.iter().filter(|(check, failed)| self.before.get(*check) != Some(*failed)).collect();
        assert_eq!(
            worse.iter().map(|(check, _)| check.as_str()).collect::<Vec<_>>(),
            check.split(" + ").collect::<Vec<_>>(),
            "{what}: {worse:?}"
        );
        println!("{what}: found by {check}");
        self.before = now;
    }

    async fn sql(&mut self, log: Log, sql: &str, check: &str) {
        self.scene.tamper(log, sql).await;
        let now = self.scene.broken().await;
        self.assert_breaks(check, sql, now);
    }

    async fn inject(&mut self, log: Log, event: Injected<'_>, check: &str) {
        let what = format!("{} in {}", event.event_type, log.name());
        self.scene.inject(log, event).await;
        let now = self.scene.broken().await;
        self.assert_breaks(check, &what, now);
    }

    /// The same for an event that the orchestrator seems to have handled.
    async fn inject_heard(&mut self, log: Log, event: Injected<'_>, check: &str) {
        let what = format!("{} in {}", event.event_type, log.name());
        let id = self.scene.inject(log, event).await;
        self.scene.heard(hears(log), log, id).await;
        let now = self.scene.broken().await;
        self.assert_breaks(check, &what, now);
    }
}

fn hears(log: Log) -> &'static str {
    match log {
        Log::Order => "saga.order-events",
        Log::Inventory => "saga.inventory-events",
        Log::Payment => "saga.payment-events",
        Log::Product | Log::Saga => panic!("the orchestrator does not follow it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_a_subscription_or_a_catalogue_that_was_tampered_with_is_found_out() {
    let (mut shop, orders) = Tampered::shop().await;
    tamper_with_subscriptions(&mut shop).await;
    tamper_with_the_catalogue(&mut shop).await;
    tamper_with_a_log(&mut shop, &orders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goods_orders_and_money_that_were_tampered_with_are_found_out() {
    let (mut shop, orders) = Tampered::shop().await;
    tamper_with_goods(&mut shop, &orders).await;
    tamper_with_orders(&mut shop, &orders).await;
    tamper_with_money(&mut shop, &orders).await;
}

async fn tamper_with_a_log(shop: &mut Tampered, orders: &Orders) {
    let reaffirmed = json!({"outcome": {"confirmed": {}}});
    let stream = format!("order-{}", orders.confirmed);
    let hole = Injected { skip_versions: 1, ..Injected::new(stream, "OrderOutcomeReaffirmed", reaffirmed) };
    shop.inject(Log::Order, hole, "log-versions").await;
    let unknown = Injected::new(format!("order-{}", orders.second), "OrderTeleported", json!({}));
    shop.inject(Log::Order, unknown, "log-decodes").await;
    let strange = Injected::new("parcel-1", "OrderShipped", json!({}));
    shop.inject(Log::Order, strange, "log-decodes").await;
    let twice = "UPDATE eventlog.events SET event_id = (SELECT event_id FROM eventlog.events ORDER BY position LIMIT 1) \
                  WHERE position = (SELECT max(position) FROM eventlog.events)";
    shop.sql(Log::Product, twice, "log-event-ids").await;
    let unanswered = "DELETE FROM eventlog.command_results WHERE command_id = \
                       (SELECT command_id FROM eventlog.events ORDER BY position LIMIT 1)";
    shop.sql(Log::Product, unanswered, "log-answers").await;
    let ahead = "UPDATE eventsourcing.checkpoints SET position = position + 1000 WHERE subscription = 'order.catalogue'";
    shop.sql(Log::Order, ahead, "log-checkpoints").await;
}

async fn tamper_with_goods(shop: &mut Tampered, orders: &Orders) {
    let pieces = json!({"order_id": orders.confirmed, "quantity": 1});
    let held = Injected::new("stock-MUG", "PiecesReserved", pieces);
    shop.inject(Log::Inventory, held, "stock-adds-up").await;
    let lost = json!({"delta": -5000, "reason": "lost"});
    let short = Injected::new("stock-PEN", "StockAdjusted", lost);
    shop.inject(Log::Inventory, short, "stock-shortfalls").await;
    let stream = format!("reservation-{}", orders.sold_out);
    let second_end = Injected::new(stream, "ReservationExpired", json!({}));
    shop.inject(Log::Inventory, second_end, "stock-reservations").await;
    let no_timer = "DELETE FROM eventsourcing.tasks WHERE queue = 'inventory.reservation-expiry'";
    shop.sql(Log::Inventory, no_timer, "stock-timers").await;
}

async fn tamper_with_money(shop: &mut Tampered, orders: &Orders) {
    let eur = |minor_units: i64| json!({"minor_units": minor_units, "currency": "EUR"});
    // A saga paid back what a confirmed order owes, and the provider agrees.
    let order = orders.refunded_by_hand;
    let refund_id = Uuid::now_v7().to_string();
    let started =
        json!({"refund_id": refund_id, "amount": eur(500), "reason": "", "provider_reference": "x"});
    let started = Injected {
        actor: "payment.saga-requests",
        ..Injected::new(format!("payment-{order}"), "RefundStarted", started)
    };
    shop.scene.inject(Log::Payment, started).await;
    let provider =
        format!("UPDATE simulator_payments SET refunded = refunded + 500 WHERE order_id = '{order}'");
    shop.scene.tamper(Log::Payment, &provider).await;
    let refunded = json!({"refund_id": refund_id, "amount": eur(500)});
    let refunded = Injected::new(format!("payment-{order}"), "Refunded", refunded);
    shop.inject_heard(Log::Payment, refunded, "payments-owed").await;

    let again =
        Injected::new(format!("payment-{}", orders.confirmed), "Captured", json!({"amount": eur(2400)}));
    shop.inject(Log::Payment, again, "payments-one-capture").await;
    let refund = json!({"refund_id": "x", "amount": eur(1)});
    let unasked = Injected::new(format!("payment-{}", orders.second), "Refunded", refund);
    shop.inject(Log::Payment, unasked, "payments-refunds").await;
    let charged_twice = format!(
        "INSERT INTO simulator_payments SELECT 'charged-twice', order_id, token, currency, amount, status, refunded \
           FROM simulator_payments WHERE order_id = '{}'",
        orders.confirmed
    );
    shop.sql(Log::Payment, &charged_twice, "payments-provider").await;
    let no_call = "DELETE FROM eventsourcing.tasks WHERE queue = 'payment.provider-calls'";
    shop.sql(Log::Payment, no_call, "payments-calls").await;
}

async fn tamper_with_orders(shop: &mut Tampered, orders: &Orders) {
    let ghost = Uuid::now_v7();
    let data = serde_json::to_value(placed(ghost, "PEN", 1, "tok_success")).unwrap();
    let forgotten = Injected::new(format!("order-{ghost}"), "OrderPlaced", data);
    shop.inject_heard(Log::Order, forgotten, "orders-sagas").await;
    let unwanted = json!({"reason": "CHANGED_MIND", "while_pending": false});
    let unheard_wish =
        Injected::new(format!("order-{}", orders.second), "OrderCancellationRequested", unwanted);
    shop.inject_heard(Log::Order, unheard_wish, "orders-sagas").await;
    let given_away = Injected::new(format!("order-{}", orders.free_sold_out), "OrderConfirmed", json!({}));
    shop.inject_heard(Log::Order, given_away, "orders-goods").await;
    let held = Injected::new(
        format!("payment-{}", orders.declined),
        "Authorized",
        json!({"provider_reference": "another"}),
    );
    let holds = format!(
        "INSERT INTO simulator_payments VALUES ('another', '{}', 'tok_success', 'EUR', 300, 'authorized')",
        orders.declined
    );
    shop.scene.tamper(Log::Payment, &holds).await;
    shop.before = shop.scene.broken().await;
    let id = shop.scene.inject(Log::Payment, held).await;
    shop.scene.heard(hears(Log::Payment), Log::Payment, id).await;
    let mut now = shop.scene.broken().await;
    // Now log and provider agree again, on what should not be.
    assert_eq!(now.remove("payments-provider"), None);
    shop.before.remove("payments-provider");
    shop.assert_breaks("orders-holds", "money held for a declined order", now);
    let tombstone = Injected::new(format!("reservation-{}", Uuid::now_v7()), "StockReleased", json!({}));
    shop.inject(Log::Inventory, tombstone, "orders-exist").await;
    let no_timer = "DELETE FROM eventsourcing.tasks WHERE queue = 'saga.timers'";
    shop.sql(Log::Saga, no_timer, "sagas-in-time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_beyond_its_deadline_is_broken_in_a_shop_that_runs_and_a_warning_once_it_is_stuck() {
    let (mut shop, orders) = Tampered::shop().await;
    let late =
        json!({"request": "PinReservation", "attempt": 9, "tries": 9, "answer_by": "2020-01-01T00:00:00Z"});
    let late = Injected::new(format!("checkout-{}", orders.unknown), "StepRequested", late);
    shop.scene.inject(Log::Saga, late).await;
    assert!(shop.scene.broken().await.is_empty(), "it goes on when the shop is started");
    let mut runner = shop.scene.admin(Log::Saga).await;
    sqlx::query("SELECT pg_advisory_lock(1)").execute(&mut runner).await.unwrap();
    let now = shop.scene.broken().await;
    shop.assert_breaks("sagas-in-time", "a deadline that passed", now);

    // One that is stuck has no deadline, and waits for a person like a message that is parked.
    let parked = "INSERT INTO eventsourcing.parked_messages (subscription, position, message_id, key, message, error) \
                  VALUES ('order.saga-requests', 1, gen_random_uuid(), 'checkout-x', '{}', 'broken')";
    shop.scene.tamper(Log::Order, parked).await;
    let stuck = json!({"step": "AuthorizePayment", "reason": "OUTCOME_UNKNOWN"});
    let stuck = Injected::new(format!("checkout-{}", orders.unknown), "SagaStuck", stuck);
    shop.scene.inject(Log::Saga, stuck).await;
    // So is the document of a product that an older program made.
    shop.scene.tamper(Log::Product, "UPDATE product_search SET format = 0 WHERE name_key = 'a pen'").await;
    let report = shop.scene.audit().await;
    Scene::assert_passes(&report);
    let warnings = report.findings.iter().filter(|finding| finding.verdict == Verdict::Warning);
    let mut warnings: Vec<&str> = warnings.map(|finding| finding.check.as_str()).collect();
    warnings.sort_unstable();
    assert_eq!(warnings, ["messages-parked", "sagas-stuck", "search-documents-older"]);
}

async fn tamper_with_the_catalogue(shop: &mut Tampered) {
    let price = json!({"minor_units": 1, "currency": "EUR"});
    let variant = json!({"sku": "MUG", "option_values": ["blue"], "price": price});
    let data = json!({"variants": [variant], "on_sale": false});
    let stream =
        "SELECT stream_id FROM eventlog.events WHERE type = 'ProductCreated' ORDER BY position DESC LIMIT 1";
    let mut admin = shop.scene.admin(Log::Product).await;
    let stream: String = sqlx::query_scalar(stream).fetch_one(&mut admin).await.unwrap();
    let taken = Injected::new(stream, "VariantsAdded", data);
    shop.inject(Log::Product, taken, "catalogue-skus").await;
    let sql = "DELETE FROM eventsourcing.tasks WHERE queue = 'product.price-schedule'";
    shop.sql(Log::Product, sql, "price-timers").await;
    for sql in [
        "UPDATE catalogue_variants SET unit_price = 1 WHERE sku = 'MUG'",
        "UPDATE catalogue_products SET discontinued = true WHERE name = 'A PEN'",
        "DELETE FROM catalogue_variants WHERE sku = 'FREE'",
    ] {
        shop.sql(Log::Order, sql, "catalogue-copy").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_that_were_tampered_with_are_found_out() {
    let (mut shop, orders) = Tampered::shop().await;
    let of = |sql: &str, order: Uuid| format!("{sql} WHERE order_id = '{order}'");
    let stranger = "INSERT INTO sagas SELECT (jsonb_populate_record(s, '{\"saga_id\": \"checkout-x\"}')).* FROM sagas s \
                    LIMIT 1";
    let (one, other) = (orders.confirmed, orders.cancelled);
    for (log, sql, check) in [
        (
            Log::Product,
            "UPDATE products SET name = 'other' WHERE name = 'A MUG'",
            "read-model-products + read-model-search",
        ),
        (
            Log::Product,
            "UPDATE product_search SET lowest_price = 1 WHERE name_key = 'a pen'",
            "read-model-search",
        ),
        (Log::Product, "DELETE FROM search_words WHERE word = 'pen'", "read-model-search"),
        (Log::Product, "UPDATE search_terms SET products = products + 1", "read-model-search"),
        (Log::Product, "DELETE FROM variants WHERE sku = 'MUG'", "read-model-variants"),
        (Log::Product, "UPDATE products SET scheduled_count = 2 WHERE name = 'A PEN'", "read-model-products"),
        (
            Log::Product,
            "UPDATE scheduled_prices SET price = 9 WHERE sku = 'PEN'",
            "read-model-scheduled-prices",
        ),
        (Log::Product, "DELETE FROM scheduled_prices WHERE sku = 'MUG'", "read-model-scheduled-prices"),
        (Log::Product, "UPDATE availability SET in_stock = false", "read-model-availability"),
        (Log::Inventory, "UPDATE stock_levels SET reserved = 7 WHERE sku = 'MUG'", "read-model-stock"),
        (Log::Inventory, &of("UPDATE reservations SET status = 'held'", one), "read-model-reservations"),
        (Log::Order, &of("UPDATE orders SET total = 1", one), "read-model-orders"),
        (Log::Order, &of("DELETE FROM orders", other), "read-model-orders"),
        (Log::Payment, &of("UPDATE payments SET captured = NULL", one), "read-model-payments"),
        (Log::Payment, "UPDATE refunds SET amount = 1", "read-model-refunds"),
        (Log::Saga, "UPDATE sagas SET attempts = attempts + 4", "read-model-sagas"),
        (Log::Saga, stranger, "read-model-sagas"),
    ] {
        shop.sql(log, sql, check).await;
    }
}

async fn tamper_with_subscriptions(shop: &mut Tampered) {
    for (log, reactor) in [
        (Log::Inventory, "inventory.saga-requests"),
        (Log::Payment, "payment.saga-requests"),
        (Log::Order, "order.saga-requests"),
        (Log::Saga, "saga.order-events"),
        (Log::Saga, "saga.inventory-events"),
        (Log::Saga, "saga.payment-events"),
    ] {
        let check = format!("applied-once {reactor}");
        let lost = format!(
            "UPDATE eventlog.command_results SET scope = 'test' WHERE command_id = (SELECT command_id \
               FROM eventlog.command_results WHERE scope = 'subscription:{reactor}' LIMIT 1)"
        );
        shop.sql(log, &lost, &check).await;
        let invented = format!(
            "INSERT INTO eventlog.command_results (scope, command_id, request_hash, outcome, position, expires) \
             VALUES ('subscription:{reactor}', gen_random_uuid(), '', '{{}}', 0, false)"
        );
        shop.sql(log, &invented, &check).await;
    }
    let stranger = "INSERT INTO eventlog.command_results (scope, command_id, request_hash, outcome, position, expires) \
                    VALUES ('subscription:order.stranger', gen_random_uuid(), '', '{}', 0, false)";
    shop.sql(Log::Order, stranger, "applied-by-known").await;
}
