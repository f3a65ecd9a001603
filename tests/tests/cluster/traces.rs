//! One trace of an order, from its request over REST to the last event of its saga, through processes and Kafka, as a
//! collector gets it; and that nothing of what a person said is in any span.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use e2e_tests::cluster::{Cluster, SERVICES};
use e2e_tests::tools::{ask_database, disguises};
use e2e_tests::trade::{ORDER_DEADLINE, PRICE, Placed, contact, order_of, tokens, unique};
use e2e_tests::{Api, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use serde_json::Value as Json;
use testkit::kafka;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::scene::{options, postgres, turn};

/// The trace and the span that the client of the order has.
const TRACE: &str = "7f9c2ba4e88f827d616045507605853e";
const CLIENT: &str = "00f067aa0ba902b7";
/// Everybody who has a part in an order, as they call themselves at the collector.
const PARTICIPANTS: [&str; 5] =
    ["api-gateway", "order-service", "inventory-service", "payment-service", "saga-orchestrator"];
/// What the last command of an order's saga answers, and who gives it.
const LAST_MESSAGE: &str = "shop.order.v1.OrderConfirmed";
const LAST_EVENT: &str = "SagaEnded";

/// A span of the order's trace.
#[derive(Clone, Debug)]
struct Seen {
    process: String,
    name: String,
    parent: String,
    attributes: BTreeMap<String, String>,
}

/// What came so far.
#[derive(Default)]
struct Collected {
    /// Of the order's trace, by their ids.
    spans: BTreeMap<String, Seen>,
    /// Everything of whatever trace, as it came.
    bytes: Vec<u8>,
}

/// What an OpenTelemetry collector is to the processes of a cluster.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Collected>>);

impl Collector {
    /// Listens on loopback for as long as the test runs. Returns where.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        endpoint
    }

    fn with<T>(&self, look: impl FnOnce(&mut Collected) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn spans(&self) -> BTreeMap<String, Seen> {
        self.with(|collected| collected.spans.clone())
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        self.with(|collected| {
            collected.bytes.extend(request.encode_to_vec());
            for resource in request.resource_spans {
                let about = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
                let process = texts(about).remove("service.name").unwrap_or_default();
                for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    if hex(&span.trace_id) == TRACE {
                        let seen = Seen {
                            process: process.clone(),
                            name: span.name,
                            parent: hex(&span.parent_span_id),
                            attributes: texts(span.attributes),
                        };
                        collected.spans.insert(hex(&span.span_id), seen);
                    }
                }
            }
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Attributes that are texts.
fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| match attribute.value?.value? {
        Value::StringValue(text) => Some((attribute.key, text)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An event that a service has recorded as part of the trace.
#[derive(Debug)]
struct Recorded {
    service: &'static str,
    event_type: String,
    /// The span that issued its command.
    span: String,
}

/// All events of the trace, of every log, each log's in its order.
async fn recorded(cluster: &Cluster) -> Vec<Recorded> {
    let mut recorded = Vec::new();
    for service in SERVICES {
        let statement = format!(
            "SELECT type || ' ' || (metadata->>'traceparent') FROM eventlog.events \
              WHERE metadata->>'traceparent' LIKE '00-{TRACE}-%' ORDER BY position"
        );
        let rows = ask_database(&cluster.database_url(service), &statement).await;
        for row in rows.lines() {
            let (event_type, traceparent) = row.split_once(' ').expect("two words");
            let span = traceparent.split('-').nth(2).expect("a traceparent has four parts").to_owned();
            recorded.push(Recorded { service, event_type: event_type.to_owned(), span });
        }
    }
    recorded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_one_trace_from_its_request_to_the_last_event_of_its_saga() {
    let _turn = turn().await;
    let collector = Collector::default();
    let mut options = options(postgres(), kafka::bootstrap());
    options.variables.push(("OTLP_ENDPOINT".to_owned(), collector.start().await));
    let cluster = Cluster::start(&options).await.unwrap_or_else(|error| panic!("{error:#}"));
    cluster.show_logs_on_panic();
    let placed = confirmed(&cluster.api()).await;

    let events = eventually("the saga has recorded its end", ORDER_DEADLINE, async || {
        let events = recorded(&cluster).await;
        events.iter().any(|event| event.event_type == LAST_EVENT).then_some(events)
    })
    .await;
    // Exporters send now and then.
    eventually(
        "every span that has issued something is at the collector, and its parent",
        ORDER_DEADLINE,
        || {
            let spans = collector.spans();
            let issued = events.iter().all(|event| spans.contains_key(&event.span));
            let joined = spans.values().all(|seen| seen.parent == CLIENT || spans.contains_key(&seen.parent));
            let begun = spans.values().any(|seen| seen.parent == CLIENT);
            std::future::ready((issued && joined && begun).then_some(()))
        },
    )
    .await;
    assert_one_trace(&collector.spans(), &events);
    cluster.audit().await;
    // What is not sent yet is sent at the end.
    let secrets = ["operator.token", "service.token"].map(|name| cluster.secret(name));
    cluster.shut_down().await.unwrap_or_else(|error| panic!("{error:#}"));
    let exported = collector.with(|collected| String::from_utf8_lossy(&collected.bytes).into_owned());
    assert!(exported.contains("/v1/orders"), "what is looked through holds what it should");
    for private in said_by_a_person(&placed).into_iter().chain(secrets) {
        for disguise in disguises(&private) {
            assert!(!exported.contains(&disguise), "a span has {private:?} as {disguise:?}");
        }
    }
}

/// Places an order as part of the trace, and sees it confirmed.
async fn confirmed(api: &Api) -> Placed {
    let goods = api.goods(PRICE, 1).await;
    let order = order_of(&goods, 1, tokens::SUCCESS);
    let parent = format!("00-{TRACE}-{CLIENT}-01");
    let key = unique("order");
    // A cluster that has just started may be busy with its consumer groups.
    let answer = eventually("the order is taken", ORDER_DEADLINE, async || {
        let placing = api.post("/v1/orders", &order).key(&key).header("traceparent", &parent);
        Some(placing.send().await).filter(|answer| answer.status != 503)
    })
    .await;
    let placed = Placed::from_answer(&answer);
    api.order_with_status(&placed, "ORDER_STATUS_CONFIRMED").await;
    placed
}

fn assert_one_trace(spans: &BTreeMap<String, Seen>, events: &[Recorded]) {
    let processes: BTreeSet<&str> = spans.values().map(|seen| seen.process.as_str()).collect();
    assert_eq!(processes, BTreeSet::from(PARTICIPANTS), "{spans:#?}");
    let recorders: BTreeSet<&str> = events.iter().map(|event| event.service).collect();
    assert_eq!(recorders, BTreeSet::from(["inventory", "order", "payment", "saga"]), "{events:#?}");

    let requests: Vec<_> = spans.values().filter(|seen| seen.parent == CLIENT).collect();
    for request in requests {
        assert_eq!((&*request.process, &*request.name), ("api-gateway", "POST /v1/orders"));
    }
    let last = events.iter().find(|event| event.event_type == LAST_EVENT).expect("the saga has ended");
    assert_eq!(last.service, "saga");
    let end = &spans[&last.span];
    assert_eq!(end.process, "saga-orchestrator", "{end:?}");
    assert_eq!(end.attributes.get("event_type").map(String::as_str), Some(LAST_MESSAGE), "{end:?}");
    // From the end to the request: every service has had its part on the way.
    let mut way = vec![end];
    while let Some(earlier) = spans.get(&way[way.len() - 1].parent) {
        assert!(way.len() < spans.len(), "parents form a circle: {way:#?}");
        way.push(earlier);
    }
    assert_eq!(way[way.len() - 1].parent, CLIENT, "{way:#?}");
    let passed: BTreeSet<&str> = way.iter().map(|seen| seen.process.as_str()).collect();
    assert_eq!(passed, BTreeSet::from(PARTICIPANTS), "{way:#?}");
}

/// What no span may hold.
fn said_by_a_person(placed: &Placed) -> Vec<String> {
    let mut said = vec![tokens::SUCCESS.to_owned(), placed.token.clone()];
    let contact = contact();
    let address = &contact["shippingAddress"];
    let parts = [&contact["email"], &contact["deliveryNote"], &address["recipient"], &address["city"]];
    let lines = address["lines"].as_array().into_iter().flatten();
    said.extend(parts.into_iter().chain(lines).filter_map(Json::as_str).map(str::to_owned));
    said
}
