//! Keeps the table `sagas` in step with the log. A row is the fold of its saga's events, by the domain's own fold: the
//! state is read, the events of a page are folded onto it, and what they leave behind is written once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::{EventLog, HandlerError, Projection, RecordedEvent};
use serde::{Deserialize, Serialize};
use service_runtime::fields;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::{event_of, metrics};
use crate::application::{SagaId, SagaView};
use crate::domain::{Event, Kind, Saga, Step};

/// How long events wait for others to be written with: a saga that begins and ends meanwhile is written once. Only
/// lists and gauges read the table, and nothing is decided by them.
pub const LINGER: Duration = Duration::from_millis(200);

/// The read model behind `ListSagas` and the gauges.
pub const MODEL: &str = "saga.read-model";
/// Every table of this service that its projection writes or reads. A new one goes here, too.
pub const TABLES: &[&str] = &["sagas"];

/// What can be rebuilt.
pub fn rebuildable(log: &EventLog) -> Vec<eventsourcing::ReadModel> {
    let projection = ReadModel { measures: false };
    vec![eventsourcing::ReadModel::new(MODEL, TABLES).fed_by(Arc::new(log.clone()), projection)]
}

/// The projection behind it.
pub struct ReadModel {
    /// Whether what happens is counted and told, which is to happen once for each event.
    pub measures: bool,
}

/// What a row is made from.
#[derive(Clone, Debug, Default)]
struct Followed {
    state: State,
    version: u64,
    updated_at: DateTime<Utc>,
}

/// What the next event is folded onto.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    saga: Saga,
    /// When the open step was sent first.
    step_since: DateTime<Utc>,
}

impl Projection for ReadModel {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        MODEL
    }

    async fn apply(&self, connection: &mut PgConnection, event: &RecordedEvent) -> Result<(), HandlerError> {
        self.apply_page(connection, std::slice::from_ref(event)).await
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        page: &[RecordedEvent],
    ) -> Result<(), HandlerError> {
        let mut sagas = load(connection, page).await?;
        for recorded in page {
            let Some(event) = event_of(recorded)? else { continue };
            let Some(SagaId { kind, .. }) = SagaId::of_stream(&recorded.stream_id) else { continue };
            let followed = sagas.entry(recorded.stream_id.to_string()).or_default();
            if recorded.version <= followed.version {
                continue;
            }
            if self.measures {
                measure(recorded, kind, &event, followed.state.step_since);
            }
            followed.follow(recorded, &event);
        }
        store(connection, sagas).await
    }
}

impl Followed {
    fn follow(&mut self, recorded: &RecordedEvent, event: &Event) {
        let state = &mut self.state;
        state.saga = std::mem::take(&mut state.saga).evolve(event);
        if let Some(subject) = &mut state.saga.subject {
            // Nobody who looks at sagas needs these, and no fold depends on them.
            subject.lines.clear();
            subject.payment_token.clear();
        }
        if matches!(event, Event::StepRequested { attempt: 1, .. }) {
            state.step_since = recorded.recorded_at;
        }
        (self.version, self.updated_at) = (recorded.version, recorded.recorded_at);
    }
}

async fn load(
    connection: &mut PgConnection,
    page: &[RecordedEvent],
) -> Result<BTreeMap<String, Followed>, HandlerError> {
    let mut ids: Vec<&str> = page.iter().map(|event| event.stream_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    // Not `= ANY`: the statement keeps the plan that was good while the table was empty.
    let rows = sqlx::query(
        "SELECT s.saga_id, s.state, s.version, s.updated_at FROM unnest($1::text[]) AS wanted(saga_id), \
                LATERAL (SELECT * FROM sagas WHERE sagas.saga_id = wanted.saga_id LIMIT 1) s",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let row = |row: sqlx::postgres::PgRow| {
        let state = row.try_get::<Json<State>, _>(1)?.0;
        let version = row.try_get::<i64, _>(2)?.cast_unsigned();
        Ok::<_, sqlx::Error>((row.try_get(0)?, Followed { state, version, updated_at: row.try_get(3)? }))
    };
    Ok(rows.into_iter().map(row).collect::<Result<_, _>>()?)
}

/// Stores rows in the order of their keys, as every writer of them takes them.
async fn store(connection: &mut PgConnection, sagas: BTreeMap<String, Followed>) -> Result<(), HandlerError> {
    let mut rows = Vec::with_capacity(sagas.len());
    for (id, followed) in sagas {
        let view = SagaView::of(&followed.state.saga, followed.version, followed.updated_at);
        let Some(view) = view else { continue };
        let state = serde_json::to_string(&followed.state)
            .map_err(|error| HandlerError::Poison(format!("saga {id} cannot be written down: {error}")))?;
        rows.push((id, view, state));
    }
    if rows.is_empty() {
        return Ok(());
    }
    fn column<'r, T>(rows: &'r [(String, SagaView, String)], of: impl Fn(&'r SagaView) -> T) -> Vec<T> {
        rows.iter().map(|(_, view, _)| of(view)).collect()
    }
    sqlx::query(
        "INSERT INTO sagas (saga_id, state, status, open_step, attempts, deadline, reason, definition, started_at, \
                            updated_at, version) \
         SELECT r.saga_id, r.state::json, r.status, r.open_step, r.attempts, r.deadline, r.reason, r.definition, \
                r.started_at, r.updated_at, r.version \
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::timestamptz[], \
                       $7::text[], $8::int[], $9::timestamptz[], $10::timestamptz[], $11::bigint[]) \
                AS r(saga_id, state, status, open_step, attempts, deadline, reason, definition, started_at, \
                     updated_at, version) \
         ON CONFLICT (saga_id) DO UPDATE SET \
             state = excluded.state, status = excluded.status, open_step = excluded.open_step, \
             attempts = excluded.attempts, deadline = excluded.deadline, reason = excluded.reason, \
             updated_at = excluded.updated_at, version = excluded.version",
    )
    .bind(rows.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., state)| state.as_str()).collect::<Vec<_>>())
    .bind(column(&rows, |view| view.status.as_str()))
    .bind(column(&rows, |view| view.open_step.map(Step::name)))
    .bind(column(&rows, |view| view.attempts as i32))
    .bind(column(&rows, |view| view.deadline))
    .bind(column(&rows, |view| view.reason.as_str()))
    .bind(column(&rows, |view| view.definition as i32))
    .bind(column(&rows, |view| view.started_at))
    .bind(column(&rows, |view| view.updated_at))
    .bind(column(&rows, |view| view.version as i64))
    .execute(connection)
    .await?;
    Ok(())
}

fn measure(recorded: &RecordedEvent, kind: Kind, event: &Event, step_since: DateTime<Utc>) {
    match event {
        Event::StepRequested { request, attempt, .. } if *attempt > 1 => {
            metrics::repeated(kind, request.step());
        }
        Event::StepSucceeded { step } => {
            // A clock that was set back measures nothing.
            if let Ok(took) = (recorded.recorded_at - step_since).to_std() {
                metrics::step_took(kind, *step, took.as_secs_f64());
            }
        }
        Event::SagaStuck { step, reason } => {
            tracing::error!(
                { fields::STREAM } = %recorded.stream_id,
                step = step.name(),
                reason,
                "a saga is stuck: a person has to look"
            );
            metrics::stuck(kind, *step);
        }
        Event::SagaEnded { outcome } => metrics::ended(kind, *outcome),
        Event::StepRequested { .. }
        | Event::CheckoutStarted { .. }
        | Event::CancellationStarted { .. }
        | Event::StepFailed { .. }
        | Event::StepSkipped { .. }
        | Event::RefundRefused { .. }
        | Event::OutcomeUnknown { .. }
        | Event::CancellationNoted { .. }
        | Event::TurnedBack { .. }
        | Event::CaptureTurnedOutLate {} => {}
    }
}
