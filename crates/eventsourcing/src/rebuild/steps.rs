//! What a rebuild does to the database, step by step: each is one transaction, and leaves a state that any process can
//! go on from. When which step is due is not decided here.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::part::{Part, next};
use super::{FORMER_KEPT, ReadModel, RebuildError, RebuildState, RebuildStatus};
use crate::feed::Place;
use crate::log::EventLog;
use crate::subscription::{Move, advance_checkpoint};

/// Events that the switch applies at most: more have come since it was filled, and it is filled again.
const SWITCH_WITHIN: i64 = 500;
/// Longest wait for a page of a serving projection to end.
const PAGE_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";
/// Longest wait of the switch for the lock of a table, and of readers behind it: below the second after which PostgreSQL
/// looks for deadlocks, so that it is never a reader who is given up.
const TABLE_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
/// Longest problem that is stored, in bytes.
const MAX_PROBLEM_BYTES: usize = 2000;
/// One for the page, one for looking.
const CONNECTIONS: u32 = 2;
/// A connection that is not used is closed after this: a server has few of them, and a rebuild is rare.
const IDLE: Duration = Duration::from_secs(3);

const OLD: &str = "@old";
const NEXT: &str = "@next";
const SERVING: &str = "";

/// The rebuilding of one model.
pub(super) struct Rebuild {
    pub(super) model: ReadModel,
    /// Only the copies are in sight here: a table that the model does not name is an error and not the serving one.
    pub(super) pool: PgPool,
    /// Other connections, so that a look never waits for a page.
    looks: PgPool,
}

/// What is due for a model.
#[derive(Debug)]
pub(super) struct Due {
    pub fill: bool,
    pub drop_former: bool,
}

impl Rebuild {
    pub fn new(log: &EventLog, model: ReadModel) -> Self {
        let path = format!("\"{}{NEXT}\"", model.name);
        // What is dropped with a schema, or is not there to be dropped, is nobody's news.
        let settings = [("search_path", path.as_str()), ("client_min_messages", "warning")];
        let connect: PgConnectOptions = log.connect_options().clone().options(settings);
        let pool =
            PgPoolOptions::new().max_connections(CONNECTIONS).idle_timeout(IDLE).connect_lazy_with(connect);
        Self { model, pool, looks: log.pool().clone() }
    }

    pub fn name(&self) -> &'static str {
        self.model.name
    }

    pub async fn due(&self) -> Result<Option<Due>, sqlx::Error> {
        let sql = "SELECT filling AND NOT failed, former_kept_until < now() AND NOT (filling AND from_former) \
                     FROM eventsourcing.rebuilds WHERE model = $1";
        let row: Option<(bool, Option<bool>)> =
            sqlx::query_as(sql).bind(self.name()).fetch_optional(&self.looks).await?;
        let due = row.map(|(fill, over)| Due { fill, drop_former: over == Some(true) });
        Ok(due.filter(|due| due.fill || due.drop_former))
    }

    pub async fn switches(&self) -> Result<i64, sqlx::Error> {
        let sql = "SELECT switches FROM eventsourcing.rebuilds WHERE model = $1";
        Ok(sqlx::query_scalar(sql).bind(self.name()).fetch_optional(&self.looks).await?.unwrap_or(0))
    }

    pub async fn status(&self) -> Result<RebuildStatus, RebuildError> {
        let sql = "SELECT filling, from_former, failed, begun_at, events_per_second, problem, switched_at, \
                          former_kept_until FROM eventsourcing.rebuilds WHERE model = $1";
        let row = sqlx::query(sql).bind(self.name()).fetch_optional(&self.looks).await?;
        let mut status = RebuildStatus {
            model: self.name(),
            state: RebuildState::Serving,
            position: 0,
            target: 0,
            events_per_second: 0.0,
            begun_at: None,
            problem: None,
            switched_at: None,
            former_kept_until: None,
        };
        if let Some(row) = row {
            read_status(&row, &mut status)?;
        }
        if status.state != RebuildState::Serving {
            let sql = "SELECT coalesce(sum(position), 0)::bigint FROM eventsourcing.checkpoints \
                        WHERE subscription = ANY ($1)";
            status.position = sqlx::query_scalar(sql).bind(self.names(NEXT)).fetch_one(&self.looks).await?;
            for part in &self.model.parts {
                status.target += part.newest().await?;
            }
            // It may have come further since it was asked.
            status.target = status.target.max(status.position);
        }
        Ok(status)
    }

    /// Begins, or takes up what has failed. What is under way stays so.
    pub async fn begin(&self) -> Result<(), RebuildError> {
        let mut transaction = self.pool.begin().await?;
        let again = "UPDATE eventsourcing.rebuilds SET failed = false, problem = NULL \
                      WHERE model = $1 AND filling RETURNING from_former";
        let again = sqlx::query_scalar(again).bind(self.name()).fetch_optional(&mut *transaction).await?;
        match again {
            Some(true) => return Err(RebuildError::UnderWay(self.name())),
            Some(false) => {}
            None => self.begin_anew(&mut transaction).await?,
        }
        Ok(transaction.commit().await?)
    }

    /// Before it goes on: what tables look like may have been migrated since, or a log restored. Then it begins anew.
    pub async fn resume(&self) -> Result<(), RebuildError> {
        let mut transaction = self.pool.begin().await?;
        let row = "SELECT from_former FROM eventsourcing.rebuilds WHERE model = $1 AND filling AND NOT failed FOR UPDATE";
        let row: Option<bool> =
            sqlx::query_scalar(row).bind(self.name()).fetch_optional(&mut *transaction).await?;
        let from_former = row.ok_or(RebuildError::NotBegun(self.name()))?;
        if self.fits(&mut transaction).await? {
            return Ok(());
        }
        if from_former {
            return Err(RebuildError::FormerIsOutdated(self.name()));
        }
        self.begin_anew(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn fits(&self, connection: &mut PgConnection) -> Result<bool, RebuildError> {
        let shape = "SELECT eventsourcing.rebuild_shape('public', $2) \
                            IS NOT DISTINCT FROM eventsourcing.rebuild_shape($1 || '@next', $2)";
        let same_shape: bool = sqlx::query_scalar(shape)
            .bind(self.name())
            .bind(self.model.tables)
            .fetch_one(&mut *connection)
            .await?;
        for part in &self.model.parts {
            let place = locked_place(connection, part.as_ref(), &next(part.subscription())).await?;
            let place = place.filter(|at| part.incarnation() == 0 || at.incarnation == part.incarnation());
            let newest = part.newest().await?;
            if place.is_none_or(|place| place.position > newest) {
                return Ok(false);
            }
        }
        Ok(same_shape)
    }

    async fn begin_anew(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        // Two who begin at once wait for each other here.
        let begun = "INSERT INTO eventsourcing.rebuilds (model, filling) VALUES ($1, true) \
                     ON CONFLICT (model) DO UPDATE SET filling = true, from_former = false, begun_at = now(), \
                                                       events_per_second = 0, failed = false, problem = NULL";
        sqlx::query(begun).bind(self.name()).execute(&mut *connection).await?;
        self.forget(NEXT, connection).await?;
        sqlx::query("SELECT eventsourcing.rebuild_drop_next($1)")
            .bind(self.name())
            .execute(&mut *connection)
            .await?;
        let create = "SELECT eventsourcing.rebuild_create($1, $2)";
        sqlx::query(create).bind(self.name()).bind(self.model.tables).execute(&mut *connection).await?;
        for part in &self.model.parts {
            sqlx::query(
                "INSERT INTO eventsourcing.checkpoints (subscription, log, partition, incarnation, position) \
                 VALUES ($1, $2, $3, $4, 0)",
            )
            .bind(next(part.subscription()))
            .bind(part.log())
            .bind(part.partition())
            .bind(part.incarnation())
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    /// Has what served before be filled up to the present, so that a switch can bring it back.
    pub async fn take_up_former(&self) -> Result<(), RebuildError> {
        let mut transaction = self.pool.begin().await?;
        let row = "SELECT filling, from_former, former_kept_until IS NOT NULL FROM eventsourcing.rebuilds \
                    WHERE model = $1 FOR UPDATE";
        let row: Option<(bool, bool, bool)> =
            sqlx::query_as(row).bind(self.name()).fetch_optional(&mut *transaction).await?;
        match row {
            // Asked for again.
            Some((true, true, _)) => {}
            Some((true, false, _)) => return Err(RebuildError::UnderWay(self.name())),
            None | Some((false, _, false)) => return Err(RebuildError::NoFormer(self.name())),
            Some((false, _, true)) => {
                let rename = "SELECT eventsourcing.rebuild_rename($1, true)";
                sqlx::query(rename).bind(self.name()).execute(&mut *transaction).await?;
                self.carry_over(OLD, NEXT, &mut transaction).await?;
            }
        }
        let taken = "UPDATE eventsourcing.rebuilds SET filling = true, from_former = true, events_per_second = 0, \
                            failed = false, problem = NULL, begun_at = CASE WHEN filling THEN begun_at ELSE now() END \
                      WHERE model = $1";
        sqlx::query(taken).bind(self.name()).execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Gives up what was filled. A former version that was taken up is kept as before.
    pub async fn abandon(&self) -> Result<(), RebuildError> {
        let mut transaction = self.pool.begin().await?;
        let ended = "UPDATE eventsourcing.rebuilds SET filling = false, failed = false, problem = NULL \
                      WHERE model = $1 AND filling RETURNING from_former";
        let former: Option<bool> =
            sqlx::query_scalar(ended).bind(self.name()).fetch_optional(&mut *transaction).await?;
        match former {
            None => return Err(RebuildError::NotBegun(self.name())),
            Some(true) => {
                self.carry_over(NEXT, OLD, &mut transaction).await?;
                let rename = "SELECT eventsourcing.rebuild_rename($1, false)";
                sqlx::query(rename).bind(self.name()).execute(&mut *transaction).await?;
            }
            Some(false) => {
                // The checkpoints first, as whoever fills does it.
                self.forget(NEXT, &mut transaction).await?;
                let drop = "SELECT eventsourcing.rebuild_drop_next($1)";
                sqlx::query(drop).bind(self.name()).execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Removes what served before, if its time is over.
    pub async fn drop_former(&self) -> Result<(), RebuildError> {
        let mut transaction = self.pool.begin().await?;
        let over = "UPDATE eventsourcing.rebuilds SET former_kept_until = NULL \
                     WHERE model = $1 AND former_kept_until < now() AND NOT (filling AND from_former)";
        let over = sqlx::query(over).bind(self.name()).execute(&mut *transaction).await?;
        if over.rows_affected() == 1 {
            self.forget(OLD, &mut transaction).await?;
            let drop = "SELECT eventsourcing.rebuild_drop_former($1)";
            sqlx::query(drop).bind(self.name()).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Notes what stands in the way, or that nothing does any more.
    pub async fn note(&self, problem: Option<&str>, failed: bool) -> Result<(), sqlx::Error> {
        let problem = problem.map(|problem| &problem[..problem.floor_char_boundary(MAX_PROBLEM_BYTES)]);
        let sql = "UPDATE eventsourcing.rebuilds SET problem = $2, failed = $3 WHERE model = $1 AND filling";
        sqlx::query(sql).bind(self.name()).bind(problem).bind(failed).execute(&self.looks).await?;
        Ok(())
    }

    /// Notes how fast it goes, which nothing stands in the way of.
    pub async fn note_rate(&self, events_per_second: f64) -> Result<(), sqlx::Error> {
        let sql = "UPDATE eventsourcing.rebuilds SET events_per_second = $2, problem = NULL \
                    WHERE model = $1 AND filling AND NOT failed";
        sqlx::query(sql).bind(self.name()).bind(events_per_second).execute(&self.looks).await?;
        Ok(())
    }

    /// Puts what was filled in the place of what serves, which is kept. Returns false when more must be filled before.
    pub async fn switch(&self) -> Result<bool, RebuildError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(PAGE_TIMEOUT).execute(&mut *transaction).await?;
        let row = "SELECT FROM eventsourcing.rebuilds WHERE model = $1 AND filling AND NOT failed FOR UPDATE";
        if sqlx::query(row).bind(self.name()).fetch_optional(&mut *transaction).await?.is_none() {
            return Err(RebuildError::NotBegun(self.name()));
        }
        // All of them before the first page: from here on the serving projections stand still.
        let mut places = Vec::new();
        for part in &self.model.parts {
            let serving = locked_place(&mut transaction, part.as_ref(), part.subscription()).await?;
            let filled = locked_place(&mut transaction, part.as_ref(), &next(part.subscription())).await?;
            let serving = serving.map_or(0, |place| place.position);
            places.push((serving, filled.ok_or(RebuildError::NotBegun(self.name()))?));
        }
        if places.iter().any(|(serving, filled)| serving - filled.position > SWITCH_WITHIN) {
            return Ok(false);
        }
        for (part, (serving, filled)) in self.model.parts.iter().zip(places) {
            if !self.close_up(part.as_ref(), filled, serving, &mut transaction).await? {
                return Ok(false);
            }
        }
        self.forget(OLD, &mut transaction).await?;
        self.carry_over(SERVING, OLD, &mut transaction).await?;
        self.carry_over(NEXT, SERVING, &mut transaction).await?;
        let ended = "UPDATE eventsourcing.rebuilds \
                        SET filling = false, from_former = false, problem = NULL, switches = switches + 1, \
                            switched_at = now(), former_kept_until = now() + make_interval(secs => $2) WHERE model = $1";
        let kept = FORMER_KEPT.as_secs_f64();
        sqlx::query(ended).bind(self.name()).bind(kept).execute(&mut *transaction).await?;
        sqlx::query(TABLE_TIMEOUT).execute(&mut *transaction).await?;
        let switch = "SELECT eventsourcing.rebuild_switch($1, $2)";
        sqlx::query(switch).bind(self.name()).bind(self.model.tables).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Applies the last events. Returns false when one of them cannot be, which whoever fills will see.
    async fn close_up(
        &self,
        part: &dyn Part,
        filled: Place,
        serving: i64,
        connection: &mut PgConnection,
    ) -> Result<bool, RebuildError> {
        let mut at = filled;
        while at.position < serving {
            at = match part.apply(connection, at, serving, SWITCH_WITHIN as usize).await {
                Ok(at) => at,
                Err(RebuildError::Poison { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
        }
        move_filled(connection, part, filled, at).await?;
        Ok(true)
    }

    /// Removes checkpoints and parked messages with this ending.
    async fn forget(&self, ending: &str, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for table in ["checkpoints", "parked_messages"] {
            let sql = format!("DELETE FROM eventsourcing.{table} WHERE subscription = ANY ($1)");
            sqlx::query(AssertSqlSafe(sql)).bind(self.names(ending)).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Gives checkpoints and parked messages another ending.
    async fn carry_over(
        &self,
        from: &str,
        to: &str,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        for (from, to) in self.names(from).into_iter().zip(self.names(to)) {
            for table in ["checkpoints", "parked_messages"] {
                let sql =
                    format!("UPDATE eventsourcing.{table} SET subscription = $2 WHERE subscription = $1");
                sqlx::query(AssertSqlSafe(sql)).bind(&from).bind(&to).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }

    fn names(&self, ending: &str) -> Vec<String> {
        let mut names: Vec<_> =
            self.model.parts.iter().map(|part| format!("{}{ending}", part.subscription())).collect();
        // Partitions of one subscription have one name.
        names.dedup();
        names
    }
}

/// Where a checkpoint is, locked until the end of the transaction; none if there is no such checkpoint.
pub(super) async fn locked_place(
    connection: &mut PgConnection,
    part: &dyn Part,
    name: &str,
) -> Result<Option<Place>, sqlx::Error> {
    let sql = "SELECT position, incarnation, resume FROM eventsourcing.checkpoints \
                WHERE subscription = $1 AND log = $2 AND partition = $3 FOR UPDATE";
    let query = sqlx::query_as(sql).bind(name).bind(part.log()).bind(part.partition());
    let place: Option<(i64, i32, Option<i64>)> = query.fetch_optional(connection).await?;
    Ok(place.map(|(position, incarnation, resume)| Place { position, incarnation, resume }))
}

/// Moves the checkpoint of what is filled.
pub(super) async fn move_filled(
    connection: &mut PgConnection,
    part: &dyn Part,
    from: Place,
    to: Place,
) -> Result<(), sqlx::Error> {
    let step = Move { log: part.log(), partition: part.partition(), from, to };
    advance_checkpoint(connection, &next(part.subscription()), step).await?;
    Ok(())
}

fn read_status(row: &PgRow, status: &mut RebuildStatus) -> Result<(), sqlx::Error> {
    let (filling, from_former, failed): (bool, bool, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    status.state = match (filling, failed, from_former) {
        (false, _, _) => RebuildState::Serving,
        (true, true, _) => RebuildState::Failed,
        (true, false, true) => RebuildState::SwitchingBack,
        (true, false, false) => RebuildState::Filling,
    };
    status.begun_at = Some(row.try_get(3)?);
    status.events_per_second = row.try_get(4)?;
    status.problem = row.try_get(5)?;
    status.switched_at = row.try_get(6)?;
    status.former_kept_until = row.try_get(7)?;
    Ok(())
}
