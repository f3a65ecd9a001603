//! Questions about sagas. One saga is read from its stream and is never behind; lists come from a table that
//! follows the log.

use chrono::{DateTime, Utc};
use eventsourcing::{DecodeError, EventLog, decider};
use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};

use super::timeline::TimelineEntry;
use super::view::{SagaId, SagaView};
use crate::domain::{Event, Saga, Status};

/// Events of a saga read at once.
const PAGE: usize = 500;
/// Newest entries of a timeline that are shown. A saga has a few dozen events unless operators retry it for days.
pub const MAX_TIMELINE: usize = 1000;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("the database cannot be asked: {0}")]
    Database(#[from] sqlx::Error),
    #[error("a saga cannot be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("the read model holds what this program does not know: {0}")]
    ReadModel(String),
}

/// Sagas of a list.
#[derive(Clone, Debug)]
pub struct SagaPage {
    pub sagas: Vec<SagaView>,
    /// Whether there are older ones.
    pub more: bool,
}

/// Reads of sagas. Cheap to clone.
#[derive(Clone)]
pub struct Queries {
    log: EventLog,
}

impl Queries {
    pub fn new(log: EventLog) -> Self {
        Self { log }
    }

    /// One saga with its timeline, oldest first; `None` if it never began.
    pub async fn saga(&self, id: SagaId) -> Result<Option<(SagaView, Vec<TimelineEntry>)>, QueryError> {
        let stream = id.stream();
        let (mut saga, mut version, mut timeline) = (Saga::default(), 0, Vec::<TimelineEntry>::new());
        loop {
            let events = self.log.read_stream(&stream, version, PAGE).await?;
            let read = events.len();
            for recorded in events {
                let event: Event =
                    decider::decode(&recorded.event_type, recorded.schema_version, &recorded.data)?;
                version = recorded.version;
                saga = saga.evolve(&event);
                let actor = &recorded.metadata.actor;
                timeline.push(TimelineEntry::of(
                    &event,
                    recorded.event_type.clone(),
                    actor,
                    recorded.recorded_at,
                ));
            }
            timeline.drain(..timeline.len().saturating_sub(MAX_TIMELINE));
            if read < PAGE {
                break;
            }
        }
        let updated_at = timeline.last().map(|entry| entry.at).unwrap_or_default();
        Ok(SagaView::of(&saga, version, updated_at).map(|view| (view, timeline)))
    }

    /// Sagas, newest first: at most `size`, behind the one that started at a time and has an id.
    pub async fn list(
        &self,
        status: Option<Status>,
        after: Option<(DateTime<Utc>, &str)>,
        size: u32,
    ) -> Result<SagaPage, QueryError> {
        let mut query = QueryBuilder::new(
            "SELECT saga_id, status, open_step, attempts, deadline, reason, definition, started_at, updated_at, \
                    version FROM sagas WHERE true",
        );
        if let Some(status) = status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some((started_at, saga_id)) = after {
            query.push(" AND (started_at, saga_id) < (").push_bind(started_at);
            query.push(", ").push_bind(saga_id.to_owned()).push(")");
        }
        query.push(" ORDER BY started_at DESC, saga_id DESC LIMIT ").push_bind(i64::from(size) + 1);
        let rows = query.build().fetch_all(self.log.pool()).await?;
        let more = rows.len() > size as usize;
        let sagas: Result<Vec<_>, _> = rows.iter().take(size as usize).map(saga_view).collect();
        Ok(SagaPage { sagas: sagas?, more })
    }
}

fn saga_view(row: &PgRow) -> Result<SagaView, QueryError> {
    let unknown = |what: &str| QueryError::ReadModel(what.to_owned());
    let id: String = row.try_get("saga_id")?;
    let status: String = row.try_get("status")?;
    let open_step: Option<String> = row.try_get("open_step")?;
    let open_step = match open_step {
        Some(name) => Some(serde_json::from_value(name.into()).map_err(|_| unknown("a step"))?),
        None => None,
    };
    Ok(SagaView {
        id: id.parse().map_err(|_| unknown("a saga's id"))?,
        status: Status::from_name(&status).ok_or_else(|| unknown("a status"))?,
        open_step,
        attempts: u32::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or_default(),
        deadline: row.try_get("deadline")?,
        reason: row.try_get("reason")?,
        definition: u32::try_from(row.try_get::<i32, _>("definition")?).unwrap_or_default(),
        started_at: row.try_get("started_at")?,
        updated_at: row.try_get("updated_at")?,
        version: u64::try_from(row.try_get::<i64, _>("version")?).unwrap_or_default(),
    })
}
