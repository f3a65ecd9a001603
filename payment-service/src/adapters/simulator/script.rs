//! What the simulated provider does with which token: one table, in the order in which a shopper would try them.

use serde::Serialize;

use super::SimulatorOptions;
use crate::application::Action;
use crate::domain::Reason;

/// How one token plays, call by call. What a call does is stored with the payment, in this form; how it is answered
/// and asked about is looked up again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Script {
    authorize: Behaviour,
    capture: Behaviour,
    void: Behaviour,
    refund: Behaviour,
    #[serde(skip)]
    pub(super) webhooks: Webhooks,
}

/// How one kind of call plays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Behaviour {
    /// Sends that never arrive.
    lost: u32,
    /// Sends after those that arrive and fail, with nothing done.
    failures: u32,
    #[serde(skip)]
    pub answering: Answering,
    /// Times that it is pending when asked about.
    #[serde(skip)]
    pub pending_asks: u32,
    /// Why it is refused, if it is.
    pub refusal: Option<Reason>,
}

/// What becomes of the answer to a call that was carried out. A repeat is always answered at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answering {
    #[default]
    Prompt,
    Slow,
    Never,
}

/// What becomes of notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Webhooks {
    #[default]
    Lost,
    Twice,
    /// The authorization's comes after the one about what followed it.
    Reordered,
}

impl Behaviour {
    /// Whether a call is lost that is sent for the n-th time, counted from 1.
    pub fn is_lost(&self, sends: u32) -> bool {
        sends <= self.lost
    }

    fn slow() -> Self {
        Self { answering: Answering::Slow, ..Self::default() }
    }

    fn silent() -> Self {
        Self { answering: Answering::Never, ..Self::default() }
    }

    fn refusing(code: &str) -> Self {
        Self { refusal: Some(Reason::of(code)), ..Self::default() }
    }
}

impl Script {
    /// The script of a token. An unknown token is declined.
    pub fn of(token: &str, options: &SimulatorOptions) -> Self {
        let plain = Self::default();
        let pending = Behaviour { pending_asks: options.pending_asks, ..Behaviour::silent() };
        let failing = Behaviour { failures: options.failures, ..Behaviour::default() };
        match token {
            "tok_success" => plain,
            "tok_decline" => Self { authorize: Behaviour::refusing("CARD_DECLINED"), ..plain },
            "tok_slow" => Self {
                authorize: Behaviour::slow(),
                capture: Behaviour::slow(),
                void: Behaviour::slow(),
                refund: Behaviour::slow(),
                ..plain
            },
            "tok_timeout_then_success" => Self { authorize: Behaviour::silent(), ..plain },
            "tok_unknown_until_asked" => Self { authorize: pending, ..plain },
            "tok_unknown_then_decline" => {
                let refusal = Some(Reason::of("CARD_DECLINED"));
                Self { authorize: Behaviour { refusal, ..pending }, ..plain }
            }
            "tok_error_then_success" => Self {
                authorize: failing.clone(),
                capture: failing.clone(),
                void: failing.clone(),
                refund: failing,
                ..plain
            },
            "tok_lost_then_success" => {
                Self { authorize: Behaviour { lost: 1, ..Behaviour::default() }, ..plain }
            }
            "tok_capture_fails" => Self { capture: Behaviour::refusing("CAPTURE_REFUSED"), ..plain },
            "tok_capture_timeout_then_success" => Self { capture: Behaviour::silent(), ..plain },
            "tok_capture_timeout_then_failure" => Self {
                capture: Behaviour { refusal: Some(Reason::of("CAPTURE_REFUSED")), ..pending },
                ..plain
            },
            "tok_void_timeout_then_success" => Self { void: pending, ..plain },
            "tok_refund_fails" => Self { refund: Behaviour::refusing("REFUND_REFUSED"), ..plain },
            "tok_refund_timeout_then_success" => Self { refund: pending, ..plain },
            "tok_webhook_twice" => Self { webhooks: Webhooks::Twice, ..plain },
            "tok_webhook_reordered" => Self { webhooks: Webhooks::Reordered, ..plain },
            token => match token.strip_prefix("tok_decline_") {
                Some(reason) => Self { authorize: Behaviour::refusing(reason), ..plain },
                None => Self { authorize: Behaviour::refusing("INVALID_TOKEN"), ..plain },
            },
        }
    }

    /// Whether all goes well, and there is nothing to remember.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn behaviour(self, action: &Action) -> Behaviour {
        match action {
            Action::Authorize { .. } => self.authorize,
            Action::Capture { .. } => self.capture,
            Action::Void { .. } => self.void,
            Action::Refund { .. } => self.refund,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_call_does_is_stored_and_nothing_when_all_goes_well() {
        let script = |token| Script::of(token, &SimulatorOptions::default());
        assert!(script("tok_success").is_plain());
        let stored = serde_json::to_value(script("tok_error_then_success")).unwrap();
        assert_eq!(stored["capture"], serde_json::json!({"lost": 0, "failures": 2, "refusal": null}));
        let stored = serde_json::to_value(script("tok_capture_fails")).unwrap();
        assert_eq!(stored["capture"]["refusal"], "CAPTURE_REFUSED");
    }

    #[test]
    fn a_decline_names_its_reason_and_an_unknown_token_is_declined() {
        let refusal = |token| {
            let script = Script::of(token, &SimulatorOptions::default());
            script.authorize.refusal.map(|reason| reason.as_str().to_owned())
        };
        assert_eq!(refusal("tok_decline").as_deref(), Some("CARD_DECLINED"));
        assert_eq!(refusal("tok_decline_insufficient_funds").as_deref(), Some("INSUFFICIENT_FUNDS"));
        assert_eq!(refusal("pm_1234").as_deref(), Some("INVALID_TOKEN"));
        assert_eq!(refusal("tok_success"), None);
    }
}
