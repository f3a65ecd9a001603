//! The simulated provider by itself: it remembers, as a real one does.

use chrono::Utc;
use payment_service::adapters::simulator::{Simulator, SimulatorOptions};
use payment_service::application::{Action, Outcome, PaymentProvider, ProviderCall};
use payment_service::domain::{Currency, Money, OrderId, PaymentToken, ProviderReference, Reason, RefundId};
use payment_service::{LOG, MIGRATIONS};
use testkit::TestDatabase;
use tokio::sync::mpsc;
use uuid::Uuid;

async fn simulator(database: &TestDatabase) -> Simulator {
    let (notifications, _) = mpsc::channel(1);
    Simulator::connect(database.url(), SimulatorOptions::default(), notifications).await.unwrap()
}

fn euro(minor_units: i64) -> Money {
    Money::new(Currency::parse("EUR").unwrap(), minor_units)
}

fn call(order_id: Uuid, action: Action) -> ProviderCall {
    ProviderCall { order_id: OrderId(order_id), action, started_at: Utc::now() }
}

fn authorize() -> Action {
    Action::Authorize { amount: euro(1000), payment_token: PaymentToken::parse("tok_success").unwrap() }
}

fn refund(id: &str, minor_units: i64, provider_reference: &ProviderReference) -> Action {
    let (refund_id, provider_reference) = (RefundId::parse(id).unwrap(), provider_reference.clone());
    Action::Refund { refund_id, amount: euro(minor_units), provider_reference }
}

#[tokio::test]
async fn the_same_key_is_the_same_call_also_at_once_and_after_a_restart() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let (order, key) = (Uuid::now_v7(), Uuid::now_v7());
    let call = call(order, authorize());
    let provider = simulator(&database).await;
    let sends = (0..8).map(|_| provider.perform(&call, key));
    let outcomes = futures::future::join_all(sends).await;
    let restarted = simulator(&database).await;
    let after = restarted.perform(&call, key).await;
    assert!(outcomes.iter().all(|outcome| *outcome == after && after.is_ok()));
    let another = restarted.perform(&call, Uuid::now_v7()).await;
    assert_ne!(another, after, "another key is another payment");
}

#[tokio::test]
async fn money_moves_as_it_would() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let provider = simulator(&database).await;
    let order = Uuid::now_v7();
    let act = async |action| provider.perform(&call(order, action), Uuid::now_v7()).await.unwrap();
    let Outcome::Authorized { provider_reference } = act(authorize()).await else { panic!("declined") };
    let reference = || provider_reference.clone();
    let refused = |code: &str| Reason::of(code);

    let early = act(refund("early", 1, &reference())).await;
    let refund_id = RefundId::parse("early").unwrap();
    assert_eq!(early, Outcome::RefundFailed { refund_id, reason: refused("NOTHING_CAPTURED") });
    let capture = || Action::Capture { amount: euro(1000), provider_reference: reference() };
    assert_eq!(act(capture()).await, Outcome::Captured);
    assert_eq!(act(capture()).await, Outcome::CaptureFailed { reason: refused("PAYMENT_CAPTURED") });
    let void = Action::Void { provider_reference: reference() };
    assert_eq!(act(void).await, Outcome::Captured, "too late, and says so");
    let refund_id = |id| RefundId::parse(id).unwrap();
    assert_eq!(act(refund("a", 600, &reference())).await, Outcome::Refunded { refund_id: refund_id("a") });
    let too_much = act(refund("b", 401, &reference())).await;
    let reason = refused("AMOUNT_EXCEEDS_CAPTURE");
    assert_eq!(too_much, Outcome::RefundFailed { refund_id: refund_id("b"), reason });
}
