//! What the commands of a service's binary read from the environment. Everything that a command needs is read before it
//! does anything, so that whoever starts it wrongly learns of all mistakes at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use service_runtime::auth::Tokens;
use service_runtime::config::ConfigReader;
use service_runtime::grpc::ServerOptions;
use service_runtime::telemetry::{LogFormat, TelemetryOptions};
use service_runtime::{Secret, shutdown};
use sqlx::postgres::PgConnectOptions;

use crate::Service;
use crate::bus::Bus;

/// Metrics and probes are served here unless told otherwise.
const ADMIN_PORT: u16 = 9464;

/// What `serve` reads.
pub(crate) struct Serve<S: Service> {
    pub database_url: Secret,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub tokens: Tokens,
    pub drain_limit: Duration,
    pub server: ServerOptions,
    pub telemetry: TelemetryOptions,
    pub bus: Bus,
    pub service: S::Options,
}

impl<S: Service> Serve<S> {
    pub fn read(reader: &mut ConfigReader) -> Self {
        let database_url = database_url(reader);
        Self {
            grpc: grpc::<S>(reader),
            admin: reader
                .var("STORELINE_ADMIN", "where /metrics, /healthz and /readyz listen")
                .default(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT))),
            tokens: Tokens::read(reader),
            drain_limit: drain_limit(reader),
            server: ServerOptions::read(reader),
            telemetry: telemetry::<S>(reader),
            service: S::read(reader, database_url.clone()),
            bus: Bus::read(reader),
            database_url,
        }
    }
}

/// What `migrate` reads.
pub(crate) struct Migrate {
    /// The role in it is the one that gets its rights.
    pub database_url: Secret,
    pub owner_url: Secret,
    pub telemetry: TelemetryOptions,
}

impl Migrate {
    pub fn read<S: Service>(reader: &mut ConfigReader) -> Self {
        Self {
            database_url: database_url(reader),
            owner_url: reader
                .var("STORELINE_MIGRATE_DATABASE_URL", "PostgreSQL URL of the same database, as its owner")
                .check("a PostgreSQL URL", is_database_url)
                .required(),
            telemetry: telemetry::<S>(reader),
        }
    }
}

/// What `healthcheck` reads: where the process beside it serves.
pub(crate) struct Health {
    pub grpc: SocketAddr,
}

impl Health {
    pub fn read<S: Service>(reader: &mut ConfigReader) -> Self {
        Self { grpc: grpc::<S>(reader) }
    }

    /// Where it is reached from the same machine.
    pub fn target(&self) -> SocketAddr {
        let ip = match self.grpc.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, self.grpc.port())
    }
}

/// The address of a database, as the role that may append.
pub fn database_url(reader: &mut ConfigReader) -> Secret {
    reader
        .var("DATABASE_URL", "PostgreSQL URL of the service's own database, as the role that may append")
        .check("a PostgreSQL URL", is_database_url)
        .required()
}

/// How long a stop may take.
pub fn drain_limit(reader: &mut ConfigReader) -> Duration {
    reader.var("STORELINE_DRAIN_LIMIT", "how long a stop may take").default(shutdown::DRAIN_LIMIT)
}

/// The role that a database URL logs in as; whoever migrates grants it its rights. `None`: it is the owner itself.
pub fn owner_login(database_url: &Secret, owner_url: &Secret) -> Option<String> {
    let role = |url: &Secret| Some(PgConnectOptions::from_str(url.expose()).ok()?.get_username().to_owned());
    let app = role(database_url)?;
    (Some(&app) != role(owner_url).as_ref()).then_some(app)
}

fn grpc<S: Service>(reader: &mut ConfigReader) -> SocketAddr {
    reader
        .var("STORELINE_GRPC", "where gRPC listens")
        .default(SocketAddr::from((Ipv4Addr::LOCALHOST, S::GRPC_PORT)))
}

fn telemetry<S: Service>(reader: &mut ConfigReader) -> TelemetryOptions {
    TelemetryOptions::read(reader, S::NAME, LogFormat::Json)
}

fn is_database_url(url: &Secret) -> bool {
    let scheme = url.expose().starts_with("postgres://") || url.expose().starts_with("postgresql://");
    scheme && PgConnectOptions::from_str(url.expose()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_that_gets_rights_is_that_of_the_url_unless_it_owns_the_database() {
        let url = |login: &str| Secret::new(format!("postgres://{login}:pw@db/storeline_thing"));
        assert_eq!(owner_login(&url("app"), &url("boss")).as_deref(), Some("app"));
        assert_eq!(owner_login(&url("boss"), &url("boss")), None);
    }

    #[test]
    fn a_check_of_a_process_that_listens_everywhere_asks_on_loopback() {
        let target = |grpc: &str| Health { grpc: grpc.parse().unwrap() }.target().to_string();
        assert_eq!(target("0.0.0.0:50051"), "127.0.0.1:50051");
        assert_eq!(target("[::]:50051"), "[::1]:50051");
        assert_eq!(target("10.1.2.3:50051"), "10.1.2.3:50051");
    }

    #[test]
    fn only_urls_of_postgresql_are_taken() {
        for wrong in ["", "db", "mysql://me@db/x", "postgres://me@db:port/x"] {
            assert!(!is_database_url(&Secret::new(wrong)), "{wrong}");
        }
        assert!(is_database_url(&Secret::new("postgres://me:pw@db:5432/x?sslmode=verify-full")));
    }
}
