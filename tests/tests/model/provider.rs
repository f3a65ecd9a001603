//! The payment provider: it keeps accounts, knows what it did under which key, and may be hard to reach. It stands
//! behind the real port, so the real rules of calling and asking are those that are searched.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use payment_service::application::{Action, CallError, Found, Outcome, PaymentProvider, ProviderCall};
use payment_service::domain::{ProviderReference, Reason};
use serde::Serialize;
use uuid::Uuid;

use crate::bounds::Chance;

/// What the provider knows, and what is on its way to it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Provider {
    accounts: BTreeMap<String, Account>,
    /// In the order in which it did them.
    pub done: Vec<Done>,
    /// Sent, and not arrived yet.
    pub delayed: Vec<(Uuid, Action)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Done {
    key: Uuid,
    action: Action,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, Serialize)]
struct Account {
    held: i64,
    captured: i64,
    refunded: i64,
}

/// Sums over all accounts, in cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    pub held: i64,
    pub captured: i64,
    pub refunded: i64,
}

impl Provider {
    pub fn books(&self) -> Books {
        let sum = |of: fn(&Account) -> i64| self.accounts.values().map(of).sum();
        Books { held: sum(|a| a.held), captured: sum(|a| a.captured), refunded: sum(|a| a.refunded) }
    }

    /// A call arrives. One whose key is known is answered as it was.
    pub fn receive(&mut self, key: Uuid, action: &Action, willing: bool) -> Outcome {
        if let Some(done) = self.done.iter().find(|done| done.key == key) {
            return done.outcome.clone();
        }
        let outcome = self.carry_out(action, willing);
        self.delayed.retain(|(delayed, _)| *delayed != key);
        self.done.push(Done { key, action: action.clone(), outcome: outcome.clone() });
        outcome
    }

    fn carry_out(&mut self, action: &Action, willing: bool) -> Outcome {
        let reason = Reason::of("NO");
        match action {
            Action::Authorize { amount, .. } if willing => {
                let reference = format!("pay_{}", self.accounts.len());
                let account = Account { held: amount.minor_units, captured: 0, refunded: 0 };
                self.accounts.insert(reference.clone(), account);
                Outcome::Authorized { provider_reference: ProviderReference(reference) }
            }
            Action::Authorize { .. } => Outcome::Declined { reason },
            Action::Capture { amount, provider_reference } => {
                match self.account(provider_reference).filter(|account| account.held > 0 && willing) {
                    Some(account) => {
                        account.held = 0;
                        account.captured += amount.minor_units;
                        Outcome::Captured
                    }
                    None => Outcome::CaptureFailed { reason },
                }
            }
            Action::Void { provider_reference } => match self.account(provider_reference) {
                Some(account) if account.captured > 0 => Outcome::Captured,
                account => {
                    account.into_iter().for_each(|account| account.held = 0);
                    Outcome::Voided
                }
            },
            Action::Refund { refund_id, amount, provider_reference } => {
                let refund_id = refund_id.clone();
                let left = |account: &&mut Account| account.captured - account.refunded >= amount.minor_units;
                match self.account(provider_reference).filter(left).filter(|_| willing) {
                    Some(account) => {
                        account.refunded += amount.minor_units;
                        Outcome::Refunded { refund_id }
                    }
                    None => Outcome::RefundFailed { refund_id, reason },
                }
            }
        }
    }

    fn account(&mut self, reference: &ProviderReference) -> Option<&mut Account> {
        self.accounts.get_mut(&reference.0)
    }

    fn find(&self, action: &Action) -> Option<Outcome> {
        let same = |done: &&Done| done.action.call() == action.call();
        self.done.iter().rev().find(same).map(|done| done.outcome.clone())
    }
}

/// How a call to the provider goes, if one is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Yes,
    No,
    /// It is done, and the answer is lost.
    YesUnheard,
    NoUnheard,
    /// The call is lost on its way.
    Lost,
    /// The provider says that it did nothing.
    NotDone,
    /// The call arrives later.
    Delayed,
}

impl Line {
    pub const ALL: [Self; 7] =
        [Self::Yes, Self::No, Self::YesUnheard, Self::NoUnheard, Self::Lost, Self::NotDone, Self::Delayed];

    pub fn costs(self) -> &'static [Chance] {
        match self {
            Self::Yes => &[],
            Self::No => &[Chance::Refusal],
            Self::YesUnheard | Self::Lost | Self::NotDone | Self::Delayed => &[Chance::Unknown],
            Self::NoUnheard => &[Chance::Refusal, Chance::Unknown],
        }
    }

    pub fn in_words(self) -> &'static str {
        match self {
            Self::Yes => "it does so",
            Self::No => "it says no",
            Self::YesUnheard => "it does so, but the answer is lost",
            Self::NoUnheard => "it says no, but the answer is lost",
            Self::Lost => "the call is lost",
            Self::NotDone => "it says that it did nothing",
            Self::Delayed => "no answer, and the call will arrive later",
        }
    }
}

/// The port, for one run of the worker.
pub struct Port {
    line: Line,
    /// Whether a question is answered.
    answers: bool,
    seen: Mutex<Seen>,
}

/// The provider after a run, and what it was called for.
#[derive(Clone)]
pub struct Seen {
    pub provider: Provider,
    pub asked: bool,
    pub called: bool,
}

impl Port {
    pub fn new(provider: Provider, line: Line, answers: bool) -> Self {
        Self { line, answers, seen: Mutex::new(Seen { provider, asked: false, called: false }) }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PaymentProvider for Port {
    async fn perform(&self, call: &ProviderCall, key: Uuid) -> Result<Outcome, CallError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.called = true;
        let unheard = || CallError::Unknown("no answer".into());
        match self.line {
            Line::Yes => Ok(seen.provider.receive(key, &call.action, true)),
            Line::No => Ok(seen.provider.receive(key, &call.action, false)),
            Line::YesUnheard | Line::NoUnheard => {
                seen.provider.receive(key, &call.action, self.line == Line::YesUnheard);
                Err(unheard())
            }
            Line::Lost => Err(unheard()),
            Line::NotDone => Err(CallError::NotDone("busy".into())),
            Line::Delayed => {
                seen.provider.delayed.push((key, call.action.clone()));
                Err(unheard())
            }
        }
    }

    async fn ask(&self, call: &ProviderCall) -> Result<Found, CallError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.asked = true;
        if !self.answers {
            return Err(CallError::Unknown("no answer".into()));
        }
        Ok(seen.provider.find(&call.action).map_or(Found::Nothing, Found::Definite))
    }
}
