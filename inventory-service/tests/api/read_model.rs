//! The projection behind the reads, page by page and event by event.

use chrono::{DateTime, TimeDelta, Utc};
use eventsourcing::{Metadata, Projection, RecordedEvent, StreamId};
use inventory_service::adapters::projections::ReadModel;
use inventory_service::{LOG, MIGRATIONS};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use testkit::TestDatabase;
use uuid::Uuid;

/// The events in the order of the log, a second apart, each with the next version of its stream.
fn recorded(events: &[(&str, &str, Value)]) -> Vec<RecordedEvent> {
    let version = |at: usize| events[..=at].iter().filter(|(stream, ..)| *stream == events[at].0).count();
    let record = |at: usize| RecordedEvent {
        position: at as i64 + 1,
        stream_id: StreamId::from_name(events[at].0),
        version: version(at) as u64,
        event_id: Uuid::now_v7(),
        command_id: Uuid::now_v7(),
        event_type: events[at].1.to_owned(),
        schema_version: 1,
        data: events[at].2.to_string(),
        metadata: Metadata::default(),
        recorded_at: DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap()
            + TimeDelta::seconds(at as i64),
    };
    (0..events.len()).map(record).collect()
}

/// What the tables show after these pages. Nothing of it stays.
async fn shown(connection: &mut PgConnection, pages: &[&[RecordedEvent]]) -> Vec<String> {
    let mut transaction = connection.begin().await.unwrap();
    for page in pages {
        ReadModel.apply_page(&mut transaction, page).await.unwrap();
    }
    let rows = "SELECT to_jsonb(s)::text FROM stock_levels s UNION ALL SELECT to_jsonb(r)::text FROM reservations r \
                 ORDER BY 1";
    sqlx::query_scalar(rows).fetch_all(&mut *transaction).await.unwrap()
}

#[tokio::test]
async fn pages_of_every_length_leave_what_the_events_leave_one_by_one() {
    let database = TestDatabase::new(LOG, MIGRATIONS).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let [sold, late, tombstone] = [1, 2, 3].map(|n| Uuid::from_u128(n).to_string());
    let reservation = |order: &str| format!("reservation-{order}");
    let (r_sold, r_late, r_tombstone) = (reservation(&sold), reservation(&late), reservation(&tombstone));
    let pieces = |quantity: i64| json!({"order_id": sold, "quantity": quantity});
    let held = json!({"lines": [{"sku": "mug", "quantity": 2}], "expires_at": "2027-01-15T08:10:00Z"});
    let rejection = json!({"reason": "RELEASED_BEFORE", "lacking": []});
    let rejection = || rejection.clone();
    let events = recorded(&[
        ("stock-mug", "StockReceived", json!({"quantity": 5, "reference": "r"})),
        ("stock-cup", "StockReceived", json!({"quantity": 3, "reference": "r"})),
        (&r_tombstone, "StockReleased", json!({})),
        ("stock-mug", "PiecesReserved", pieces(2)),
        (&r_sold, "StockReserved", held),
        ("stock-mug", "StockAdjusted", json!({"delta": -4, "reason": "broken"})),
        ("stock-mug", "ShortfallOpened", json!({"missing": 1})),
        (&r_tombstone, "StockReservationRejected", rejection()),
        (&r_late, "StockReservationRejected", rejection()),
        (&r_sold, "ReservationPinned", json!({})),
        ("stock-mug", "PiecesCommitted", pieces(2)),
        (&r_sold, "StockCommitted", json!({})),
        ("stock-mug", "PiecesRestocked", pieces(2)),
        ("stock-mug", "ShortfallClosed", json!({})),
        (&r_sold, "StockRestocked", json!({})),
        ("stock-mug", "AvailabilityChanged", json!({"in_stock": true})),
    ]);
    let one_by_one: Vec<_> = events.iter().map(std::slice::from_ref).collect();
    let expected = shown(&mut connection, &one_by_one).await;
    assert_eq!(expected.len(), 5);
    let row = |key: &str| {
        let row = expected.iter().find(|row| row.contains(key)).unwrap();
        serde_json::from_str::<Value>(row).unwrap()
    };
    let mug = row("\"mug\", \"version\"");
    assert_eq!(
        (&mug["available"], &mug["shortfall_open"], &mug["version"]),
        (&json!(1), &json!(false), &json!(8))
    );
    assert_eq!(row(&sold)["status"], "restocked");
    assert_eq!(row(&late)["status"], "rejected");
    assert_eq!(row(&tombstone)["status"], "released", "a refusal afterwards does not change how it ended");
    for length in 2..=events.len() {
        let pages: Vec<_> = events.chunks(length).collect();
        assert_eq!(shown(&mut connection, &pages).await, expected, "pages of {length}");
    }
}
