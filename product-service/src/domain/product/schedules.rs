//! Prices that a product's variants will have at a time to come: what may be scheduled, and what becomes of it. A
//! scheduled price stays whatever the price is changed to by hand before its time; discontinuing the product withdraws
//! it. A timer says when the time has come; whether it has, [`take_effect`] sees for itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::super::limits::{
    ENDED_SCHEDULES_KNOWN, MAX_SCHEDULED_DAYS, MAX_SCHEDULED_PER_PRODUCT, MAX_SCHEDULED_PER_VARIANT,
};
use super::super::{Price, ScheduleId, Sku};
use super::{ProductError, ProductEvent, ProductState, Variant, priceable, repriced};

/// How exact a time is, in digits of a second: as databases have it.
const MICROSECONDS: u16 = 6;

/// A price to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledPrice {
    pub sku: Sku,
    pub price: Price,
    pub effective_at: DateTime<Utc>,
    pub reason: String,
}

/// What a product knows of its scheduled prices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedules {
    /// Shared, since a state is copied for every append.
    pending: BTreeMap<ScheduleId, Arc<ScheduledPrice>>,
    /// The last that ended, the oldest first.
    ended: VecDeque<(ScheduleId, Ended)>,
}

/// How a scheduled price ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    InEffect,
    Withdrawn,
}

impl Schedules {
    /// Those to come, in the order of their ids.
    pub fn pending(&self) -> impl Iterator<Item = (ScheduleId, &ScheduledPrice)> {
        self.pending.iter().map(|(id, scheduled)| (*id, &**scheduled))
    }

    fn of(&self, sku: &Sku) -> impl Iterator<Item = (ScheduleId, &ScheduledPrice)> {
        self.pending().filter(move |(_, scheduled)| scheduled.sku == *sku)
    }

    pub(super) fn add(&mut self, schedule_id: ScheduleId, scheduled: ScheduledPrice) {
        self.pending.insert(schedule_id, Arc::new(scheduled));
    }

    pub(super) fn withdrawn(&mut self, schedule_id: ScheduleId) {
        self.end(schedule_id, Ended::Withdrawn);
    }

    pub(super) fn took_effect(&mut self, schedule_id: ScheduleId) {
        self.end(schedule_id, Ended::InEffect);
    }

    fn end(&mut self, schedule_id: ScheduleId, how: Ended) {
        self.pending.remove(&schedule_id);
        self.ended.push_back((schedule_id, how));
        while self.ended.len() > ENDED_SCHEDULES_KNOWN {
            self.ended.pop_front();
        }
    }

    fn how_it_ended(&self, schedule_id: ScheduleId) -> Option<Ended> {
        self.ended.iter().rev().find(|(id, _)| *id == schedule_id).map(|(_, how)| *how)
    }
}

pub(super) fn schedule(
    state: &ProductState,
    schedule_id: ScheduleId,
    scheduled: &ScheduledPrice,
    now: DateTime<Utc>,
) -> Result<Vec<ProductEvent>, ProductError> {
    let ScheduledPrice { sku, price, effective_at, reason } = scheduled;
    let effective_at = effective_at.trunc_subsecs(MICROSECONDS);
    priceable(state, &state.variants_by_sku(), sku, price)?;
    if effective_at <= now {
        return Err(ProductError::EffectiveTimeNotAhead);
    }
    if effective_at - now > TimeDelta::days(MAX_SCHEDULED_DAYS) {
        return Err(ProductError::EffectiveTimeTooFar);
    }
    if let Some((schedule_id, _)) = state.schedules.of(sku).find(|(_, s)| s.effective_at == effective_at) {
        return Err(ProductError::EffectiveTimeTaken { sku: sku.clone(), schedule_id });
    }
    if state.schedules.of(sku).count() >= MAX_SCHEDULED_PER_VARIANT {
        return Err(ProductError::TooManyScheduledForVariant);
    }
    if state.schedules.pending.len() >= MAX_SCHEDULED_PER_PRODUCT {
        return Err(ProductError::TooManyScheduled);
    }
    let (sku, reason) = (sku.clone(), reason.clone());
    Ok(vec![ProductEvent::PriceChangeScheduled { schedule_id, sku, price: *price, effective_at, reason }])
}

/// What is withdrawn already can be withdrawn again.
pub(super) fn withdraw(
    state: &ProductState,
    schedule_id: ScheduleId,
    reason: &str,
) -> Result<Vec<ProductEvent>, ProductError> {
    if state.schedules.pending.contains_key(&schedule_id) {
        let (schedules, reason) = (vec![schedule_id], reason.to_owned());
        return Ok(vec![ProductEvent::ScheduledPricesWithdrawn { schedules, reason }]);
    }
    match state.schedules.how_it_ended(schedule_id) {
        Some(Ended::Withdrawn) => Ok(Vec::new()),
        Some(Ended::InEffect) => Err(ProductError::ScheduleInEffect { schedule_id }),
        None => Err(ProductError::UnknownSchedule { schedule_id }),
    }
}

/// The event that withdraws everything that is to come, if there is anything.
pub(super) fn withdraw_all(state: &ProductState, reason: &str) -> Option<ProductEvent> {
    let schedules: Vec<_> = state.schedules.pending.keys().copied().collect();
    (!schedules.is_empty())
        .then(|| ProductEvent::ScheduledPricesWithdrawn { schedules, reason: reason.to_owned() })
}

/// Timers fire in any order, and several late ones at once: whatever the same variant should have had before comes
/// first, so that the latest price is the one that stays. One that is not pending any more has nothing to do.
pub(super) fn take_effect(
    state: &ProductState,
    schedule_id: ScheduleId,
    now: DateTime<Utc>,
) -> Result<Vec<ProductEvent>, ProductError> {
    let Some(due) = state.schedules.pending.get(&schedule_id) else { return Ok(Vec::new()) };
    if due.effective_at > now {
        return Err(ProductError::ScheduleNotDue { effective_at: due.effective_at });
    }
    let Some(variant) = state.variants.iter().find(|variant| variant.sku == due.sku) else {
        return Err(ProductError::UnknownVariant { sku: due.sku.clone() });
    };
    let mut events = Vec::new();
    reach(state, variant, due.effective_at, &mut events);
    Ok(events)
}

/// Lets everything take effect that is scheduled for a variant up to a time, in the order of the times. Returns the
/// price that it has then.
pub(super) fn reach(
    state: &ProductState,
    variant: &Variant,
    time: DateTime<Utc>,
    events: &mut Vec<ProductEvent>,
) -> Price {
    let mut due: Vec<_> =
        state.schedules.of(&variant.sku).filter(|(_, scheduled)| scheduled.effective_at <= time).collect();
    due.sort_by_key(|(_, scheduled)| scheduled.effective_at);
    let mut current = variant.price;
    for (schedule_id, scheduled) in due {
        let sku = variant.sku.clone();
        events.push(ProductEvent::ScheduledPriceTookEffect { schedule_id, sku });
        events.extend(repriced(state, &variant.sku, scheduled.price, current, &scheduled.reason));
        current = scheduled.price;
    }
    current
}
