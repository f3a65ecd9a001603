//! The projection behind the reads, page by page and event by event.

use chrono::{DateTime, TimeDelta, Utc};
use eventsourcing::{HandlerError, Metadata, Projection, RecordedEvent, StreamId};
use order_service::adapters::projections::OrdersProjection;
use order_service::domain::order::{Amount, AmountKind, OrderEvent, OrderLine, OrderPlaced, Outcome};
use order_service::domain::{Currency, CustomerId, Money, OrderId, Quantity, ReasonCode, SealedText, Sku};
use order_service::{LOG, MIGRATIONS};
use sqlx::{Connection, PgConnection};
use testkit::TestDatabase;
use uuid::Uuid;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn placed(order: Uuid, customer: Option<&str>) -> OrderEvent {
    let price = Money::new(1250, Currency::parse("EUR").unwrap());
    OrderEvent::OrderPlaced(OrderPlaced {
        order_id: OrderId::new(order),
        customer_id: customer.map(|id| CustomerId::parse(id).unwrap()),
        lines: vec![OrderLine {
            sku: Sku::parse("MUG-1").unwrap(),
            name: "Mug".to_owned(),
            quantity: Quantity::new(1).unwrap(),
            unit_price: price,
            line_total: price,
        }],
        amounts: vec![Amount { kind: AmountKind::Items, money: price }],
        total: price,
        payment_token: None,
        contact: SealedText("sealed".to_owned()),
        placed_at: start(),
    })
}

fn cancellation() -> OrderEvent {
    OrderEvent::OrderCancellationRequested { reason: code("REQUESTED"), note: None, while_pending: true }
}

fn code(code: &str) -> ReasonCode {
    ReasonCode::parse(code).unwrap()
}

/// The events in the order of the log, a second apart, each with the next version of its order.
fn recorded(events: &[(Uuid, OrderEvent)]) -> Vec<RecordedEvent> {
    let version = |at: usize| events[..=at].iter().filter(|(order, _)| *order == events[at].0).count();
    let record = |at: usize| {
        let (order, event) = &events[at];
        let serde_json::Value::Object(named) = serde_json::to_value(event).unwrap() else {
            panic!("no name")
        };
        let (event_type, data) = named.into_iter().next().unwrap();
        RecordedEvent {
            position: at as i64 + 1,
            stream_id: StreamId::from_name(format!("order-{order}")),
            version: version(at) as u64,
            event_id: Uuid::now_v7(),
            command_id: Uuid::now_v7(),
            event_type,
            schema_version: 1,
            data: data.to_string(),
            metadata: Metadata::default(),
            recorded_at: start() + TimeDelta::seconds(at as i64),
        }
    };
    (0..events.len()).map(record).collect()
}

/// What the table shows after these pages. Nothing of it stays.
async fn shown(
    connection: &mut PgConnection,
    pages: &[&[RecordedEvent]],
) -> Result<Vec<String>, HandlerError> {
    let mut transaction = connection.begin().await?;
    for page in pages {
        OrdersProjection.apply_page(&mut transaction, page).await?;
    }
    let rows = "SELECT to_jsonb(o)::text FROM orders o ORDER BY order_id";
    Ok(sqlx::query_scalar(rows).fetch_all(&mut *transaction).await?)
}

#[tokio::test]
async fn pages_of_every_length_leave_what_the_events_leave_one_by_one() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
    let events = recorded(&[
        (b, placed(b, None)),
        (a, placed(a, Some("c-1"))),
        (a, cancellation()),
        (b, OrderEvent::OrderConfirmed {}),
        (c, placed(c, None)),
        (b, OrderEvent::OrderOutcomeReaffirmed { outcome: Outcome::Confirmed {} }),
        (a, OrderEvent::OrderCancelled { reason: code("REQUESTED") }),
        (c, OrderEvent::OrderRejected { reason: code("OUT_OF_STOCK") }),
        (b, OrderEvent::OrderShipped {}),
        (a, OrderEvent::OrderOutcomeReaffirmed { outcome: Outcome::Cancelled { reason: code("REQUESTED") } }),
        (b, OrderEvent::OrderDelivered {}),
    ]);
    let one_by_one: Vec<_> = events.iter().map(std::slice::from_ref).collect();
    let expected = shown(&mut connection, &one_by_one).await.unwrap();
    assert_eq!(expected.len(), 3);
    for (row, what) in expected.iter().zip(["\"cancelled\"", "\"delivered\"", "\"rejected\""]) {
        assert!(row.contains(what), "{row}");
    }
    for length in 2..=events.len() {
        let pages: Vec<_> = events.chunks(length).collect();
        assert_eq!(shown(&mut connection, &pages).await.unwrap(), expected, "pages of {length}");
    }
}

#[tokio::test]
async fn an_event_that_does_not_fit_names_itself() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let [known, unknown] = [1, 2].map(Uuid::from_u128);
    let never_placed = recorded(&[(known, placed(known, None)), (unknown, OrderEvent::OrderShipped {})]);
    let placed_twice = recorded(&[(known, placed(known, None)), (known, placed(known, None))]);
    for (events, culprit) in [(never_placed, unknown), (placed_twice, known)] {
        let refused = shown(&mut connection, &[&events]).await.unwrap_err();
        let HandlerError::Poison(why) = refused else { panic!("{refused}") };
        assert!(why.contains(&culprit.to_string()), "{why}");
    }
}
