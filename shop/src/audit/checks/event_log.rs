//! The logs themselves: versions, ids, decodable events, stored answers, and checkpoints that are not ahead.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use eventsourcing::RecordedEvent;

use crate::audit::AuditError;
use crate::audit::cut::{Cut, Log, PerLog, Snapshot};
use crate::audit::facts::{Fact, Undecodable};
use crate::audit::finding::{Finding, MAX_EXAMPLES};

/// Looks at every event as it goes by.
pub struct Inspector {
    /// The newest version of each stream, by a fingerprint of its id.
    versions: PerLog<HashMap<(u64, u64), u64>>,
    positions: PerLog<i64>,
    fingerprint: (RandomState, RandomState),
    order: Finding,
    decodable: Finding,
}

impl Inspector {
    pub fn new() -> Self {
        let order = Finding::invariant(
            "log-versions",
            "the versions of a stream run from 1 without a hole, in the order of positions",
        );
        let decodable = Finding::invariant("log-decodes", "every event is one that this program knows");
        Self {
            versions: PerLog(std::array::from_fn(|_| HashMap::new())),
            positions: PerLog([0; Log::ALL.len()]),
            fingerprint: (RandomState::new(), RandomState::new()),
            order,
            decodable,
        }
    }

    pub fn see(&mut self, log: Log, event: &RecordedEvent, decoded: &Result<Fact, Undecodable>) {
        let (one, other) = &self.fingerprint;
        let stream = (one.hash_one(&event.stream_id), other.hash_one(&event.stream_id));
        let before = self.versions[log].insert(stream, event.version).unwrap_or(0);
        let follows = event.version == before + 1 && event.position > self.positions[log];
        self.positions[log] = event.position;
        self.order.judge(follows, || {
            format!(
                "{}: stream {} goes from version {before} to {}",
                place(log, event),
                event.stream_id,
                event.version
            )
        });
        self.decodable.judge(decoded.is_ok(), || {
            // A decoder's complaint may quote the event, so only what kind of event it was is told.
            format!("{}: {} version {}", place(log, event), event.event_type, event.schema_version)
        });
    }

    /// The findings on versions and on events that nobody knows.
    pub fn finish(self) -> [Finding; 2] {
        [self.order, self.decodable]
    }
}

fn place(log: Log, event: &RecordedEvent) -> String {
    format!("{}@{}", log.name(), event.position)
}

/// Consumers tell events apart by their ids.
pub async fn distinct_ids(cut: &mut Cut) -> Result<Finding, AuditError> {
    let mut finding = Finding::invariant("log-event-ids", "no two events of a log have one id");
    for log in Log::ALL {
        let snapshot = &mut cut.snapshots[log];
        finding.judged += count(snapshot, "SELECT count(*) FROM eventlog.events").await?;
        let sql = "SELECT min(position), count(*) OVER () FROM eventlog.events \
                    GROUP BY event_id HAVING count(*) > 1 ORDER BY 1 LIMIT $1";
        let query = sqlx::query_as(sql).bind(MAX_EXAMPLES as i64);
        let rows = query.fetch_all(snapshot.connection()).await;
        let rows: Vec<(i64, i64)> = rows.map_err(|error| snapshot.error(error))?;
        examples(&mut finding, &rows, |position| format!("{}@{position} and a later event", log.name()));
    }
    Ok(finding)
}

/// Every event came from a command whose answer is stored. Those of clients may be forgotten after seven days;
/// those of subscriptions and tasks, whose actors are named after their service, never are.
pub async fn answers(cut: &mut Cut) -> Result<Finding, AuditError> {
    let mut finding = Finding::invariant(
        "log-answers",
        "every event's command has its stored answer, and no answer is ahead of the log",
    );
    for log in Log::ALL {
        let snapshot = &mut cut.snapshots[log];
        finding.judged += count(snapshot, "SELECT count(*) FROM eventlog.events").await?;
        let sql = "SELECT e.position, count(*) OVER () FROM eventlog.events e \
                    WHERE NOT EXISTS (SELECT FROM eventlog.command_results r WHERE r.command_id = e.command_id) \
                      AND (e.recorded_at > now() - interval '7 days' OR starts_with(e.metadata ->> 'actor', $2)) \
                    ORDER BY 1 LIMIT $1";
        let query = sqlx::query_as(sql).bind(MAX_EXAMPLES as i64).bind(format!("{}.", log.name()));
        let rows = query.fetch_all(snapshot.connection()).await;
        let rows: Vec<(i64, i64)> = rows.map_err(|error| snapshot.error(error))?;
        examples(&mut finding, &rows, |position| format!("{}@{position} has no answer", log.name()));

        let sql = "SELECT count(*) FROM eventlog.command_results \
                    WHERE position > (SELECT coalesce(max(position), 0) FROM eventlog.events)";
        let ahead = count(snapshot, sql).await?;
        if ahead > 0 {
            finding.fail(|| format!("{ahead} answer(s) of {} are ahead of its log", log.name()));
        }
    }
    Ok(finding)
}

/// A checkpoint names a place that its log has reached.
pub fn checkpoints(cut: &Cut) -> Finding {
    let mut finding =
        Finding::invariant("log-checkpoints", "no checkpoint is ahead of the log that it follows");
    for log in Log::ALL {
        for checkpoint in &cut.snapshots[log].checkpoints {
            // The end was read after the checkpoint, so what the checkpoint has seen is below it.
            let reached = Log::of_name(&checkpoint.log).is_some_and(|followed| {
                checkpoint.position <= cut.ends[followed]
                    && [0, cut.snapshots[followed].incarnation].contains(&checkpoint.incarnation)
            });
            finding.judge(reached, || {
                format!("{} is at {}@{}", checkpoint.subscription, checkpoint.log, checkpoint.position)
            });
        }
    }
    finding
}

async fn count(snapshot: &mut Snapshot, sql: &'static str) -> Result<u64, AuditError> {
    let count = sqlx::query_scalar(sql).fetch_one(snapshot.connection()).await;
    let count: i64 = count.map_err(|error| snapshot.error(error))?;
    Ok(count.unsigned_abs())
}

/// Adds rows that break a rule; each says how many there are in all.
fn examples(finding: &mut Finding, rows: &[(i64, i64)], name: impl Fn(i64) -> String) {
    for (position, _) in rows {
        finding.fail(|| name(*position));
    }
    let all = rows.first().map_or(0, |(_, all)| *all);
    finding.fail_more(all.unsigned_abs().saturating_sub(rows.len() as u64));
}
