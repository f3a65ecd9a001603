//! What the all-in-one reads from the environment. Nothing has to be set: the defaults listen on loopback and
//! keep everything under ./data.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use service_runtime::config::{ConfigErrors, ConfigReader};
use service_runtime::grpc::ServerOptions;
use service_runtime::telemetry::{LogFormat, TelemetryOptions};
use service_runtime::{Secret, shutdown};

use crate::cluster::Cluster;
use crate::serve::Bus;

/// The services in the process, in the order of their default gRPC ports.
pub const SERVICES: [&str; 5] = ["product", "inventory", "order", "payment", "saga"];

/// REST listens here unless told otherwise.
const HTTP_PORT: u16 = 8080;
/// gRPC of the first service listens here unless told otherwise, the others behind it.
const FIRST_GRPC_PORT: u16 = 50051;
/// Metrics are served here unless told otherwise.
const ADMIN_PORT: u16 = 9464;

/// Configuration of `shop serve`.
#[derive(Debug)]
pub struct Config {
    pub data: PathBuf,
    pub http: SocketAddr,
    pub grpc: [SocketAddr; SERVICES.len()],
    pub admin: SocketAddr,
    /// A PostgreSQL that somebody else runs.
    pub database_url: Option<Secret>,
    pub bus: Bus,
    pub cors_origins: Vec<String>,
    /// None unless asked for.
    pub rate_limits: Option<api_gateway::rate::Options>,
    pub drain_limit: Duration,
    pub server: ServerOptions,
    pub telemetry: TelemetryOptions,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        let mut reader = ConfigReader::from_env();
        let config = Self::read(&mut reader);
        reader.finish(config)
    }

    /// Reads every variable; [`ConfigReader::describe`] lists them afterwards.
    pub fn read(reader: &mut ConfigReader) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut port = FIRST_GRPC_PORT;
        let grpc = SERVICES.map(|service| {
            let name = format!("STORELINE_GRPC_{}", service.to_uppercase());
            let address = reader.var(name, "where this service's gRPC listens").default(local(port));
            port += 1;
            address
        });
        Self {
            data: data_folder(reader),
            http: reader.var("STORELINE_HTTP", "where REST listens").default(local(HTTP_PORT)),
            grpc,
            admin: reader.var("STORELINE_ADMIN", "where /metrics listens").default(local(ADMIN_PORT)),
            database_url: database_url(reader),
            bus: Bus::read(reader),
            cors_origins: reader
                .var("STORELINE_CORS_ORIGINS", "origins whose pages may call REST, with commas in between")
                .default(Vec::new()),
            rate_limits: api_gateway::rate::Options::read(reader, false),
            drain_limit: reader
                .var("STORELINE_DRAIN_LIMIT", "how long a stop may take")
                .default(shutdown::DRAIN_LIMIT),
            server: ServerOptions::read(reader),
            telemetry: TelemetryOptions::read(reader, "storeline", LogFormat::Text),
        }
    }
}

/// What the commands beside a running shop need: where its data folder is, and its database if that is not in
/// there; or where the parts of a cluster are.
#[derive(Debug)]
pub struct Location {
    pub data: PathBuf,
    pub database_url: Option<Secret>,
    /// The shop is not the one of the data folder.
    pub cluster: Option<Cluster>,
}

impl Location {
    /// Reads the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        let mut reader = ConfigReader::from_env();
        let location = Self::read(&mut reader);
        reader.finish(location)
    }

    /// Reads every variable; [`ConfigReader::describe`] lists them afterwards.
    pub fn read(reader: &mut ConfigReader) -> Self {
        Self { data: data_folder(reader), database_url: database_url(reader), cluster: Cluster::read(reader) }
    }
}

fn data_folder(reader: &mut ConfigReader) -> PathBuf {
    let path: String = reader.var("STORELINE_DATA", "the data folder").default("data".to_owned());
    path.into()
}

fn database_url(reader: &mut ConfigReader) -> Option<Secret> {
    reader.var("DATABASE_URL", "a PostgreSQL to use instead of a private one").optional()
}
