//! Keeps the table `sagas` in step with the log: one statement for each event.

use chrono::{DateTime, Utc};
use eventsourcing::{HandlerError, Projection, RecordedEvent};
use service_runtime::fields;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::metrics;
use crate::application::SagaId;
use crate::domain::{Cancellation, Checkout, Event, Kind, Outcome, Status};

/// The projection behind `ListSagas` and the gauges.
pub struct ReadModel;

impl Projection for ReadModel {
    type Message = RecordedEvent;

    fn name(&self) -> &'static str {
        "saga.read-model"
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let event = match recorded.decode::<Checkout>()? {
            Some(event) => event,
            None => match recorded.decode::<Cancellation>()? {
                Some(event) => event,
                None => return Ok(()),
            },
        };
        let Some(SagaId { kind, .. }) = SagaId::of_stream(&recorded.stream_id) else { return Ok(()) };
        match &event {
            Event::CheckoutStarted { definition, at, .. }
            | Event::CancellationStarted { definition, at, .. } => {
                insert(connection, recorded, *definition, *at).await?;
            }
            event => update(connection, recorded, kind, event).await?,
        }
        Ok(())
    }
}

async fn insert(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    definition: u32,
    started_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO sagas (saga_id, status, definition, started_at, updated_at, version) \
         VALUES ($1, 'running', $2, $3, $4, $5)",
    )
    .bind(recorded.stream_id.as_str())
    .bind(definition as i32)
    .bind(started_at)
    .bind(recorded.recorded_at)
    .bind(recorded.version as i64)
    .execute(connection)
    .await?;
    Ok(())
}

/// Where a saga that is not stuck and not at its end stands.
const ON_ITS_WAY: &str = ", status = CASE WHEN turned_back IS NULL THEN 'running' ELSE 'compensating' END";
/// Nothing is waited for.
const CLOSED: &str = ", open_step = NULL, attempts = 0, deadline = NULL, stuck = NULL";

async fn update(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    kind: Kind,
    event: &Event,
) -> Result<(), sqlx::Error> {
    let mut sql = QueryBuilder::new("UPDATE sagas SET version = ");
    sql.push_bind(recorded.version as i64);
    sql.push(", updated_at = ").push_bind(recorded.recorded_at);
    set(&mut sql, recorded, event);
    sql.push(" WHERE saga_id = ").push_bind(recorded.stream_id.as_str().to_owned());
    sql.push(" RETURNING step_since");
    let since: Option<Option<DateTime<Utc>>> = sql.build_query_scalar().fetch_optional(connection).await?;
    measure(recorded, kind, event, since.flatten());
    Ok(())
}

fn set(sql: &mut QueryBuilder<Postgres>, recorded: &RecordedEvent, event: &Event) {
    match event {
        Event::StepRequested { request, attempt, answer_by, .. } => {
            sql.push(", open_step = ").push_bind(request.step().name());
            sql.push(", attempts = ").push_bind(*attempt as i32);
            sql.push(", deadline = ").push_bind(*answer_by);
            sql.push(", stuck = NULL").push(ON_ITS_WAY);
            if *attempt == 1 {
                sql.push(", step_since = ").push_bind(recorded.recorded_at);
            }
        }
        Event::OutcomeUnknown { answer_by, .. } => {
            sql.push(", deadline = ").push_bind(*answer_by).push(", stuck = NULL").push(ON_ITS_WAY);
        }
        Event::RefundRefused { again_at, .. } => {
            sql.push(", deadline = CASE WHEN stuck IS NULL THEN ").push_bind(*again_at).push(" END");
        }
        Event::StepSucceeded { .. } | Event::StepSkipped { .. } => {
            sql.push(CLOSED);
        }
        Event::StepFailed { reason, .. } => {
            sql.push(CLOSED)
                .push(", turned_back = coalesce(turned_back, ")
                .push_bind(reason.clone())
                .push(")");
        }
        Event::TurnedBack { reason, given_up, .. } => {
            sql.push(", turned_back = coalesce(turned_back, ").push_bind(reason.clone()).push(")");
            // An event that follows in the same append says what is waited for next.
            match given_up {
                Some(_) => sql.push(CLOSED),
                None => sql.push(", status = CASE WHEN stuck IS NULL THEN 'compensating' ELSE status END"),
            };
        }
        Event::SagaStuck { reason, .. } => {
            sql.push(", stuck = ").push_bind(reason.clone());
            sql.push(", deadline = NULL, status = ").push_bind(Status::Stuck.as_str());
        }
        Event::SagaEnded { outcome } => {
            let status = match outcome {
                Outcome::Completed => Status::Completed,
                Outcome::Compensated => Status::Compensated,
            };
            sql.push(CLOSED).push(", status = ").push_bind(status.as_str());
        }
        Event::CancellationNoted { .. }
        | Event::CaptureTurnedOutLate {}
        | Event::CheckoutStarted { .. }
        | Event::CancellationStarted { .. } => {}
    }
}

fn measure(recorded: &RecordedEvent, kind: Kind, event: &Event, step_since: Option<DateTime<Utc>>) {
    match event {
        Event::StepRequested { request, attempt, .. } if *attempt > 1 => {
            metrics::repeated(kind, request.step());
        }
        Event::StepSucceeded { step } => {
            if let Some(Ok(took)) = step_since.map(|since| (recorded.recorded_at - since).to_std()) {
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
