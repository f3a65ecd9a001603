//! Opens the five services on databases of their own and connects their feeds. Which service follows which is
//! written here and nowhere else.

use std::time::Duration;

use eventsourcing::{Migrations, Subscriptions};
use service_runtime::grpc::Services;
use service_runtime::{Readiness, Running, Secret, Shutdown, operations};

use crate::database::Database;
use crate::serve::Bus;

/// In one process everything that is appended is known at once; this only finds what another process appended,
/// such as a second shop on the same database.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The simulator is in this process: it answers within a second, or plays a provider that does not.
const SIMULATOR_TIMEOUT: Duration = Duration::from_secs(2);

/// The keys that only the order service knows.
pub struct Keys {
    pub order_tokens: Secret,
    pub personal_data: Secret,
}

/// A started service: its gRPC servers, which of them have REST routes, and what it follows.
pub struct Started {
    pub services: Services,
    pub subscriptions: Subscriptions,
    pub rest: &'static [&'static str],
}

/// Migrates every database, opens every log, and starts everything, in the order of [`crate::config::SERVICES`].
pub async fn start(
    database: &Database,
    keys: &Keys,
    bus: &Bus,
    shutdown: &Shutdown,
    readiness: &Readiness,
) -> anyhow::Result<[(&'static str, Started); 5]> {
    let (product, inventory, order, payment, saga) = tokio::try_join!(
        migrated(database, product_service::LOG, product_service::MIGRATIONS),
        migrated(database, inventory_service::LOG, inventory_service::MIGRATIONS),
        migrated(database, order_service::LOG, order_service::MIGRATIONS),
        migrated(database, payment_service::LOG, payment_service::MIGRATIONS),
        migrated(database, saga_orchestrator::LOG, saga_orchestrator::MIGRATIONS),
    )?;

    let product = product_service::ProductService::open(product_service::Options {
        log_poll_interval: POLL_INTERVAL,
        ..product_service::Options::new(product)
    })
    .await?;
    let inventory = inventory_service::InventoryService::open(inventory_service::Options {
        log_poll_interval: POLL_INTERVAL,
        ..inventory_service::Options::new(inventory)
    })
    .await?;
    let (order_tokens, personal_data) = (vec![keys.order_tokens.clone()], vec![keys.personal_data.clone()]);
    let order = order_service::OrderService::open(order_service::Options {
        log_poll_interval: POLL_INTERVAL,
        ..order_service::Options::new(order, order_tokens, personal_data)
    })
    .await?;
    let simulator = payment_service::adapters::simulator::SimulatorOptions::default();
    let calls =
        payment_service::application::CallOptions { timeout: SIMULATOR_TIMEOUT, ..Default::default() };
    let payment = payment_service::PaymentService::open(payment_service::Options {
        calls,
        log_poll_interval: POLL_INTERVAL,
        ..payment_service::Options::new(payment, payment_service::Provider::Simulator(simulator))
    })
    .await?;
    let saga = saga_orchestrator::SagaOrchestrator::open(saga_orchestrator::Options {
        log_poll_interval: POLL_INTERVAL,
        ..saga_orchestrator::Options::new(saga)
    })
    .await?;

    let (products, stock, orders, payments, requests) = tokio::try_join!(
        bus.connect(product.feed(), product.log(), shutdown, readiness),
        bus.connect(inventory.feed(), inventory.log(), shutdown, readiness),
        bus.connect(order.feed(), order.log(), shutdown, readiness),
        bus.connect(payment.feed(), payment.log(), shutdown, readiness),
        bus.connect(saga.feed(), saga.log(), shutdown, readiness),
    )?;
    let (stop, tracker) = (|| shutdown.stop_working(), || shutdown.worker_tasks());

    let upstream = product_service::Upstream { inventory: stock.clone() };
    let product = product.start(upstream, stop(), tracker()).await?;
    let upstream = inventory_service::Upstream { saga: requests.clone() };
    let inventory = inventory.start(upstream, stop(), tracker()).await?;
    let upstream = order_service::Upstream { product: products, saga: requests.clone() };
    let order = order.start(upstream, stop(), tracker()).await?;
    let upstream = payment_service::Upstream { saga: requests };
    let payment = payment.start(upstream, stop(), tracker()).await?;
    let upstream = saga_orchestrator::Upstream { order: orders, inventory: stock, payment: payments };
    let saga = saga.start(upstream, stop(), tracker()).await?;

    let started = |running: Running, rest| Started {
        services: running.services.with(operations::server(running.subscriptions.clone(), running.rebuilds)),
        subscriptions: running.subscriptions,
        rest,
    };
    Ok([
        (product_service::LOG, started(product, &["shop.product.v1.ProductService"])),
        (inventory_service::LOG, started(inventory, &["shop.inventory.v1.InventoryService"])),
        (order_service::LOG, started(order, &["shop.order.v1.OrderService"])),
        (payment_service::LOG, started(payment, &["shop.payment.v1.PaymentService"])),
        (saga_orchestrator::LOG, started(saga, &["shop.saga.v1.SagaService"])),
    ])
}

/// Makes and migrates the database of a log. Returns the URL that its service works with.
async fn migrated(database: &Database, log: &str, migrations: Migrations) -> anyhow::Result<String> {
    let urls = database.ensure_database(log).await?;
    let role = (urls.app != urls.admin).then_some(urls.app_role.as_str());
    eventsourcing::migrate(urls.admin.expose(), log, role, migrations).await?;
    Ok(urls.app.expose().to_owned())
}
