//! `serve`: from the configuration to an orderly end. The probes answer from the first moment on; the gateway is ready
//! once it has reached the services, or some of them if the others do not come: a shop without payments still shows
//! its products.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use api_gateway::{Backend, Connections, DEFAULT_FAREWELL, Gateway, Lifecycle};
use futures::future::{join_all, select_all};
use redis_link::Redis;
use service_client::{Methods, Names, ServiceClient};
use service_runtime::metrics::{AdminServer, Metrics};
use service_runtime::readiness::Component;
use service_runtime::{Readiness, Shutdown, telemetry};
use tokio::net::TcpListener;

use super::config::Serve;

/// How long the start waits for all services before some are enough.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs the gateway until a signal stops it.
pub async fn serve(config: Serve) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&config.telemetry)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let metrics = Metrics::install(&shutdown)?;
    let readiness = Readiness::new();
    let reached = readiness.component("services");
    let http = listen(config.http, "STORELINE_HTTP").await?;
    let admin = AdminServer::on(listen(config.admin, "STORELINE_ADMIN").await?, metrics, &readiness);
    shutdown.spawn_worker("admin", admin.serve(shutdown.stop_working()));

    let names = Names::new(&config.dns_servers)?;
    let methods = Methods::from_descriptors(contracts::FILE_DESCRIPTOR_SET)?;
    let (mut backends, mut clients) = (Vec::new(), Vec::new());
    for remote in config.backends {
        let (methods, options) = (methods.clone(), config.client.clone());
        let client = ServiceClient::start(remote.name, remote.addresses, &names, methods, options);
        backends.push((remote.rpc_service.to_owned(), Backend::new(client.clone())));
        clients.push((remote.name, client));
    }
    let mut gateway = config.gateway;
    if let (Some(limits), Some(options)) = (&mut gateway.rate_limits, config.redis) {
        let redis = Redis::start(options, shutdown.stop_working(), &shutdown.worker_tasks());
        limits.redis = Some(redis.context("STORELINE_REDIS_URL")?);
    }
    let lifecycle = Lifecycle { probes: readiness.routes(), shutdown: shutdown.stop_accepting() };
    let rest = Gateway::build(gateway, contracts::FILE_DESCRIPTOR_SET, backends, lifecycle)?;
    tracing::info!({ service_runtime::fields::ADDRESS } = %http.local_addr()?, version = env!("CARGO_PKG_VERSION"), "REST listens");
    // Of a short time for the stop, most is for the answers.
    let farewell = DEFAULT_FAREWELL.min(config.drain_limit / 4);
    let connections = Connections { farewell, ..Connections::default() };
    shutdown.spawn_server("REST", connections.serve(http, rest, shutdown.stop_accepting()));
    let stop = shutdown.stop_working();
    shutdown.spawn_worker("start", async move {
        stop.run_until_cancelled(wait_for(clients, reached)).await;
        Ok::<_, std::convert::Infallible>(())
    });
    Ok(shutdown.run(&readiness, config.drain_limit).await?)
}

/// Tells that the gateway is ready once it has reached what it needs.
async fn wait_for(clients: Vec<(&'static str, ServiceClient)>, reached: Component) {
    let waiting = || clients.iter().map(|(_, client)| Box::pin(client.ready()));
    if tokio::time::timeout(PATIENCE, join_all(waiting())).await.is_err() {
        reached.not_ready("no service can be reached");
        select_all(waiting()).await;
        tracing::warn!("not all services can be reached; routes of those that cannot answer with 503");
    }
    reached.ready();
    tracing::info!("ready");
}

async fn listen(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: stop what holds it, or set {variable} to another address")
    })
}
