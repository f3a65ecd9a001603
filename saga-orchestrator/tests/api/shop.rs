//! One orchestrator under test: its database, the feeds around it, and short names for what tests do.

use std::sync::Arc;
use std::time::Duration;

use contracts::shop::order::v1 as order;
use contracts::shop::order::v1::order_event::Event as Order;
use contracts::shop::saga::v1 as wire;
use contracts::shop::saga::v1::saga_service_client::SagaServiceClient;
use contracts::shop::r#type::v1::Money;
use eventsourcing::{EventLog, Feed, LogOptions, RecordedEvent, StreamId, Subscriptions};
use saga_orchestrator::domain::{Backoff, Policy};
use saga_orchestrator::{LOG, MIGRATIONS, Options, SagaOrchestrator, Upstream};
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, GrpcService, ServerOptions};
use service_runtime::{Secret, Shutdown};
use testkit::{SOON, TestDatabase, eventually};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::participants::{self, Answer, Feeds, Script};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

pub const OPERATOR: &str = "operator-0123456789abcdef0123456789abcdef";

/// A running orchestrator.
pub struct Instance {
    pub client: SagaServiceClient<GrpcService>,
    pub subscriptions: Subscriptions,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Instance {
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("the orchestrator stops");
    }
}

pub struct Shop {
    pub feeds: Feeds,
    pub log: EventLog,
    pub database: TestDatabase,
    script: Script,
    policy: Policy,
}

impl Shop {
    /// Participants answer as usual, and are waited for however long they take.
    pub async fn open() -> Self {
        Self::with(patient(), |_| None).await
    }

    pub async fn with(
        policy: Policy,
        script: impl Fn(&wire::saga_event::Event) -> Option<Vec<Answer>> + Send + Sync + 'static,
    ) -> Self {
        let database = TestDatabase::new(LOG, MIGRATIONS).await;
        let log = EventLog::open(LogOptions::new(LOG, database.url())).await.unwrap();
        Self { feeds: Feeds::new(), log, database, script: Arc::new(script), policy }
    }

    /// Starts an orchestrator, and with `answering` participants behind it.
    pub async fn start(&self, answering: bool) -> Instance {
        let options = Options {
            policy: self.policy,
            log_poll_interval: Duration::from_millis(10),
            ..Options::new(self.database.url())
        };
        let service = SagaOrchestrator::open(options).await.unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        if answering {
            let (feeds, script) = (self.feeds.clone(), self.script.clone());
            tracker.spawn(participants::answer(service.feed(), feeds, script, stop.clone()));
        }
        let Feeds { order, inventory, payment } = self.feeds.clone();
        let upstream =
            Upstream { order: Arc::new(order), inventory: Arc::new(inventory), payment: Arc::new(payment) };
        let running = service.start(upstream, stop.clone(), tracker.clone()).await.unwrap();
        let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[]).unwrap();
        let server = GrpcServer::new(running.services, tokens, ServerOptions::default(), &Shutdown::new());
        let client = SagaServiceClient::new(server.unwrap().service());
        Instance { client, subscriptions: running.subscriptions, stop, tracker }
    }

    pub fn place(&self, minor_units: i64) -> Uuid {
        let order_id = Uuid::now_v7();
        let placed = order::OrderPlaced {
            order_id: order_id.to_string(),
            lines: vec![order::OrderedLine { sku: "TEE-M".into(), quantity: 2 }],
            total: Some(Money { currency_code: "EUR".into(), minor_units }),
            payment_token: "tok_success".into(),
        };
        self.feeds.say(order_id, Answer::Order(Order::OrderPlaced(placed)));
        order_id
    }

    pub fn cancel(&self, order_id: Uuid, while_pending: bool) {
        let (reason, order_id_text) = ("CHANGED_MIND".to_owned(), order_id.to_string());
        let event = order::OrderCancellationRequested { order_id: order_id_text, reason, while_pending };
        self.feeds.say(order_id, Answer::Order(Order::OrderCancellationRequested(event)));
    }

    /// The names of a saga's events, with their steps.
    pub async fn story(&self, saga_id: &str) -> Vec<String> {
        let events = self.log.read_stream(&StreamId::from_name(saga_id), 0, 1000).await.unwrap();
        events.iter().map(|event| name(event)).collect()
    }

    /// The requests that a saga sent, in order.
    pub async fn requests(&self, saga_id: &str) -> Vec<String> {
        let story = self.story(saga_id).await;
        story.iter().filter_map(|event| event.strip_prefix("StepRequested ").map(str::to_owned)).collect()
    }

    /// Waits until a saga's story has an event.
    pub async fn until(&self, saga_id: &str, event: &str) {
        eventually(&format!("{event} of {saga_id}"), SOON, || async {
            self.story(saga_id).await.iter().any(|name| name == event).then_some(())
        })
        .await;
    }

    /// Waits until everything that was published so far has been handled.
    pub async fn until_heard(&self, instance: &Instance) {
        let Feeds { order, inventory, payment } = &self.feeds;
        eventually("everything is heard", SOON, || async {
            let statuses = instance.subscriptions.list();
            let caught_up = [order, inventory, payment].into_iter().all(|feed| {
                let (log, head) = (feed.log(), *feed.head().borrow());
                statuses.iter().any(|status| status.log == log && status.checkpoint >= head)
            });
            caught_up.then_some(())
        })
        .await;
    }
}

fn name(event: &RecordedEvent) -> String {
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    let request = match &data["request"] {
        serde_json::Value::Object(request) => request.keys().next().cloned(),
        request => request.as_str().map(str::to_owned),
    };
    let particular =
        request.or_else(|| data["step"].as_str().or(data["outcome"].as_str()).map(str::to_owned));
    match particular {
        Some(particular) => format!("{} {particular}", event.event_type),
        None => event.event_type.clone(),
    }
}

/// Sends the operator's token along.
pub fn as_operator<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {OPERATOR}").parse().unwrap());
    request
}

pub async fn get(instance: &Instance, saga_id: &str) -> Result<wire::Saga, Status> {
    let request = as_operator(wire::GetSagaRequest { saga_id: saga_id.to_owned() });
    let reply = instance.client.clone().get_saga(request).await?;
    Ok(reply.into_inner().saga.unwrap())
}

pub async fn list(
    instance: &Instance,
    request: wire::ListSagasRequest,
) -> Result<wire::ListSagasResponse, Status> {
    Ok(instance.client.clone().list_sagas(as_operator(request)).await?.into_inner())
}

/// Waits until the list shows a saga with this status.
pub async fn listed(instance: &Instance, saga_id: &str, status: wire::SagaStatus) -> wire::Saga {
    eventually(&format!("{saga_id} is listed as {status:?}"), SOON, || async {
        let request = wire::ListSagasRequest { status: status.into(), ..Default::default() };
        list(instance, request).await.unwrap().sagas.into_iter().find(|saga| saga.saga_id == saga_id)
    })
    .await
}

/// Waits until the list shows a saga that is stuck at this step. On a busy machine it may be stuck before that at one
/// whose answer is only late, and goes on from there by itself.
pub async fn stuck_at(instance: &Instance, saga_id: &str, step: &str) -> wire::Saga {
    eventually(&format!("{saga_id} is stuck at {step}"), SOON, || async {
        let request = wire::ListSagasRequest { status: wire::SagaStatus::Stuck.into(), ..Default::default() };
        let stuck = list(instance, request).await.unwrap().sagas;
        stuck.into_iter().find(|saga| saga.saga_id == saga_id && saga.open_step == step)
    })
    .await
}

/// Patience for tests that count requests: none is sent again, however long its answer takes.
pub fn patient() -> Policy {
    let backoff = Backoff { first: LONG, longest: LONG };
    Policy { participant: backoff, provider: backoff, ..Policy::default() }
}

/// Patience for tests in which deadlines pass.
pub fn impatient(attempts: u32) -> Policy {
    let backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_millis(100) };
    Policy {
        participant: backoff,
        provider: backoff,
        attempts,
        outcome: Duration::from_millis(100),
        ..Policy::default()
    }
}
