//! What the database of a service remembers of its relay, which copies the service's log into a topic elsewhere: how far
//! it came, what stands in its way, and what an operator asks of it. The relay itself is not here, and neither is
//! anything that knows what a topic is made of.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use crate::subscription::{SubscriptionState, Subscriptions};

/// Longest problem that is stored, in bytes.
const MAX_PROBLEM_BYTES: usize = 2000;

/// How far a relay came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayPlace {
    /// Raised by every relay that begins; only the newest may move on.
    pub term: i64,
    /// Of the log, when the position was stored.
    pub incarnation: i32,
    /// Nothing up to it is missing in the topic.
    pub position: i64,
    /// Where each partition of the topic began.
    pub begins: Vec<i64>,
    /// Where each partition ended when everything up to the position was acknowledged: it is never shorter again.
    pub ends: Vec<i64>,
    pub wanted: Option<Wanted>,
}

/// What an operator asks of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// To empty the topic and copy the whole log into it.
    Refill,
    /// To go on after a position that log and topic share.
    ResumeAfter(i64),
}

/// The stored place of one relay.
#[derive(Clone)]
pub struct RelayStore {
    pool: PgPool,
    topic: String,
    log: String,
}

const COLUMNS: &str = "term, incarnation, position, begins, ends, wanted, wanted_position";

impl RelayStore {
    /// Of the relay that copies `log` into `topic`.
    pub fn new(pool: PgPool, topic: impl Into<String>, log: impl Into<String>) -> Self {
        Self { pool, topic: topic.into(), log: log.into() }
    }

    /// Begins a new term: from now on every earlier one stores nothing.
    pub async fn begin(&self, incarnation: i32) -> Result<RelayPlace, sqlx::Error> {
        let sql = format!(
            "INSERT INTO eventsourcing.relays AS r (topic, log, incarnation, term) VALUES ($1, $2, $3, 1) \
             ON CONFLICT (topic) DO UPDATE SET term = r.term + 1 RETURNING {COLUMNS}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&self.topic).bind(&self.log).bind(incarnation);
        place(&row.fetch_one(&self.pool).await?)
    }

    /// Stores how far the topic is, if `term` is the newest; returns whether it is. A crash of the database may lose
    /// it, which only repeats work.
    pub async fn advance(&self, term: i64, position: i64, ends: &[i64]) -> Result<bool, sqlx::Error> {
        let mut transaction = crate::subscription::begin_relaxed(&self.pool).await?;
        let moved = sqlx::query(
            "UPDATE eventsourcing.relays SET position = $3, ends = $4, moved_at = now() \
              WHERE topic = $1 AND term = $2",
        );
        let moved = moved.bind(&self.topic).bind(term).bind(position).bind(ends);
        let moved = moved.execute(&mut *transaction).await?.rows_affected() == 1;
        transaction.commit().await?;
        Ok(moved)
    }

    /// Stores what the relay does, for operators who ask any replica.
    pub async fn report(&self, term: i64, state: &SubscriptionState) -> Result<(), sqlx::Error> {
        let (state, problem) = match state {
            SubscriptionState::StandBy => ("STAND_BY", None),
            SubscriptionState::Running => ("RUNNING", None),
            SubscriptionState::Retrying(why) => ("RETRYING", Some(why)),
            SubscriptionState::Stopped(why) => ("STOPPED", Some(why)),
        };
        let problem = problem.map(|why| &why[..why.floor_char_boundary(MAX_PROBLEM_BYTES)]);
        sqlx::query(
            "UPDATE eventsourcing.relays SET state = $3, problem = $4 WHERE topic = $1 AND term = $2",
        )
        .bind(&self.topic)
        .bind(term)
        .bind(state)
        .bind(problem)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What an operator asked for since.
    pub async fn wanted(&self) -> Result<Option<Wanted>, sqlx::Error> {
        let row = sqlx::query("SELECT wanted, wanted_position FROM eventsourcing.relays WHERE topic = $1");
        let row = row.bind(&self.topic).fetch_optional(&self.pool).await?;
        row.as_ref().map_or(Ok(None), wanted)
    }

    /// Does what an operator asked for: the place is another one now. Returns whether `term` is the newest.
    pub async fn move_to(&self, place: &RelayPlace) -> Result<bool, sqlx::Error> {
        let moved = sqlx::query(
            "UPDATE eventsourcing.relays SET incarnation = $3, position = $4, begins = $5, ends = $6, \
                    wanted = NULL, wanted_position = NULL, problem = NULL, moved_at = now() \
              WHERE topic = $1 AND term = $2",
        )
        .bind(&self.topic)
        .bind(place.term)
        .bind(place.incarnation)
        .bind(place.position)
        .bind(&place.begins)
        .bind(&place.ends)
        .execute(&self.pool)
        .await?;
        Ok(moved.rows_affected() == 1)
    }

    /// Removes what an operator asked for, which cannot be done.
    pub async fn decline(&self, term: i64) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE eventsourcing.relays SET wanted = NULL, wanted_position = NULL \
              WHERE topic = $1 AND term = $2",
        )
        .bind(&self.topic)
        .bind(term)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn place(row: &PgRow) -> Result<RelayPlace, sqlx::Error> {
    Ok(RelayPlace {
        term: row.try_get("term")?,
        incarnation: row.try_get("incarnation")?,
        position: row.try_get("position")?,
        begins: row.try_get("begins")?,
        ends: row.try_get("ends")?,
        wanted: wanted(row)?,
    })
}

fn wanted(row: &PgRow) -> Result<Option<Wanted>, sqlx::Error> {
    let position = row.try_get::<Option<i64>, _>("wanted_position")?.unwrap_or(0);
    Ok(match row.try_get::<Option<&str>, _>("wanted")? {
        Some("refill") => Some(Wanted::Refill),
        Some(_) => Some(Wanted::ResumeAfter(position)),
        None => None,
    })
}

/// A relay as operators see it, from whichever replica.
#[derive(Clone, Debug)]
pub struct RelayStatus {
    pub topic: String,
    pub log: String,
    /// Nothing up to it is missing in the topic.
    pub position: i64,
    /// The newest event of the log.
    pub head: i64,
    pub state: SubscriptionState,
    /// What an operator asked for and is not done yet.
    pub wanted: Option<Wanted>,
    pub moved_at: DateTime<Utc>,
}

/// The relays of one service: one, unless its topic got another name.
#[derive(Clone)]
pub struct Relays {
    pool: PgPool,
}

impl Relays {
    /// Of the service that these subscriptions belong to.
    pub fn beside(subscriptions: &Subscriptions) -> Self {
        Self { pool: subscriptions.pool().clone() }
    }

    /// In the database of a service.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// All of them, by topic. There is none where no Kafka is.
    pub async fn list(&self) -> Result<Vec<RelayStatus>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT topic, log, position, state, problem, wanted, wanted_position, moved_at, \
                    COALESCE((SELECT e.position FROM eventlog.events e ORDER BY e.position DESC LIMIT 1), 0) AS head \
               FROM eventsourcing.relays ORDER BY topic",
        );
        rows.fetch_all(&self.pool).await?.iter().map(status).collect()
    }

    /// Asks something of a relay, which does it within a few seconds. Returns whether there is such a relay.
    pub async fn ask(&self, topic: &str, what: Wanted) -> Result<bool, sqlx::Error> {
        let (what, position) = match what {
            Wanted::Refill => ("refill", None),
            Wanted::ResumeAfter(position) => ("resume", Some(position)),
        };
        let asked =
            sqlx::query("UPDATE eventsourcing.relays SET wanted = $2, wanted_position = $3 WHERE topic = $1");
        let asked = asked.bind(topic).bind(what).bind(position).execute(&self.pool).await?;
        Ok(asked.rows_affected() == 1)
    }
}

fn status(row: &PgRow) -> Result<RelayStatus, sqlx::Error> {
    let problem = row.try_get::<Option<String>, _>("problem")?.unwrap_or_default();
    Ok(RelayStatus {
        topic: row.try_get("topic")?,
        log: row.try_get("log")?,
        position: row.try_get("position")?,
        head: row.try_get("head")?,
        state: match row.try_get("state")? {
            "STOPPED" => SubscriptionState::Stopped(problem),
            "RETRYING" => SubscriptionState::Retrying(problem),
            "RUNNING" => SubscriptionState::Running,
            _ => SubscriptionState::StandBy,
        },
        wanted: wanted(row)?,
        moved_at: row.try_get("moved_at")?,
    })
}
