//! The read models of the whole shop made anew: they come out the same, and the audit passes before, meanwhile and after.

use std::time::Duration;

use eventsourcing::RebuildState;
use sqlx::AssertSqlSafe;
use testkit::eventually;

use super::scene::Scene;
use crate::audit::Log;

/// A rebuild makes way for others, and the machine may be full of them.
const REBUILT: Duration = Duration::from_secs(180);

/// Every model of the shop with its tables.
fn models() -> Vec<(Log, &'static str, &'static [&'static str])> {
    use inventory_service::adapters::projections as inventory;
    use order_service::adapters::projections as order;
    use payment_service::adapters::projections as payment;
    use product_service::adapters::projections as product;
    use saga_orchestrator::adapters::read_model as saga;
    let mut models = vec![
        (Log::Product, product::MODEL, product::TABLES),
        (Log::Inventory, inventory::MODEL, inventory::TABLES),
        (Log::Payment, payment::MODEL, payment::TABLES),
        (Log::Saga, saga::MODEL, saga::TABLES),
    ];
    models.extend(order::TABLES.map(|(model, tables)| (Log::Order, model, tables)));
    models
}

/// Tables beside the logs that no log can bring back, or that belong to somebody else.
const NO_MODEL: [(Log, &str); 3] = [
    (Log::Order, "personal_data_keys"),
    (Log::Payment, "simulator_calls"),
    (Log::Payment, "simulator_payments"),
];

async fn rebuild(scene: &Scene, log: Log, model: &str) {
    let rebuilds = scene.rebuilds(log);
    let before = rebuilds.switches(model).await.unwrap();
    rebuilds.begin(model).await.unwrap();
    eventually(&format!("{model} is rebuilt"), REBUILT, || async {
        let now = rebuilds.status(model).await.unwrap();
        assert_ne!(now.state, RebuildState::Failed, "{now:?}");
        (rebuilds.switches(model).await.unwrap() > before).then_some(())
    })
    .await;
}

/// The rows of a table, as texts in order.
async fn rows(scene: &Scene, log: Log, schema: &str, table: &str) -> Vec<String> {
    let sql = format!("SELECT t::text FROM \"{schema}\".{table} t ORDER BY 1");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut scene.admin(log).await).await.unwrap()
}

async fn orders_that_end(scene: &Scene) {
    let mut orders = Vec::new();
    for (sku, token, outcome) in [
        ("MUG", "tok_success", "confirmed"),
        ("FREE", "", "confirmed"),
        ("PEN", "tok_decline", "rejected"),
        ("PEN", "tok_capture_fails", "rejected"),
        ("PEN", "tok_success", "confirmed"),
        ("MUG", "tok_success", "confirmed"),
    ] {
        orders.push((scene.place(sku, 2, token).await, outcome));
    }
    for (order, outcome) in &orders {
        scene.reaches(*order, outcome).await;
    }
    scene.cancel(orders[4].0).await;
    scene.reaches(orders[4].0, "cancelled").await;
    scene.refund(orders[5].0, 700).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_model_comes_out_of_a_rebuild_as_it_was_and_whole_when_it_was_damaged() {
    let scene = Scene::open().await;
    orders_that_end(&scene).await;
    scene.caught_up().await;
    for (log, model, tables) in models() {
        rebuild(&scene, log, model).await;
        for table in tables {
            let (served, serves) = (
                rows(&scene, log, &format!("{model}@old"), table).await,
                rows(&scene, log, "public", table).await,
            );
            assert_eq!(serves, served, "{model}: {table}");
        }
    }
    Scene::assert_passes(&scene.audit().await);

    scene.tamper(Log::Product, "UPDATE products SET name = 'other'; DELETE FROM variants").await;
    scene.tamper(Log::Order, "TRUNCATE orders").await;
    scene.tamper(Log::Payment, "UPDATE payments SET captured = 1").await;
    let broken = scene.broken().await;
    let checks: Vec<_> = broken.keys().map(String::as_str).collect();
    let found = [
        "read-model-orders",
        "read-model-payments",
        "read-model-products",
        "read-model-search",
        "read-model-variants",
    ];
    assert_eq!(checks, found);
    for (log, model, _) in models() {
        rebuild(&scene, log, model).await;
    }
    Scene::assert_passes(&scene.audit().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_shop_passes_at_every_moment_while_its_read_models_are_rebuilt() {
    let scene = Scene::open().await;
    let mut orders = Vec::new();
    for (log, model, _) in &models() {
        for _ in 0..2 {
            orders.push((scene.place("PEN", 1, "tok_success").await, "confirmed"));
            orders.push((scene.place("PEN", 1, "tok_decline").await, "rejected"));
        }
        let rebuilt = rebuild(&scene, *log, model);
        let audits = async {
            for _ in 0..3 {
                Scene::assert_passes(&scene.audit().await);
            }
        };
        tokio::join!(rebuilt, audits);
    }
    for (order, outcome) in orders {
        scene.reaches(order, outcome).await;
    }
    Scene::assert_passes(&scene.audit().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_beside_the_logs_belongs_to_one_model_or_is_known_to_be_none() {
    let scene = Scene::empty().await;
    for log in Log::ALL {
        let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'";
        let mut tables: Vec<String> =
            sqlx::query_scalar(sql).fetch_all(&mut scene.admin(log).await).await.unwrap();
        tables.sort_unstable();
        let of_models = models().into_iter().filter(|(of, ..)| *of == log).flat_map(|(.., tables)| tables);
        let others = NO_MODEL.iter().filter(|(of, _)| *of == log).map(|(_, table)| table);
        let mut known: Vec<&str> = of_models.chain(others).copied().collect();
        known.sort_unstable();
        assert_eq!(tables, known, "a table of {} that its TABLES lack would not be rebuilt", log.name());
    }
}
