//! A search over interleavings: requests in any order and number, a provider that acts, keeps silent, changes
//! its story about a capture, and whose reports come late, twice and out of order. Whatever happens, money is
//! taken once at most, paid back never beyond that, and every request is answered in the end.

use proptest::prelude::*;

use super::tests::{money, order, reference, refund_id, token};
use super::*;
use PaymentCommand as Do;
use PaymentEvent as It;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Authorize,
    Capture,
    Void,
    /// A refund with one of a few ids, of an amount or of everything.
    Refund(u8, Option<i64>),
    /// The worker hears nothing of the n-th running call.
    Silence(usize),
    /// The provider acts on the n-th running call, in its favour or not.
    Act(usize, bool),
    /// The provider captures, and says that it failed.
    Lie(usize),
    /// The n-th report so far is delivered, again maybe.
    Deliver(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Authorize),
        2 => Just(Step::Capture),
        1 => Just(Step::Void),
        2 => (0..4u8, proptest::option::of(-1..1200i64)).prop_map(|(id, amount)| Step::Refund(id, amount)),
        1 => (0..4usize).prop_map(Step::Silence),
        4 => (0..4usize, proptest::bool::weighted(0.8)).prop_map(|(n, well)| Step::Act(n, well)),
        1 => (0..4usize).prop_map(Step::Lie),
        5 => (0..8usize).prop_map(Step::Deliver),
    ]
}

/// What really happened at the provider.
#[derive(Default)]
struct Provider {
    held: bool,
    captured: i64,
    captures: u32,
    refunded: i64,
}

/// A payment, its provider, and what was asked for.
#[derive(Default)]
struct World {
    state: PaymentState,
    events: Vec<PaymentEvent>,
    provider: Provider,
    running: Vec<PaymentEvent>,
    reports: Vec<PaymentCommand>,
    /// Requests with the number of events that there were before.
    requests: Vec<(PaymentCommand, usize)>,
}

impl World {
    fn play(&mut self, step: Step) {
        match step {
            Step::Authorize => self.request(Do::Authorize { amount: money(1000), payment_token: token() }),
            Step::Capture => self.request(Do::Capture),
            Step::Void => self.request(Do::Void),
            Step::Refund(id, amount) => {
                self.request(Do::RequestRefund(order(&format!("r{id}"), amount.map(money))));
            }
            Step::Silence(n) => {
                if let Some(call) = self.running.get(n).and_then(call_of) {
                    self.reports.push(Do::RecordOutcomeUnknown { call });
                }
            }
            Step::Act(n, well) if n < self.running.len() => self.act(n, well),
            Step::Lie(n) if matches!(self.running.get(n), Some(It::CaptureStarted { .. })) => {
                self.act(n, true);
                self.reports.pop();
                self.reports.push(Do::RecordCaptureFailed { reason: Reason::of("LIED") });
            }
            Step::Act(..) | Step::Lie(_) => {}
            Step::Deliver(n) => {
                if let Some(report) = self.reports.get(n).cloned() {
                    self.handle(&report);
                }
            }
        }
    }

    fn request(&mut self, command: PaymentCommand) {
        self.requests.push((command.clone(), self.events.len()));
        assert!(self.handle(&command), "a request of a saga is never an error: {command:?}");
    }

    fn handle(&mut self, command: &PaymentCommand) -> bool {
        let Ok(events) = Payment::decide(&self.state, command) else { return false };
        for event in events {
            self.state = Payment::evolve(self.state.clone(), &event);
            if call_of(&event).is_some() {
                self.running.push(event.clone());
            }
            self.events.push(event);
        }
        true
    }

    /// The provider carries out a call and reports.
    fn act(&mut self, n: usize, well: bool) {
        let call = self.running.remove(n);
        let failure = Reason::of("REFUSED");
        let provider = &mut self.provider;
        let report = match call {
            It::AuthorizationStarted { .. } if well => {
                provider.held = true;
                Do::RecordAuthorized { provider_reference: reference() }
            }
            It::AuthorizationStarted { .. } => Do::RecordDeclined { reason: failure },
            It::CaptureStarted { amount, .. } if well && provider.held => {
                provider.held = false;
                provider.captures += 1;
                provider.captured += amount.minor_units;
                Do::RecordCaptured
            }
            It::CaptureStarted { .. } => Do::RecordCaptureFailed { reason: failure },
            It::VoidStarted { .. } if provider.captured > 0 => Do::RecordCaptured,
            It::VoidStarted { .. } => {
                provider.held = false;
                Do::RecordVoided
            }
            It::RefundStarted { refund_id, amount, .. } if well => {
                provider.refunded += amount.minor_units;
                Do::RecordRefunded { refund_id }
            }
            It::RefundStarted { refund_id, .. } => Do::RecordRefundFailed { refund_id, reason: failure },
            other => panic!("{other:?} is no call"),
        };
        self.reports.push(report);
    }

    /// The provider answers everything, and everything it said arrives in the end.
    fn come_to_rest(&mut self) {
        loop {
            while !self.running.is_empty() {
                self.act(0, true);
            }
            for report in self.reports.clone() {
                self.handle(&report);
            }
            if self.running.is_empty() {
                return;
            }
        }
    }

    fn check(&self) {
        let count = |wanted: fn(&It) -> bool| self.events.iter().filter(|event| wanted(event)).count();
        assert!(self.provider.captures <= 1, "captured more than once at the provider");
        assert!(count(|e| matches!(e, It::Captured { .. })) <= 1);
        assert!(count(|e| matches!(e, It::CaptureStarted { .. })) <= 1);
        assert!(count(|e| matches!(e, It::AuthorizationStarted { .. })) <= 1);
        assert!(self.provider.refunded <= self.provider.captured, "paid back more than was taken");
        assert_eq!(self.state.refunded().map_or(0, |sum| sum.minor_units), self.provider.refunded);
        assert!(self.state.left().is_none_or(|left| left.minor_units >= 0));
        assert!(self.state.unknown.is_empty(), "everything is definite at rest");
        if self.state.void == Void::Done {
            assert!(!self.provider.held && self.provider.captured == 0, "voided, and yet held or taken");
        }
        for (request, before) in &self.requests {
            let answered = self.events[*before..].iter().any(|event| answers(event, request));
            assert!(answered, "{request:?} was never answered, in {:?}", self.events);
        }
    }
}

fn call_of(event: &PaymentEvent) -> Option<Call> {
    match event {
        It::AuthorizationStarted { .. } => Some(Call::Authorize),
        It::CaptureStarted { .. } => Some(Call::Capture),
        It::VoidStarted { .. } => Some(Call::Void),
        It::RefundStarted { refund_id, .. } => Some(Call::Refund(refund_id.clone())),
        _ => None,
    }
}

fn answers(event: &PaymentEvent, request: &PaymentCommand) -> bool {
    let Some(answer) = event.answer() else { return false };
    match request {
        Do::Authorize { .. } => matches!(answer, Answer::Authorized | Answer::Declined { .. }),
        Do::Capture => matches!(answer, Answer::Captured { .. } | Answer::CaptureFailed { .. }),
        Do::Void => matches!(answer, Answer::Voided | Answer::Captured { .. }),
        Do::RequestRefund(order) => match answer {
            Answer::Refunded { refund_id, .. } | Answer::RefundFailed { refund_id, .. } => {
                refund_id == order.refund_id
            }
            _ => false,
        },
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn money_is_taken_once_at_most_and_every_request_is_answered(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::default();
        for step in steps {
            world.play(step);
        }
        world.come_to_rest();
        world.check();
    }

    #[test]
    fn ids_of_refunds_do_not_mix(a in "[a-z]{1,8}", b in "[a-z]{1,8}") {
        prop_assume!(a != b);
        let mut world = World::default();
        world.play(Step::Authorize);
        world.come_to_rest();
        world.play(Step::Capture);
        world.come_to_rest();
        world.request(Do::RequestRefund(order(&a, Some(money(1)))));
        world.request(Do::RequestRefund(order(&b, Some(money(2)))));
        world.come_to_rest();
        world.check();
        prop_assert_eq!(world.state.refunded(), Some(money(3)));
        prop_assert_eq!(world.state.refunds[&refund_id(&a)].amount, Some(money(1)));
    }
}
