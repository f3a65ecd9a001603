//! What operators see and do about subscriptions, against a real log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contracts::shop::operations::v1 as wire;
use eventsourcing::{
    CommandProcessor, Decide, Decider, DomainEvent, EventLog, HandlerError, LogOptions, Message, Position,
    ProcessorOptions, Projection, Rebuilds, RecordedEvent, RelayStore, StreamId, SubscriptionHandle,
    SubscriptionOptions, SubscriptionState, Subscriptions, Wanted,
};
use serde::{Deserialize, Serialize};
use service_runtime::auth::Tokens;
use service_runtime::grpc::{GrpcServer, GrpcService, ServerOptions, Services};
use service_runtime::status::{reason, reason_of};
use service_runtime::{Caller, RequestContext, Secret, Shutdown, operations};
use testkit::TestDatabase;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request};
use wire::operations_service_client::OperationsServiceClient;

const OPERATOR: &str = "operator-0123456789abcdef0123456789";
const LONG: Duration = Duration::from_secs(30);

struct Counter;

#[derive(Clone, Serialize, Deserialize)]
enum CounterEvent {
    Added { amount: i64 },
}

impl DomainEvent for CounterEvent {}

impl Decider for Counter {
    const CATEGORY: &'static str = "counter";
    type State = ();
    type Command = i64;
    type Event = CounterEvent;
    type Error = ();

    fn decide(_: &(), amount: &i64) -> Result<Vec<CounterEvent>, ()> {
        Ok(vec![CounterEvent::Added { amount: *amount }])
    }

    fn evolve(_: (), _: &CounterEvent) {}
}

/// Cannot handle counter `bad` before it is mended.
struct Fragile {
    mended: Arc<AtomicBool>,
}

impl Projection for Fragile {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "fragile"
    }

    async fn apply(&self, _: &mut sqlx::PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        if event.key().ends_with("bad") && !self.mended.load(Ordering::Relaxed) {
            return Err(HandlerError::Poison("it broke".into()));
        }
        Ok(())
    }
}

struct Running {
    _database: TestDatabase,
    stop: CancellationToken,
    tracker: TaskTracker,
    mended: Arc<AtomicBool>,
    client: OperationsServiceClient<GrpcService>,
    /// Where the log stood when the subscription began.
    position: Position,
    model: SubscriptionHandle,
}

/// A log with one event of counter `good` and three of `bad`, and a subscription that stumbles over the latter.
async fn start() -> Running {
    let database = TestDatabase::new("counters", &[]).await;
    let log = EventLog::open(LogOptions::new("counters", database.url())).await.unwrap();
    let processor = CommandProcessor::start(log.clone(), ProcessorOptions::default());
    let mut position = None;
    for key in ["bad", "good", "bad", "bad"] {
        let stream = StreamId::of::<Counter>(key);
        let context = RequestContext::new(Caller::Operator, "/test").command_context("", &()).unwrap();
        let operation = Decide::<Counter> { stream, command: 1, expected_version: None };
        position = Some(processor.execute(operation, context).await.unwrap().position);
    }
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let subscriptions = Subscriptions::new(&log, stop.clone(), tracker.clone());
    let mended = Arc::new(AtomicBool::new(false));
    let impatient = SubscriptionOptions {
        attempts: 1,
        first_pause: Duration::from_millis(1),
        ..SubscriptionOptions::default()
    };
    let fragile = Fragile { mended: Arc::clone(&mended) };
    let model = subscriptions.project_with(Arc::new(log.clone()), fragile, impatient).await.unwrap();

    let rebuilds = Rebuilds::start(&log, &subscriptions, vec![]);
    let services = Services::new().with(operations::server(subscriptions, rebuilds));
    let tokens = Tokens::new(&[Secret::new(OPERATOR)], &[]).unwrap();
    let server = GrpcServer::new(services, tokens, ServerOptions::default(), &Shutdown::new()).unwrap();
    let client = OperationsServiceClient::new(server.service());
    Running { _database: database, stop, tracker, mended, client, position: position.unwrap(), model }
}

fn by_operator<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {OPERATOR}").parse().unwrap());
    request
}

impl Running {
    async fn subscription(&mut self) -> wire::Subscription {
        let listed =
            self.client.list_subscriptions(by_operator(wire::ListSubscriptionsRequest {})).await.unwrap();
        listed.into_inner().subscriptions.remove(0)
    }

    /// Waits until that many messages are parked and everything else is handled.
    async fn until_parked(&mut self, messages: i64) -> wire::Subscription {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        let looking = async {
            loop {
                looks.tick().await;
                let now = self.subscription().await;
                if now.parked_messages == messages && now.checkpoint >= 4 {
                    return now;
                }
            }
        };
        tokio::time::timeout(LONG, looking).await.expect("it comes to this")
    }

    async fn page(&mut self, page_size: i32, page_token: &str) -> wire::ListParkedMessagesResponse {
        let ask = wire::ListParkedMessagesRequest {
            subscription: "fragile".into(),
            page_size,
            page_token: page_token.into(),
        };
        self.client.list_parked_messages(by_operator(ask)).await.unwrap().into_inner()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(LONG, self.tracker.wait()).await.expect("subscriptions stop");
    }
}

#[tokio::test]
async fn an_operator_sees_what_is_parked_and_why_page_by_page() {
    let mut running = start().await;
    let now = running.until_parked(3).await;
    assert_eq!((now.name.as_str(), now.log.as_str(), now.head), ("fragile", "counters", 4));

    let first = running.page(2, "").await;
    let last = running.page(2, &first.next_page_token).await;
    assert_eq!((first.messages.len(), last.messages.len()), (2, 1));
    assert_eq!(last.next_page_token, "");
    let messages = [first.messages, last.messages].concat();
    assert!(messages.iter().all(|message| message.key == "counter-bad" && message.content.is_empty()));
    let errors: Vec<_> = messages.iter().map(|message| message.error.as_str()).collect();
    assert_eq!(errors, ["it broke", "", ""], "the later ones only wait");

    let ask =
        wire::GetParkedMessageRequest { subscription: "fragile".into(), position: messages[0].position };
    let got =
        running.client.get_parked_message(by_operator(ask)).await.unwrap().into_inner().message.unwrap();
    assert!(got.content.contains("amount"), "{}", got.content);
    assert_eq!(got.message_id, messages[0].message_id);
    running.stop().await;
}

#[tokio::test]
async fn what_is_redriven_after_the_fault_is_mended_is_handled_in_order() {
    let mut running = start().await;
    running.until_parked(3).await;
    running.mended.store(true, Ordering::Relaxed);
    let ask =
        wire::RedriveParkedMessagesRequest { subscription: "fragile".into(), key: "counter-bad".into() };
    let redriven =
        running.client.redrive_parked_messages(by_operator(ask.clone())).await.unwrap().into_inner();
    assert_eq!(redriven.messages, 3);
    running.until_parked(0).await;
    let nothing = running.client.redrive_parked_messages(by_operator(ask)).await.unwrap_err();
    assert_eq!(reason_of(&nothing), operations::PARKED_MESSAGE_NOT_FOUND);
    running.stop().await;
}

#[tokio::test]
async fn a_discarded_message_is_gone() {
    let mut running = start().await;
    running.until_parked(3).await;
    let position = running.page(1, "").await.messages[0].position;
    let ask = wire::DiscardParkedMessageRequest { subscription: "fragile".into(), position };
    running.client.discard_parked_message(by_operator(ask.clone())).await.unwrap();
    let again = running.client.discard_parked_message(by_operator(ask)).await.unwrap_err();
    assert_eq!(
        (again.code(), reason_of(&again).as_str()),
        (Code::NotFound, operations::PARKED_MESSAGE_NOT_FOUND)
    );
    running.until_parked(2).await;
    running.stop().await;
}

#[tokio::test]
async fn what_an_operator_asks_of_a_relay_is_there_for_it_whichever_replica_was_asked() {
    let mut running = start().await;
    let refill = |topic: &str| by_operator(wire::RefillTopicRequest { topic: topic.into() });
    let unknown = running.client.refill_topic(refill("shop.counters.v1")).await.unwrap_err();
    assert_eq!(reason_of(&unknown), operations::RELAY_NOT_FOUND);

    // As the relay of any replica does.
    let pool = sqlx::PgPool::connect(running._database.url()).await.unwrap();
    let store = RelayStore::new(pool.clone(), "shop.counters.v1", "counters");
    let place = store.begin(1).await.unwrap();
    store.advance(place.term, 3, &[2, 1]).await.unwrap();
    store.report(place.term, &SubscriptionState::Stopped("made anew".into())).await.unwrap();
    running.client.refill_topic(refill("shop.counters.v1")).await.unwrap();
    let relays = running
        .client
        .list_relays(by_operator(wire::ListRelaysRequest {}))
        .await
        .unwrap()
        .into_inner()
        .relays;
    let [relay] = relays.as_slice() else { panic!("there is one: {relays:?}") };
    assert_eq!((relay.position, relay.head, relay.wanted.as_str()), (3, 4, "REFILL"));
    assert_eq!((relay.state.as_str(), relay.error.as_str()), ("STOPPED", "made anew"));
    assert_eq!(store.wanted().await.unwrap(), Some(Wanted::Refill));

    // What a relay of an earlier term stores has no effect.
    let later = store.begin(1).await.unwrap();
    assert!(later.term > place.term && later.position == 3);
    assert!(!store.advance(place.term, 4, &[9, 9]).await.unwrap());
    let resume = wire::ResumeRelayRequest { topic: "shop.counters.v1".into(), position: 2 };
    running.client.resume_relay(by_operator(resume)).await.unwrap();
    assert_eq!(store.wanted().await.unwrap(), Some(Wanted::ResumeAfter(2)));
    pool.close().await;
    running.stop().await;
}

#[tokio::test]
async fn nobody_but_an_operator_may_look() {
    let mut running = start().await;
    let refused = running.client.list_subscriptions(wire::ListSubscriptionsRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    running.stop().await;
}

#[tokio::test]
async fn a_read_waits_for_the_position_that_it_was_given() {
    let running = start().await;
    let mut context = RequestContext::new(Caller::Operator, "/test");
    let seen = running.position.to_string();
    context.wait_for_position("", &[]).await.unwrap();
    context.wait_for_position(&seen, &[&running.model]).await.unwrap();
    context.wait_for_position(&format!("{seen},{seen}"), &[&running.model]).await.unwrap();

    let elsewhere = Position { log: "elsewhere".into(), ..running.position.clone() };
    let restored = Position { incarnation: 9, ..running.position.clone() };
    for wrong in
        ["%".to_owned(), ",".to_owned(), elsewhere.to_string(), restored.to_string(), "A".repeat(2000)]
    {
        let refused = context.wait_for_position(&wrong, &[&running.model]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong}");
    }

    let future = Position { number: running.position.number + 1, ..running.position.clone() };
    context.deadline = Some(tokio::time::Instant::now());
    let late = context.wait_for_position(&future.to_string(), &[&running.model]).await.unwrap_err();
    assert_eq!((late.code(), reason_of(&late).as_str()), (Code::Unavailable, reason::POSITION_NOT_REACHED));
    running.stop().await;
}
