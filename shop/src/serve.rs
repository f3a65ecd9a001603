//! The composition root of the all-in-one: PostgreSQL, the five services on their logs' feeds, and the gateway
//! that calls them inside the process. It alone sees everything, and decides nothing.

mod bus;
mod services;

use std::time::{Duration, Instant};

use api_gateway::{Backend, Connections, Gateway, Lifecycle};
use service_process::{listen, watch_database};
use service_runtime::auth::Tokens;
use service_runtime::grpc::GrpcServer;
use service_runtime::metrics::{AdminServer, Metrics};
use service_runtime::{Readiness, Secret, Shutdown, telemetry};
use tokio::net::TcpListener;

use crate::config::{Config, SERVICES};
use crate::data_folder::DataFolder;
use crate::database::{Database, EmbeddedOptions};
use crate::running::{ADDRESSES_FILE, Addresses, OPERATOR_TOKEN};
pub use bus::Bus;
use services::Keys;

/// The token by which services know each other, within the data folder.
const SERVICE_TOKEN: &str = "service.token";
/// The key that order access tokens are made with, within the data folder.
const ORDER_TOKEN_KEY: &str = "order-token.key";
/// The key that the keys of personal data are sealed under, within the data folder.
const PERSONAL_DATA_KEY: &str = "personal-data.key";

/// How long the start waits, for each service, until its read models show what was acknowledged before.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Runs the shop until a signal stops it.
///
/// # Errors
/// What keeps it from serving, with what to do about it.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let begun = Instant::now();
    let _telemetry = telemetry::init(&config.telemetry)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let metrics = Metrics::install(&shutdown)?;
    let folder = DataFolder::open(&config.data)?;
    let listeners = Listeners::bind(&config).await?;
    let url = config.database_url.as_ref().map(Secret::expose);
    let progress = |step: &str| tracing::info!("{step}");
    let database = Database::start(&folder, url, &EmbeddedOptions::default(), progress).await?;
    tracing::info!("database: {}", database.description());

    let served = serve_on(&config, &folder, &database, listeners, metrics, &shutdown, begun).await;
    // The database goes last, also when something failed: what is running needs it to stop in order.
    if served.is_err() {
        shutdown.request("the start has failed");
        let _ = shutdown.run(&Readiness::new(), config.drain_limit).await;
    }
    let _ = std::fs::remove_file(folder.path().join(ADDRESSES_FILE));
    database.stop().await?;
    served
}

async fn serve_on(
    config: &Config,
    folder: &DataFolder,
    database: &Database,
    listeners: Listeners,
    metrics: Metrics,
    shutdown: &Shutdown,
    begun: Instant,
) -> anyhow::Result<()> {
    let Listeners { http, grpc: grpc_listeners, admin } = listeners;
    let readiness = Readiness::new();
    let secret = |name: &str| anyhow::Ok(Secret::new(folder.secret(name)?));
    let keys = Keys { order_tokens: secret(ORDER_TOKEN_KEY)?, personal_data: secret(PERSONAL_DATA_KEY)? };
    let tokens = Tokens::new(&[secret(OPERATOR_TOKEN)?], &[secret(SERVICE_TOKEN)?])?;

    let component = readiness.component("services");
    let running = services::start(database, &keys, &config.bus, shutdown, &readiness).await?;
    for (name, service) in &running {
        // After a crash read models are behind what was acknowledged: who asks at once shall see it all the same.
        if !service.subscriptions.caught_up(CATCH_UP).await {
            tracing::warn!(service = name, "read models are still catching up with the log");
        }
    }
    let watched = readiness.component("database");
    // The services have just been answered by it.
    watched.ready();
    let url = Secret::new(database.urls(SERVICES[0])?.app.expose());
    let watch = watch_database(url, database.advice(), watched, shutdown.stop_working());
    shutdown.spawn_worker("database watch", watch);
    let (mut backends, mut grpc) = (Vec::new(), std::collections::BTreeMap::new());
    for ((name, rpc_services), listener) in running.into_iter().zip(grpc_listeners) {
        let server = GrpcServer::new(rpc_services.services, tokens.clone(), config.server.clone(), shutdown)?;
        for rpc_service in rpc_services.rest {
            backends.push(((*rpc_service).to_owned(), Backend::new(server.service())));
        }
        let bound = server.on(listener)?;
        grpc.insert(name.to_owned(), bound.local_addr());
        shutdown.spawn_server(
            format!("gRPC of {name}"),
            bound.serve(readiness.clone(), shutdown.stop_accepting()),
        );
    }
    component.ready();

    let lifecycle = Lifecycle { probes: readiness.routes(), shutdown: shutdown.stop_accepting() };
    let options = api_gateway::Options {
        cors_origins: config.cors_origins.clone(),
        rate_limits: config.rate_limits.clone(),
        ..api_gateway::Options::default()
    };
    let rest = Gateway::build(options, contracts::FILE_DESCRIPTOR_SET, backends, lifecycle)?;
    let admin = AdminServer::on(admin, metrics, &readiness);
    let addresses = Addresses { http: http.local_addr()?, admin: admin.local_addr()?, grpc };
    shutdown.spawn_worker("metrics", admin.serve(shutdown.stop_working()));
    // There is no other replica that clients could go to meanwhile.
    let connections = Connections { farewell: Duration::ZERO, ..Connections::default() };
    shutdown.spawn_server("REST", connections.serve(http, rest, shutdown.stop_accepting()));

    folder.write(ADDRESSES_FILE, &serde_json::to_vec_pretty(&addresses)?)?;
    greet(&addresses, folder, begun);
    shutdown.run(&readiness, config.drain_limit).await?;
    Ok(())
}

/// Every port of the shop.
struct Listeners {
    http: TcpListener,
    /// In the order of [`SERVICES`].
    grpc: Vec<TcpListener>,
    admin: TcpListener,
}

impl Listeners {
    /// To be called before the database: a taken port is known at once, and none of the many connections to the database
    /// can be given one of these ports as its own.
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let http = listen(config.http, "STORELINE_HTTP").await?;
        let mut grpc = Vec::with_capacity(SERVICES.len());
        for (name, address) in SERVICES.iter().zip(config.grpc) {
            grpc.push(listen(address, &format!("STORELINE_GRPC_{}", name.to_uppercase())).await?);
        }
        Ok(Self { http, grpc, admin: listen(config.admin, "STORELINE_ADMIN").await? })
    }
}

/// Says where to go next.
#[expect(clippy::print_stdout, reason = "the one thing a person who starts the shop wants to see")]
fn greet(addresses: &Addresses, folder: &DataFolder, begun: Instant) {
    let http = addresses.http;
    println!("Storeline serves, {:.1} s after its start.\n", begun.elapsed().as_secs_f32());
    println!("  REST      http://{http}/v1/products");
    println!("  API docs  http://{http}/docs");
    for name in SERVICES {
        if let Some(address) = addresses.grpc.get(name) {
            println!("  gRPC      {address}  {name}");
        }
    }
    println!("  Metrics   http://{}/metrics", addresses.admin);
    println!("  Data      {}\n", folder.path().display());
    println!("Next, in another terminal: `shop demo`, or `cargo run --release -- demo`. Ctrl-C stops it.");
}
