//! `serve`: from the configuration to an orderly end. The probes answer from the first moment on, so a process that waits
//! for its database is alive and not ready; what waiting cannot mend ends it, with what to do.

use std::time::Duration;

use eventsourcing::{MigrateError, require_migrated};
use service_runtime::grpc::{GrpcError, GrpcServer};
use service_runtime::metrics::{AdminServer, Metrics, MetricsError};
use service_runtime::shutdown::ShutdownError;
use service_runtime::telemetry::{self, TelemetryError};
use service_runtime::{Readiness, Shutdown, fields, operations};
use tokio::net::TcpListener;

use crate::bus::BusError;
use crate::{BoxError, ListenError, Service, config, database_watch, listen, watch_database};

/// How long the start waits until the read models show what was acknowledged before.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Pause between two looks for a database that is away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the process did not serve, or did not stop as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("{source}. Run `{program} migrate` first, with the same version of the program")]
    NotMigrated { program: &'static str, source: MigrateError },
    #[error(transparent)]
    Database(#[from] MigrateError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the service does not start: {0}")]
    Service(#[from] BoxError),
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    #[error("the address of a listener: {0}")]
    Address(#[source] std::io::Error),
    #[error(transparent)]
    Stop(#[from] ShutdownError),
}

/// Runs the service until a signal stops it.
pub(crate) async fn serve<S: Service>(config: config::Serve<S>) -> Result<(), Failure> {
    let _telemetry = telemetry::init(&config.telemetry)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().map_err(Failure::Signals)?;
    let metrics = Metrics::install(&shutdown)?;
    let readiness = Readiness::new();
    let starting = readiness.component("service");
    // Taken ports are known before anything is opened, and nothing that is opened can sit on them.
    let grpc = listen(config.grpc, "STORELINE_GRPC").await?;
    let admin = listen(config.admin, "STORELINE_ADMIN").await?;
    let address = admin.local_addr().map_err(Failure::Address)?;
    tracing::info!({ fields::ADDRESS } = %address, "metrics and probes listen");
    let admin = AdminServer::on(admin, metrics, &readiness);
    shutdown.spawn_worker("admin", admin.serve(shutdown.stop_working()));

    let drain_limit = config.drain_limit;
    let begun = start(config, grpc, &readiness, &shutdown);
    let begun = shutdown.requested().run_until_cancelled(begun).await.transpose();
    match begun {
        Ok(served) => {
            if served.is_some() {
                starting.ready();
                tracing::info!(service = S::NAME, version = env!("CARGO_PKG_VERSION"), "serves");
            }
            Ok(shutdown.run(&readiness, drain_limit).await?)
        }
        Err(failure) => {
            shutdown.request("the start has failed");
            let _ = shutdown.run(&readiness, drain_limit).await;
            Err(failure)
        }
    }
}

/// Everything between taken ports and a service that answers.
async fn start<S: Service>(
    config: config::Serve<S>,
    grpc: TcpListener,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let database = readiness.component("database");
    database_is_migrated::<S>(&config).await?;
    let advice = "look after the server of DATABASE_URL; the service goes on by itself once it answers again";
    let watch =
        watch_database(config.database_url.clone(), advice.to_owned(), database, shutdown.stop_working());
    shutdown.spawn_worker("database watch", watch);

    let service = S::open(config.service).await?;
    config.bus.publish(service.feed(), service.log(), shutdown, readiness).await?;
    let feeds = config.bus.feeds(S::FOLLOWS);
    let started = service.start(feeds, shutdown.stop_working(), shutdown.worker_tasks()).await?;
    if !started.subscriptions.caught_up(CATCH_UP).await {
        tracing::info!("read models are still catching up with the log");
    }
    let services = started.services.with(operations::server(started.subscriptions, started.rebuilds));
    let server = GrpcServer::new(services, config.tokens, config.server, shutdown)?;
    let server = server.on(grpc).map_err(Failure::Address)?;
    shutdown.spawn_server("gRPC", server.serve(readiness.clone(), shutdown.stop_accepting()));
    Ok(())
}

/// Waits for the database, for as long as it is away, and checks that this program can work with it.
async fn database_is_migrated<S: Service>(config: &config::Serve<S>) -> Result<(), Failure> {
    let mut away = false;
    loop {
        match require_migrated(config.database_url.expose(), S::LOG, S::MIGRATIONS).await {
            Ok(()) => return Ok(()),
            Err(source @ MigrateError::Behind { .. }) => {
                return Err(Failure::NotMigrated { program: S::NAME, source });
            }
            Err(MigrateError::Unreachable { source, .. }) if database_watch::is_away(&source) => {
                if !away {
                    tracing::warn!(error = %source, "PostgreSQL does not answer: waiting for it");
                }
                away = true;
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
