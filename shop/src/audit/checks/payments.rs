//! Money: what was taken, what was paid back, and what the orders owe.

use std::collections::HashMap;

use futures::TryStreamExt;
use order_service::domain::order::Phase;
use sqlx::Row;
use uuid::Uuid;

use crate::audit::AuditError;
use crate::audit::case::Case;
use crate::audit::cut::{Cut, Log};
use crate::audit::facts::Facts;
use crate::audit::facts::payments::CALLS;
use crate::audit::finding::Finding;

/// An order is charged once.
pub fn one_capture(facts: &Facts) -> Finding {
    let mut finding = Finding::invariant("payments-one-capture", "an order's money is taken once at most");
    for (order, payment) in facts.payments.known.iter() {
        finding
            .judge(payment.captures <= 1, || format!("order {order}: captured {} times", payment.captures));
    }
    finding
}

/// Nobody gets more back than was taken, refunds under way included.
pub fn refunds(facts: &Facts) -> Finding {
    let mut finding = Finding::invariant("payments-refunds", "refunds never exceed the capture");
    for (order, payment) in facts.payments.known.iter() {
        let (captured, paid_back) = (payment.captured(), payment.paid_back);
        let left = payment.state.left().is_none_or(|left| left.minor_units >= 0);
        finding.judge(left && paid_back <= captured && paid_back == payment.refunded(), || {
            format!("order {order}: captured {captured}, paid back {paid_back}")
        });
    }
    finding
}

/// What is kept is what the order costs while it stands, less what people paid back by hand; and nothing when it
/// was rejected or cancelled. Orders that are under way owe what their sagas make of it.
pub fn owed(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding = Finding::invariant(
        "payments-owed",
        "captured less refunded is what the order owes: its total while it stands, else nothing",
    );
    for case in Case::all(cut, facts).filter(Case::is_at_rest) {
        let Some(order) = case.order else { continue };
        let total = order.total.map_or(0, |total| total.minor_units);
        let (captured, refunded, by_people) = case.payment.map_or((0, 0, 0), |payment| {
            (payment.captured(), payment.refunded(), payment.refunded_by_people())
        });
        let taken_in = case.payment.and_then(|payment| payment.state.captured());
        let same_currency = match (taken_in, order.total) {
            (Some(taken), Some(total)) => taken.currency.as_str() == total.currency.code(),
            _ => true,
        };
        let kept = captured - refunded;
        let holds = match order.state.phase {
            Phase::Confirmed | Phase::Shipped | Phase::Delivered => {
                captured == total && same_currency && kept == total - by_people && kept >= 0
            }
            Phase::Rejected(_) | Phase::Cancelled(_) => kept == 0,
            Phase::Unplaced | Phase::Pending => continue,
        };
        finding.judge(holds, || {
            let phase = case.phase_name();
            format!("order {}: {phase}, total {total}, captured {captured}, refunded {refunded}", case.id)
        });
    }
    finding
}

/// A payment that waits for the provider has a call that will be made, or asked about.
pub fn calls(cut: &Cut, facts: &Facts) -> Finding {
    let mut finding =
        Finding::invariant("payments-calls", "what waits for the provider has a call scheduled");
    let snapshot = &cut.snapshots[Log::Payment];
    for (order, payment) in facts.payments.known.iter() {
        let stream = format!("payment-{order}");
        if payment.is_pending() && snapshot.has_handled(CALLS, &stream, payment.last) {
            finding.judge(snapshot.has_task(CALLS, &stream), || format!("order {order}: nobody calls"));
        }
    }
    finding
}

/// What the simulated provider did for one order.
#[derive(Default)]
struct Account {
    captured: i64,
    refunded: i64,
    captures: i64,
    holds: i64,
}

/// The provider's own memory agrees with the payments: a log that says one capture is worth little if the
/// provider took the money twice. Only the simulator can be asked here.
pub async fn provider(cut: &mut Cut, facts: &Facts) -> Result<Finding, AuditError> {
    let rule = "the simulated provider took and paid back what the payments say, and holds nothing that was given up";
    let mut finding = Finding::invariant("payments-provider", rule);
    let accounts = accounts(cut).await?;
    if accounts.is_empty() {
        return Ok(finding);
    }
    for (order, payment) in facts.payments.known.iter() {
        let none = Account::default();
        let account = accounts.get(order).unwrap_or(&none);
        // While a call is under way the provider is ahead; but it never takes money twice.
        let agrees = payment.is_pending()
            || (account.captured == payment.captured()
                && account.refunded == payment.refunded()
                && account.holds == i64::from(payment.is_held()));
        finding.judge(agrees && account.captures <= 1, || {
            let Account { captured, refunded, captures, holds } = account;
            format!(
                "order {order}: the provider took {captured} in {captures} capture(s), paid {refunded} back and \
                 holds {holds} authorization(s); the log says {} taken and {} paid back",
                payment.captured(),
                payment.refunded()
            )
        });
    }
    for order in accounts.keys().filter(|order| facts.payments.known.get(order).is_none()) {
        finding.judge(false, || format!("order {order}: the provider knows a payment that the log does not"));
    }
    Ok(finding)
}

async fn accounts(cut: &mut Cut) -> Result<HashMap<Uuid, Account>, AuditError> {
    let snapshot = &mut cut.snapshots[Log::Payment];
    let sql = "SELECT order_id, sum(amount) FILTER (WHERE status = 'captured')::bigint, sum(refunded)::bigint, \
                      count(*) FILTER (WHERE status = 'captured'), count(*) FILTER (WHERE status = 'authorized') \
                 FROM simulator_payments GROUP BY order_id";
    let read = async {
        let mut accounts = HashMap::new();
        let mut rows = sqlx::query(sql).fetch(snapshot.connection());
        while let Some(row) = rows.try_next().await? {
            let account = Account {
                captured: row.try_get::<Option<i64>, _>(1)?.unwrap_or(0),
                refunded: row.try_get(2)?,
                captures: row.try_get(3)?,
                holds: row.try_get(4)?,
            };
            accounts.insert(row.try_get(0)?, account);
        }
        Ok(accounts)
    };
    let accounts: Result<_, sqlx::Error> = read.await;
    accounts.map_err(|source| AuditError::Database { log: Log::Payment, source })
}
