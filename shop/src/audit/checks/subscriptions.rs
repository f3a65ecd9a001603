//! Every published event was applied once by each subscriber. A reactor's command ids follow from its messages,
//! so what it should have answered can be computed and looked up; what it answered beyond that came from no
//! message. Projections are judged by their tables, and here only by the place that they reached.

use eventsourcing::{CommandContext, Metadata, RecordedEvent};
use inventory_service::domain::reservation::ReservationEvent;
use order_service::domain::order::OrderEvent;
use payment_service::domain::PaymentEvent;
use payment_service::domain::payment::Answer;
use saga_orchestrator::domain::{Event as SagaEvent, Step};
use uuid::Uuid;

use crate::audit::AuditError;
use crate::audit::cut::{Cut, Log, Reached};
use crate::audit::facts::Fact;
use crate::audit::finding::Finding;

/// Answers looked up at once.
const BATCH: usize = 1000;

/// A subscription that answers messages with commands.
struct Reactor {
    name: &'static str,
    /// Whose it is.
    of: Log,
    follows: Log,
    /// Whether a message is one that it answers; each such is one command.
    answers: fn(&Fact) -> bool,
}

const REACTORS: [Reactor; 6] = [
    Reactor {
        name: "inventory.saga-requests",
        of: Log::Inventory,
        follows: Log::Saga,
        answers: |fact| requested(fact).is_some_and(|step| participant(step) == Log::Inventory),
    },
    Reactor {
        name: "payment.saga-requests",
        of: Log::Payment,
        follows: Log::Saga,
        answers: |fact| requested(fact).is_some_and(|step| participant(step) == Log::Payment),
    },
    Reactor {
        name: "order.saga-requests",
        of: Log::Order,
        follows: Log::Saga,
        answers: |fact| requested(fact).is_some_and(|step| participant(step) == Log::Order),
    },
    Reactor { name: "saga.order-events", of: Log::Saga, follows: Log::Order, answers: concerns_sagas },
    Reactor {
        name: "saga.inventory-events",
        of: Log::Saga,
        follows: Log::Inventory,
        answers: concerns_sagas,
    },
    Reactor { name: "saga.payment-events", of: Log::Saga, follows: Log::Payment, answers: concerns_sagas },
];

/// Others that derive their commands: workers on queues, and notifications of the provider.
const OTHER_SCOPES: [&str; 5] = [
    "inventory.reservation-expiry",
    "payment.provider-calls",
    "payment.provider-webhooks",
    "product.price-schedule",
    "saga.timers",
];

fn requested(fact: &Fact) -> Option<Step> {
    match fact {
        Fact::Saga(_, _, SagaEvent::StepRequested { request, .. }) => Some(request.step()),
        _ => None,
    }
}

/// Who is asked to do a step.
fn participant(step: Step) -> Log {
    match step {
        Step::ReserveStock
        | Step::PinReservation
        | Step::CommitStock
        | Step::ReleaseStock
        | Step::RestockGoods => Log::Inventory,
        Step::AuthorizePayment | Step::CapturePayment | Step::VoidAuthorization | Step::RefundPayment => {
            Log::Payment
        }
        Step::ConfirmOrder | Step::RejectOrder | Step::CompleteCancellation => Log::Order,
    }
}

/// Whether the orchestrator tells its sagas of an event, be it that none waits for it.
fn concerns_sagas(fact: &Fact) -> bool {
    match fact {
        Fact::Order(_, happened) => {
            !matches!(happened, OrderEvent::OrderShipped {} | OrderEvent::OrderDelivered {})
        }
        Fact::Reservation(_, happened) => match happened {
            ReservationEvent::StockReserved { .. }
            | ReservationEvent::StockReservationRejected(_)
            | ReservationEvent::ReservationPinned {}
            | ReservationEvent::ReservationPinRejected { .. }
            | ReservationEvent::StockReleased {}
            | ReservationEvent::ReservationExpired {}
            | ReservationEvent::StockCommitted {}
            | ReservationEvent::StockRestocked {}
            | ReservationEvent::RequestAnswered { .. } => true,
        },
        Fact::Payment(_, PaymentEvent::OutcomeUnknown { .. }) => true,
        Fact::Payment(_, happened) => match happened.answer() {
            // Refunds that people asked for may have ids that no saga gives.
            Some(Answer::Refunded { refund_id, .. } | Answer::RefundFailed { refund_id, .. }) => {
                Uuid::parse_str(refund_id.as_str()).is_ok()
            }
            answer => answer.is_some(),
        },
        _ => false,
    }
}

/// Follows what each reactor should have answered, while the logs are read.
pub struct Deliveries(Vec<Delivery>);

struct Delivery {
    reactor: &'static Reactor,
    reached: Reached,
    /// Those that are looked up next.
    waiting: Vec<Message>,
    /// Answers that were found.
    found: i64,
    finding: Finding,
}

/// One that a reactor answers.
struct Message {
    position: i64,
    /// Whether it has been handled, by the checkpoint.
    due: bool,
    /// What it leads to.
    command: Uuid,
}

impl Deliveries {
    pub fn new(cut: &Cut) -> Self {
        let delivery = |reactor: &'static Reactor| Delivery {
            reactor,
            reached: cut.snapshots[reactor.of].reached(reactor.name),
            waiting: Vec::new(),
            found: 0,
            finding: Finding::invariant(
                format!("applied-once {}", reactor.name),
                "every message up to the checkpoint was answered once, and nothing else was",
            ),
        };
        Self(REACTORS.iter().map(delivery).collect())
    }

    pub fn see(&mut self, log: Log, event: &RecordedEvent, fact: &Fact) {
        for delivery in self.0.iter_mut().filter(|d| d.reactor.follows == log && (d.reactor.answers)(fact)) {
            let name = delivery.reactor.name;
            let command = CommandContext::derived(name, event.event_id, 0, Metadata::default()).command_id;
            let due = event.position <= delivery.reached.of(event.stream_id.as_str());
            delivery.waiting.push(Message { position: event.position, due, command });
        }
    }

    /// Looks up what has come together. `all`: also what is less than a batch.
    pub async fn look_up(&mut self, cut: &mut Cut, all: bool) -> Result<(), AuditError> {
        for delivery in &mut self.0 {
            while delivery.waiting.len() >= BATCH || (all && !delivery.waiting.is_empty()) {
                let rest = delivery.waiting.split_off(delivery.waiting.len().min(BATCH));
                let batch = std::mem::replace(&mut delivery.waiting, rest);
                delivery.look_up(cut, &batch).await?;
            }
        }
        Ok(())
    }

    /// The findings, once every log was read to its end.
    pub async fn finish(mut self, cut: &mut Cut) -> Result<Vec<Finding>, AuditError> {
        self.look_up(cut, true).await?;
        let mut findings = Vec::new();
        for mut delivery in self.0 {
            delivery.count_surplus(cut).await?;
            findings.push(delivery.finding);
        }
        findings.push(known_scopes(cut).await?);
        Ok(findings)
    }
}

impl Delivery {
    fn scope(&self) -> String {
        format!("subscription:{}", self.reactor.name)
    }

    async fn look_up(&mut self, cut: &mut Cut, batch: &[Message]) -> Result<(), AuditError> {
        let snapshot = &mut cut.snapshots[self.reactor.of];
        let commands: Vec<Uuid> = batch.iter().map(|message| message.command).collect();
        // The index is the way for a thousand ids, whatever the planner believes of a table that grows fast.
        let forced = sqlx::query("SET LOCAL enable_seqscan = off").execute(snapshot.connection()).await;
        forced.map_err(|error| snapshot.error(error))?;
        let sql = "SELECT command_id FROM eventlog.command_results WHERE scope = $1 AND command_id = ANY($2)";
        let query = sqlx::query_scalar(sql).bind(self.scope()).bind(commands);
        let answered = query.fetch_all(snapshot.connection()).await;
        let answered: std::collections::HashSet<Uuid> =
            answered.map_err(|error| snapshot.error(error))?.into_iter().collect();
        let reset = sqlx::query("SET LOCAL enable_seqscan = on").execute(snapshot.connection()).await;
        reset.map_err(|error| snapshot.error(error))?;
        self.found += answered.len() as i64;

        let due = batch.iter().filter(|message| message.due);
        let missing: Vec<i64> = due
            .clone()
            .filter(|message| !answered.contains(&message.command))
            .map(|message| message.position)
            .collect();
        self.finding.judged += due.count() as u64;
        if missing.is_empty() {
            return Ok(());
        }
        let sql = "SELECT position FROM eventsourcing.parked_messages WHERE subscription = $1 AND position = ANY($2)";
        let query = sqlx::query_scalar(sql).bind(self.reactor.name).bind(&missing);
        let parked: Vec<i64> =
            query.fetch_all(snapshot.connection()).await.map_err(|error| snapshot.error(error))?;
        for position in missing.iter().filter(|position| !parked.contains(position)) {
            let follows = self.reactor.follows.name();
            self.finding.fail(|| format!("{follows}@{position} was passed over"));
        }
        Ok(())
    }

    /// Answers beyond those to messages. The logs were read beyond all snapshots, so whatever was answered there
    /// has been seen.
    async fn count_surplus(&mut self, cut: &mut Cut) -> Result<(), AuditError> {
        let snapshot = &mut cut.snapshots[self.reactor.of];
        let sql = "SELECT count(*) FROM eventlog.command_results WHERE scope = $1";
        let stored = sqlx::query_scalar(sql).bind(self.scope()).fetch_one(snapshot.connection()).await;
        let stored: i64 = stored.map_err(|error| snapshot.error(error))?;
        let surplus = stored - self.found;
        if surplus != 0 {
            let name = self.reactor.name;
            self.finding.fail(|| format!("{surplus} answer(s) of {name} belong to no message"));
        }
        Ok(())
    }
}

/// A subscription under another name would apply everything a second time.
async fn known_scopes(cut: &mut Cut) -> Result<Finding, AuditError> {
    let mut finding =
        Finding::invariant("applied-by-known", "commands are derived by the shop's own subscriptions alone");
    for log in Log::ALL {
        let snapshot = &mut cut.snapshots[log];
        // One step of the index for each scope. `;` follows `:`.
        let sql = "WITH RECURSIVE scopes AS ( \
                     SELECT min(scope) AS scope FROM eventlog.command_results \
                      WHERE scope >= 'subscription:' AND scope < 'subscription;' \
                   UNION ALL \
                     SELECT (SELECT min(r.scope) FROM eventlog.command_results r \
                              WHERE r.scope > s.scope AND r.scope < 'subscription;') \
                       FROM scopes s WHERE s.scope IS NOT NULL) \
                   SELECT scope FROM scopes WHERE scope IS NOT NULL";
        let scopes = sqlx::query_scalar(sql).fetch_all(snapshot.connection()).await;
        let scopes: Vec<String> = scopes.map_err(|error| snapshot.error(error))?;
        for scope in scopes {
            let name = scope.trim_start_matches("subscription:");
            let ours = |reactor: &Reactor| reactor.of == log && reactor.name == name;
            let known = REACTORS.iter().any(ours) || OTHER_SCOPES.contains(&name);
            finding.judge(known, || format!("{name} in the log {}", log.name()));
        }
    }
    Ok(finding)
}
