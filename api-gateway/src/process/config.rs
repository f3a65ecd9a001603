//! What the gateway's commands read from the environment, and which service answers for which RPCs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use api_gateway::Options;
use service_client::{Address, ClientOptions};
use service_runtime::config::{ByteSize, ConfigReader};
use service_runtime::shutdown;
use service_runtime::telemetry::{LogFormat, TelemetryOptions};

use super::NAME;

/// REST listens here unless told otherwise.
const HTTP_PORT: u16 = 8080;
/// Metrics and probes are served here unless told otherwise.
const ADMIN_PORT: u16 = 9464;

/// The services that have routes: their name, the variable of their address, and their RPCs.
const BACKENDS: [(&str, &str, &str); 5] = [
    ("product", "STORELINE_PRODUCT_ADDRESS", "shop.product.v1.ProductService"),
    ("inventory", "STORELINE_INVENTORY_ADDRESS", "shop.inventory.v1.InventoryService"),
    ("order", "STORELINE_ORDER_ADDRESS", "shop.order.v1.OrderService"),
    ("payment", "STORELINE_PAYMENT_ADDRESS", "shop.payment.v1.PaymentService"),
    ("saga", "STORELINE_SAGA_ADDRESS", "shop.saga.v1.SagaService"),
];

/// Where a service is.
#[derive(Debug)]
pub struct Remote {
    pub name: &'static str,
    pub rpc_service: &'static str,
    pub addresses: Vec<Address>,
}

/// What `serve` reads.
#[derive(Debug)]
pub struct Serve {
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub backends: Vec<Remote>,
    pub dns_servers: Vec<SocketAddr>,
    pub client: ClientOptions,
    pub gateway: Options,
    /// What gateways share the quotas of clients in. Without it each counts for itself.
    pub redis: Option<redis_link::Options>,
    pub drain_limit: Duration,
    pub telemetry: TelemetryOptions,
}

impl Serve {
    pub fn read(reader: &mut ConfigReader) -> Self {
        let backends = BACKENDS.map(|(name, variable, rpc_service)| {
            let help =
                "where this service's gRPC is: a name is looked up again and again and may stand for many";
            let addresses =
                reader.var(variable, help).check("at least one", |all: &Vec<Address>| !all.is_empty());
            Remote { name, rpc_service, addresses: addresses.required() }
        });
        Self {
            http: http(reader),
            admin: reader
                .var("STORELINE_ADMIN", "where /metrics, /healthz and /readyz listen")
                .default(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT))),
            backends: backends.into(),
            dns_servers: reader
                .var(
                    "STORELINE_DNS_SERVERS",
                    "DNS servers to ask instead of the machine's own, such as a Consul agent",
                )
                .default(Vec::new()),
            client: ClientOptions::read(reader),
            gateway: gateway(reader),
            redis: redis_link::Options::read(reader, "Redis in which gateways share the quotas of clients"),
            drain_limit: reader
                .var("STORELINE_DRAIN_LIMIT", "how long a stop may take")
                .default(shutdown::DRAIN_LIMIT),
            telemetry: TelemetryOptions::read(reader, NAME, LogFormat::Json),
        }
    }
}

/// What `healthcheck` reads: where the process beside it serves.
#[derive(Debug)]
pub struct Health {
    http: SocketAddr,
}

impl Health {
    pub fn read(reader: &mut ConfigReader) -> Self {
        Self { http: http(reader) }
    }

    /// Where it is reached from the same machine.
    pub fn target(&self) -> SocketAddr {
        let ip = match self.http.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, self.http.port())
    }
}

fn http(reader: &mut ConfigReader) -> SocketAddr {
    reader
        .var("STORELINE_HTTP", "where REST listens")
        .default(SocketAddr::from((Ipv4Addr::LOCALHOST, HTTP_PORT)))
}

fn gateway(reader: &mut ConfigReader) -> Options {
    let Options { max_in_flight, max_queued, max_streams, max_body_bytes, request_timeout, .. } =
        Options::default();
    let most = 1..=1_000_000;
    let body_bytes = reader
        .var("STORELINE_HTTP_MAX_BODY_BYTES", "size of all request bodies that are held at a time")
        .range(ByteSize(1 << 20)..=ByteSize(1 << 40))
        .default(ByteSize(max_body_bytes as u64));
    Options {
        rate_limits: api_gateway::rate::Options::read(reader, true),
        cors_origins: reader
            .var("STORELINE_CORS_ORIGINS", "origins whose pages may call REST, with commas in between")
            .default(Vec::new()),
        max_in_flight: reader
            .var("STORELINE_HTTP_MAX_IN_FLIGHT", "requests answered at a time")
            .range(most.clone())
            .default(max_in_flight),
        max_queued: reader
            .var("STORELINE_HTTP_MAX_QUEUED", "requests that wait for their turn")
            .range(most.clone())
            .default(max_queued),
        max_streams: reader
            .var("STORELINE_HTTP_MAX_STREAMS", "event streams open at a time")
            .range(most)
            .default(max_streams),
        max_body_bytes: usize::try_from(body_bytes.0).unwrap_or(usize::MAX),
        request_timeout: reader
            .var("STORELINE_HTTP_REQUEST_TIMEOUT", "how long a request may take")
            .range(Duration::from_millis(100)..=Duration::from_secs(600))
            .default(request_timeout),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_without_addresses_names_all_of_them_at_once() {
        let mut reader = ConfigReader::from_map([
            ("STORELINE_PRODUCT_ADDRESS", "https://products:50051"),
            ("STORELINE_SAGA_ADDRESS", "saga-1:50055, saga-2:50055"),
            ("STORELINE_HTTP", "8080"),
            ("STORELINE_REDIS_URL", "redis:6379"),
        ]);
        let config = Serve::read(&mut reader);
        let errors = reader.finish(config).unwrap_err();
        let wrong: Vec<_> = errors.problems().iter().map(|problem| &*problem.name).collect();
        let addresses =
            ["PRODUCT", "INVENTORY", "ORDER", "PAYMENT"].map(|name| format!("STORELINE_{name}_ADDRESS"));
        let others = ["STORELINE_HTTP", "STORELINE_REDIS_URL"];
        assert_eq!(wrong, addresses.iter().map(String::as_str).chain(others).collect::<Vec<_>>());
    }
}
