//! `shop audit`: reads the five logs as they are stored, folds them with the services' own deciders, and checks
//! that the shop's invariants hold: within a log, between services, and between logs and read models. It writes
//! nothing and repairs nothing, and it may run beside a shop that runs or is stopped.
//!
//! # Why the cut is sound
//!
//! There is no moment that five databases share, and causes and consequences go back and forth between them
//! (order, saga, inventory, saga, payment, ...), so no order of reading gives one by itself. Instead:
//!
//! 1. The heads of all five logs are read.
//! 2. Then one read-only snapshot (`REPEATABLE READ`) of each database is taken. A log's events up to its
//!    snapshot are what is folded; since logs only grow and their positions are in the order of commits, reading
//!    them outside of the snapshot gives the same.
//! 3. Then the heads are read again.
//!
//! An order of which no log has an event between 1 and 2 was the same in every log at any moment between the last
//! head of 1 and the first snapshot of 2. What is folded of it is therefore what was true in all services at one
//! moment, and the rules between services can be judged as if there were one database. An order that moved
//! in between, a few milliseconds, is listed as in motion and judged by the next audit.
//!
//! Within such a moment something may be under way: an order is pending, a message is not handled yet. The rules
//! between services speak of orders at rest (their sagas have ended, and the orchestrator's checkpoints, read
//! in its snapshot, are beyond everything that was said of them); those that are not at rest must have a saga
//! with a timer, or be listed as stuck. `case.rs` says it exactly.
//!
//! A read model is compared with the fold up to its projection's checkpoint, both from one snapshot. What a
//! subscription has answered is looked up in the subscriber's snapshot, while the log that it follows is read up
//! to the heads of 3, which are beyond it: so every answer finds its message, and every message up to the
//! checkpoint its answer.
//!
//! # What it costs
//!
//! Events stream through, a page ahead of the fold. Kept is one small state for each stream; lines become pairs of
//! numbers, and names fingerprints.

mod case;
mod checks;
mod cut;
mod facts;
mod finding;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use eventsourcing::{EventLog, OpenError, RecordedEvent};
use tokio::sync::mpsc;

pub use cut::{Log, PerLog};
pub use finding::{Finding, Report, Verdict};

use checks::event_log::Inspector;
use checks::subscriptions::Deliveries;
use checks::{catalogue, event_log, goods, open_work, orders, payments, read_models};
use cut::Cut;
use facts::Facts;

/// Events read at once.
const PAGE: usize = 2000;
/// Pages that are read while another is folded.
const PAGES_AHEAD: usize = 2;

/// Why an audit came to no end. A broken invariant is a finding and no error.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the database of `{}` cannot be read: {source}", log.name())]
    Database { log: Log, source: sqlx::Error },
}

/// How far the reading of the logs has come, in positions of all logs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub of: u64,
}

/// Audits the shop whose logs are at these URLs, each as the role that its service works with.
///
/// # Errors
/// When a database cannot be opened or read.
pub async fn audit(urls: &PerLog<String>, progress: impl Fn(Progress)) -> Result<Report, AuditError> {
    let begun = Instant::now();
    let mut cut = Cut::take(urls).await?;
    let mut facts = Facts::new(&cut);
    let mut inspector = Inspector::new();
    let mut deliveries = Deliveries::new(&cut);
    let of = Log::ALL.iter().map(|log| cut.ends[*log].unsigned_abs()).sum();
    let (mut done, mut events) = (0, 0);
    for log in Log::ALL {
        let mut pages = read_ahead(cut.logs[log].clone(), cut.ends[log]);
        let mut position = 0;
        while let Some(page) = pages.recv().await {
            let page = page.map_err(|source| AuditError::Database { log, source })?;
            events += page.len() as u64;
            for event in &page {
                let fact = facts::decode(log, event);
                inspector.see(log, event, &fact);
                if let Ok(fact) = fact {
                    facts.see(&cut, log, event, &fact);
                    deliveries.see(log, event, &fact);
                }
                position = event.position.unsigned_abs();
            }
            deliveries.look_up(&mut cut, false).await?;
            progress(Progress { done: done + position, of });
        }
        done += position;
    }
    let findings = judge(&mut cut, &facts, inspector, deliveries).await?;
    let ok = findings.iter().all(|finding| finding.verdict != Verdict::Broken);
    Ok(Report { ok, events, seconds: begun.elapsed().as_secs_f64(), findings })
}

/// Reads a log in pages up to a position, a few pages ahead of whoever takes them.
fn read_ahead(log: EventLog, end: i64) -> mpsc::Receiver<Result<Vec<Arc<RecordedEvent>>, sqlx::Error>> {
    let (pages, taken) = mpsc::channel(PAGES_AHEAD);
    tokio::spawn(async move {
        let mut position = 0;
        while position < end {
            let page = log.read_after(position, PAGE).await.map(|mut page| {
                page.truncate(page.partition_point(|event| event.position <= end));
                page
            });
            let last = page.as_ref().ok().and_then(|page| page.last()).map(|event| event.position);
            // After the last page there is nothing more, and after an error nothing that could be relied on.
            position = last.unwrap_or(end);
            if pages.send(page).await.is_err() {
                return;
            }
        }
    });
    taken
}

async fn judge(
    cut: &mut Cut,
    facts: &Facts,
    inspector: Inspector,
    deliveries: Deliveries,
) -> Result<Vec<Finding>, AuditError> {
    let mut findings = Vec::new();
    findings.extend(inspector.finish());
    findings.push(event_log::distinct_ids(cut).await?);
    findings.push(event_log::answers(cut).await?);
    findings.push(event_log::checkpoints(cut));
    findings.push(goods::adds_up(facts));
    findings.push(goods::shortfalls(facts));
    findings.push(goods::reservations(facts));
    findings.push(goods::timers(cut, facts));
    findings.push(payments::one_capture(facts));
    findings.push(payments::refunds(facts));
    findings.push(payments::owed(cut, facts));
    findings.push(payments::calls(cut, facts));
    findings.push(payments::provider(cut, facts).await?);
    findings.push(orders::have_sagas(cut, facts));
    findings.push(orders::goods(cut, facts));
    findings.push(orders::hold_nothing(cut, facts));
    findings.push(orders::nothing_without(facts));
    findings.push(open_work::sagas_in_time(cut, facts));
    findings.push(catalogue::skus(facts));
    findings.push(catalogue::timers(cut, facts));
    findings.push(catalogue::copy(cut, facts).await?);
    findings.extend(read_models::check(cut, facts).await?);
    findings.extend(deliveries.finish(cut).await?);
    findings.push(open_work::stuck(facts));
    findings.push(open_work::parked(cut).await?);
    findings.push(open_work::in_motion(facts));
    Ok(findings)
}
