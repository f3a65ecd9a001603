//! How often what nobody has to do may happen. Everything else happens as often as it likes.

use std::fmt;

/// Something that may happen a bounded number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chance {
    /// The customer cancels.
    Cancel,
    /// A saga's deadline passes before the answer is there.
    Timeout,
    /// A deadline's timer was taken by a worker that is slow, and fires late.
    LateTimer,
    /// An operator retries or turns back.
    Operator,
    /// The provider says no.
    Refusal,
    /// A call to the provider, or a question, has no answer.
    Unknown,
    /// The provider tells by itself, late.
    Webhook,
    /// A worker dies between its call and the end of its task.
    Crash,
    /// A message is delivered once more, because a process died before its checkpoint or did not notice that
    /// another has taken over.
    Repeat,
    /// A request is overtaken by a later one. No feed does that; participants must bear it all the same.
    Overtake,
    /// An hour passes, and with it the time of a reservation.
    Hour,
    /// Another shopper reserves the last piece.
    Rival,
    /// Goods arrive and are booked.
    Booking,
    /// A piece is missing.
    Loss,
    /// The order is shipped once it is confirmed.
    Ship,
}

const CHANCES: [(Chance, &str); 15] = [
    (Chance::Cancel, "cancel"),
    (Chance::Timeout, "timeout"),
    (Chance::LateTimer, "late timer"),
    (Chance::Operator, "operator"),
    (Chance::Refusal, "refusal"),
    (Chance::Unknown, "unknown outcome"),
    (Chance::Webhook, "webhook"),
    (Chance::Crash, "worker crash"),
    (Chance::Repeat, "redelivery"),
    (Chance::Overtake, "overtaking"),
    (Chance::Hour, "hour"),
    (Chance::Rival, "rival"),
    (Chance::Booking, "booking"),
    (Chance::Loss, "loss"),
    (Chance::Ship, "shipment"),
];

/// What is left of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds([u8; CHANCES.len()]);

impl Bounds {
    pub fn of(chances: &[(Chance, u8)]) -> Self {
        let mut bounds = Self::default();
        for (chance, times) in chances {
            bounds.0[*chance as usize] = *times;
        }
        bounds
    }

    pub fn left(&self, chance: Chance) -> u8 {
        self.0[chance as usize]
    }

    /// What is left after these; `None` when one of them was used up.
    pub fn after(mut self, chances: &[Chance]) -> Option<Self> {
        for chance in chances {
            let left = &mut self.0[*chance as usize];
            *left = left.checked_sub(1)?;
        }
        Some(self)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounded = CHANCES.iter().filter(|(chance, _)| self.left(*chance) > 0);
        let named: Vec<String> =
            bounded.map(|(chance, name)| format!("{} {name}", self.left(*chance))).collect();
        f.write_str(&named.join(", "))
    }
}
