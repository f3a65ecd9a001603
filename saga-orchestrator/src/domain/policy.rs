//! How patient a saga is: when a request is sent again, how often, and when a person is called. It is
//! configuration and comes with every command; nothing here decides what is sent.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::definition::Deadline;
use super::{OrderId, Step};

/// Pauses between repeats of a request: the first, then twice as long each time, up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

/// The patience of all steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a reservation holds stock before it must be pinned, from the start of the checkout.
    pub reservation: Duration,
    /// For services of the shop.
    pub participant: Backoff,
    /// For payment, which asks a provider.
    pub provider: Backoff,
    /// How often a request is sent before the saga is stuck.
    pub attempts: u32,
    /// How long the payment service may go on asking the provider for an unknown outcome before a person is
    /// called. Nothing is sent meanwhile.
    pub outcome: Duration,
}

impl Policy {
    /// Long enough to authorize a payment with a person in front of a bank's page.
    pub const RESERVATION: Duration = Duration::from_secs(15 * 60);
    /// A participant that runs has long answered by then.
    pub const PARTICIPANT: Backoff =
        Backoff { first: Duration::from_secs(10), longest: Duration::from_secs(2 * 60) };
    pub const PROVIDER: Backoff =
        Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(5 * 60) };
    /// With the pauses above a participant may be away for 14 minutes (payment: 37) before a saga is stuck;
    /// what it answers later continues the saga all the same.
    pub const ATTEMPTS: u32 = 10;
    pub const OUTCOME: Duration = Duration::from_secs(60 * 60);
    /// Sagas that began together after an outage do not all repeat together: a pause is longer by up to a
    /// fifth, by an amount that follows from order, step and attempt.
    const JITTER_PARTS: u64 = 5;

    /// When the answer to the `attempt`th request is overdue; `tries` counts within the budget, from 1.
    pub fn answer_by(
        &self,
        at: DateTime<Utc>,
        deadline: Deadline,
        order_id: OrderId,
        step: Step,
        attempt: u32,
        tries: u32,
    ) -> DateTime<Utc> {
        let backoff = match deadline {
            Deadline::Participant => self.participant,
            Deadline::Provider => self.provider,
        };
        let doubled = 2u32.saturating_pow(tries.saturating_sub(1));
        let pause = backoff.first.saturating_mul(doubled).min(backoff.longest);
        let widest = pause.as_millis() as u64 / Self::JITTER_PARTS;
        let jitter = spread(order_id, step, attempt) % (widest + 1);
        later(at, pause.saturating_add(Duration::from_millis(jitter)))
    }

    /// When an unknown outcome becomes a person's business.
    pub fn outcome_by(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        later(at, self.outcome)
    }

    /// Until when a reservation made now holds.
    pub fn reserve_until(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        later(at, self.reservation)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            reservation: Self::RESERVATION,
            participant: Self::PARTICIPANT,
            provider: Self::PROVIDER,
            attempts: Self::ATTEMPTS,
            outcome: Self::OUTCOME,
        }
    }
}

fn later(at: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let pause = TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(pause).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A number that differs between sagas, steps and attempts and is always the same for equal ones (FNV-1a).
fn spread(order_id: OrderId, step: Step, attempt: u32) -> u64 {
    let bytes =
        order_id.0.as_bytes().iter().chain(step.name().as_bytes()).copied().chain(attempt.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn pause(tries: u32, order: u128) -> Duration {
        let order = OrderId(Uuid::from_u128(order));
        let step = Step::CommitStock;
        let by = Policy::default().answer_by(
            DateTime::UNIX_EPOCH,
            Deadline::Participant,
            order,
            step,
            tries,
            tries,
        );
        (by - DateTime::UNIX_EPOCH).to_std().unwrap()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_at_most_a_fifth_longer() {
        for (tries, seconds) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 120), (10, 120), (u32::MAX, 120)] {
            for order in 0..50 {
                let seconds = Duration::from_secs(seconds);
                let pause = pause(tries, order);
                assert!(pause >= seconds && pause <= seconds + seconds / 5, "{tries}: {pause:?}");
            }
        }
    }

    #[test]
    fn sagas_that_began_together_repeat_at_different_times_and_each_always_at_the_same() {
        let pauses: std::collections::HashSet<_> = (0..100).map(|order| pause(3, order)).collect();
        assert!(pauses.len() > 90, "{}", pauses.len());
        assert_eq!(pause(3, 7), pause(3, 7));
    }

    #[test]
    fn the_default_budget_outlasts_an_outage_of_ten_minutes() {
        let budget: Duration = (1..=Policy::ATTEMPTS).map(|tries| pause(tries, 1)).sum();
        assert!(budget > Duration::from_secs(600), "{budget:?}");
    }

    #[test]
    fn absurd_durations_end_at_the_last_moment_of_time_instead_of_a_panic() {
        let endless = Policy { outcome: Duration::MAX, ..Policy::default() };
        assert_eq!(endless.outcome_by(DateTime::UNIX_EPOCH), DateTime::<Utc>::MAX_UTC);
    }
}
