//! What is under way or waits for a person: sagas with their deadlines, parked messages, orders in motion.

use chrono::TimeDelta;

use crate::audit::AuditError;
use crate::audit::cut::{Cut, Log};
use crate::audit::facts::Facts;
use crate::audit::facts::sagas::{SagaFacts, SagaKey, TIMERS, stream};
use crate::audit::finding::{Finding, MAX_EXAMPLES};

/// How late a deadline may be handled by a shop that runs: its timers look every second.
const GRACE: TimeDelta = TimeDelta::seconds(60);

/// A saga that waits has a timer that wakes it, and a shop that runs wakes it in time. One that is stuck waits for
/// a person; [`stuck`] lists it.
pub fn sagas_in_time(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding = Finding::invariant(
        "sagas-in-time",
        "every saga is at its end, within its deadline with a timer set, or listed as stuck",
    );
    for (key, saga) in facts.sagas.known.iter() {
        let wrong = if facts.in_motion.contains(&key.1) { None } else { wrong_timer(cut, *key, saga) };
        finding.judge(wrong.is_none(), || format!("{}: {}", stream(*key), wrong.unwrap_or_default()));
    }
    finding
}

fn wrong_timer(cut: &Cut, key: SagaKey, saga: &SagaFacts) -> Option<&'static str> {
    let open = saga.saga.open.as_ref().filter(|open| open.stuck.is_none())?;
    let snapshot = &cut.snapshots[Log::Saga];
    let stream = stream(key);
    if snapshot.has_handled(TIMERS, &stream, saga.last) && !snapshot.has_task(TIMERS, &stream) {
        return Some("no timer will wake it");
    }
    let late = open.answer_by + GRACE < cut.at;
    // A shop that is stopped wakes its sagas when it runs again.
    (late && snapshot.running).then_some("its deadline has passed and nothing happened")
}

/// Sagas that wait for a person.
pub fn stuck(facts: &Facts) -> Finding {
    let mut finding = Finding::notice("sagas-stuck", "no saga waits for a person (see `shop saga --stuck`)");
    for (key, saga) in facts.sagas.known.iter() {
        finding.judge(!saga.is_stuck(), || format!("{}: {}", stream(*key), saga.saga.reason()));
    }
    finding
}

/// Messages that a service could not handle.
pub async fn parked(cut: &mut Cut) -> Result<Finding, AuditError> {
    let mut finding = Finding::notice("messages-parked", "no message is parked (see `shop parked`)");
    for log in Log::ALL {
        let snapshot = &mut cut.snapshots[log];
        // What a former version of a read model lacks is missed by nobody.
        let sql = "SELECT subscription, position, key, count(*) OVER () FROM eventsourcing.parked_messages \
                    WHERE subscription NOT LIKE '%@old' \
                    ORDER BY subscription, position LIMIT $1";
        let rows = sqlx::query_as(sql).bind(MAX_EXAMPLES as i64).fetch_all(snapshot.connection()).await;
        let rows: Vec<(String, i64, String, i64)> = rows.map_err(|error| snapshot.error(error))?;
        let all = rows.first().map_or(0, |(_, _, _, all)| all.unsigned_abs());
        finding.judged += all;
        for (subscription, position, key, _) in &rows {
            finding.fail(|| format!("{subscription} {position}, key {key}"));
        }
        finding.fail_more(all - rows.len() as u64);
    }
    Ok(finding)
}

/// Orders that moved while the cut was taken. They are judged by the next audit.
pub fn in_motion(facts: &Facts) -> Finding {
    let mut finding = Finding::notice("orders-in-motion", "no order changed at the moment of the audit");
    for order in &facts.in_motion {
        finding.judge(false, || format!("order {order} is judged by the next audit"));
    }
    finding
}
