//! One order, its two sagas, three participants and the messages under way between them. Feeds lose nothing and
//! keep the order of a key, so each direction is a queue.

use std::collections::VecDeque;

use eventsourcing::Decider;
use saga_orchestrator::domain::definition::Definition;
use saga_orchestrator::domain::*;

use super::participants::{Order, Payment, Stock};
use crate::support;

/// How often what nobody has to do may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub cancellations: u8,
    pub timeouts: u8,
    pub operator: u8,
    pub refusals: u8,
}

/// Sends of one step until it is stuck.
const ATTEMPTS: u32 = 2;

#[derive(Clone, Copy)]
struct Table(&'static [Definition]);

impl std::hash::Hash for Table {
    // The same in all worlds of a search.
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

#[derive(Clone, Hash)]
pub struct World {
    table: Table,
    bounds: Bounds,
    checkout: Saga,
    cancellation: Saga,
    stock: Stock,
    payment: Payment,
    order: Order,
    to_stock: VecDeque<Request>,
    to_payment: VecDeque<Request>,
    to_order: VecDeque<Request>,
    from_stock: VecDeque<Reply>,
    from_payment: VecDeque<Reply>,
    /// `None`: the customer wants the order cancelled.
    from_order: VecDeque<Option<Reply>>,
    violation: Option<String>,
}

fn command(input: Input) -> Command {
    let policy = Policy { attempts: ATTEMPTS, ..Policy::default() };
    Command { at: support::at(), policy, input }
}

impl World {
    pub fn new(checkout: &'static [Definition], total: Money, bounds: Bounds) -> Self {
        let mut world = Self {
            table: Table(checkout),
            bounds,
            checkout: Saga::default(),
            cancellation: Saga::default(),
            stock: Stock::Untouched,
            payment: Payment::Untouched,
            order: Order::Pending,
            to_stock: VecDeque::new(),
            to_payment: VecDeque::new(),
            to_order: VecDeque::new(),
            from_stock: VecDeque::new(),
            from_payment: VecDeque::new(),
            from_order: VecDeque::new(),
            violation: None,
        };
        world.tell(support::start_with(total).input);
        world
    }

    /// Puts a message to the sagas that it may concern, as the service does.
    fn tell(&mut self, input: Input) {
        self.tell_checkout(input.clone()).expect("a checkout does not refuse messages");
        if self.cancellation.subject.is_some() {
            self.tell_cancellation(input).expect("a cancellation does not refuse messages");
        }
    }

    fn tell_checkout(&mut self, input: Input) -> Result<(), Refusal> {
        let events = react(self.table.0, &self.checkout, &command(input))?;
        self.checkout = self.record(self.checkout.clone(), &events);
        match cancellation_of(&self.checkout) {
            Some(start) => self.tell_cancellation(Input::Start(start)),
            None => Ok(()),
        }
    }

    fn tell_cancellation(&mut self, input: Input) -> Result<(), Refusal> {
        let events = Cancellation::decide(&self.cancellation, &command(input))?;
        self.cancellation = self.record(self.cancellation.clone(), &events);
        Ok(())
    }

    fn record(&mut self, saga: Saga, events: &[Event]) -> Saga {
        for event in events {
            let Event::StepRequested { request, .. } = event else { continue };
            let queue = match request {
                Request::ReserveStock { .. }
                | Request::PinReservation
                | Request::CommitStock
                | Request::ReleaseStock
                | Request::RestockGoods => &mut self.to_stock,
                Request::AuthorizePayment { .. }
                | Request::CapturePayment
                | Request::VoidAuthorization
                | Request::RefundPayment { .. } => &mut self.to_payment,
                Request::ConfirmOrder
                | Request::RejectOrder { .. }
                | Request::CompleteCancellation { .. } => &mut self.to_order,
            };
            queue.push_back(request.clone());
        }
        events.iter().fold(saga, Saga::evolve)
    }

    /// Everything that may happen next.
    pub fn successors(&self) -> Vec<(String, World)> {
        let mut next = Vec::new();
        self.participants_work(&mut next);
        self.answers_arrive(&mut next);
        self.time_passes(&mut next);
        self.people_act(&mut next);
        next
    }

    fn participants_work(&self, next: &mut Vec<(String, World)>) {
        let mut handle = |request: &Request, outcomes: Result<Vec<World>, String>| match outcomes {
            Ok(worlds) => {
                let named = worlds.into_iter().enumerate();
                next.extend(
                    named.map(|(n, world)| (format!("{:?} is handled ({n})", request.step()), world)),
                );
            }
            Err(violation) => {
                next.push((violation.clone(), World { violation: Some(violation), ..self.clone() }));
            }
        };
        if let Some(request) = self.to_stock.front() {
            let outcomes = self.stock.answer(request).map(|outcomes| {
                let world = |(stock, replies)| {
                    let mut world = World { stock, ..self.clone() };
                    world.to_stock.pop_front();
                    world.from_stock.extend::<Vec<_>>(replies);
                    world
                };
                outcomes.into_iter().map(world).collect()
            });
            handle(request, outcomes);
        }
        if let Some(request) = self.to_payment.front() {
            let outcomes = self.payment.answer(request, self.bounds.refusals > 0).map(|outcomes| {
                let world = |(payment, replies): (Payment, Vec<Reply>)| {
                    let mut world = World { payment, ..self.clone() };
                    world.to_payment.pop_front();
                    let refused = |reply: &Reply| reply.answer == Answer::PaymentRefundFailed;
                    let refusals = u8::from(replies.iter().any(refused));
                    world.bounds.refusals = world.bounds.refusals.saturating_sub(refusals);
                    world.from_payment.extend(replies);
                    world
                };
                outcomes.into_iter().map(world).collect()
            });
            handle(request, outcomes);
        }
        if let Some(request) = self.to_order.front() {
            let outcomes = self.order.answer(request).map(|outcomes| {
                let world = |(order, replies): (Order, Vec<Reply>)| {
                    let mut world = World { order, ..self.clone() };
                    world.to_order.pop_front();
                    world.from_order.extend(replies.into_iter().map(Some));
                    world
                };
                outcomes.into_iter().map(world).collect()
            });
            handle(request, outcomes);
        }
    }

    fn answers_arrive(&self, next: &mut Vec<(String, World)>) {
        let mut arrive = |input: Input, mut world: World| {
            let name = format!("{input:?} arrives");
            world.tell(input);
            next.push((name, world));
        };
        let mut world = self.clone();
        if let Some(reply) = world.from_stock.pop_front() {
            arrive(Input::Reply(reply), world);
        }
        let mut world = self.clone();
        if let Some(reply) = world.from_payment.pop_front() {
            arrive(Input::Reply(reply), world);
        }
        let mut world = self.clone();
        if let Some(message) = world.from_order.pop_front() {
            let cancel = || Input::CancellationRequested { reason: "CHANGED_MIND".into() };
            arrive(message.map_or_else(cancel, Input::Reply), world);
        }
    }

    fn time_passes(&self, next: &mut Vec<(String, World)>) {
        if let Some((stock, replies)) = self.stock.expire() {
            let mut world = World { stock, ..self.clone() };
            world.from_stock.extend(replies);
            next.push(("the reservation expires".into(), world));
        }
        for (payment, replies) in self.payment.resolve() {
            let mut world = World { payment, ..self.clone() };
            world.from_payment.extend(replies);
            next.push((format!("the provider says {payment:?}"), world));
        }
        for saga in [&self.checkout, &self.cancellation] {
            let Some(open) = saga.open.as_ref().filter(|open| open.stuck.is_none()) else { continue };
            // What was refused has no answer under way: only its timer brings it on.
            if self.bounds.timeouts == 0 && open.refused.is_none() {
                continue;
            }
            let timer = Timer { step: open.step, attempt: open.attempt, awaiting: open.awaiting };
            let mut world = self.clone();
            world.bounds.timeouts = world.bounds.timeouts.saturating_sub(1);
            world.tell(Input::TimerFired(timer));
            next.push((format!("{timer:?} fires"), world));
        }
    }

    fn people_act(&self, next: &mut Vec<(String, World)>) {
        if self.bounds.cancellations > 0 && matches!(self.order, Order::Pending | Order::Confirmed) {
            let mut world = self.clone();
            world.bounds.cancellations -= 1;
            world.from_order.push_back(None);
            next.push(("the customer cancels".into(), world));
        }
        if self.bounds.operator == 0 {
            return;
        }
        type Tell = fn(&mut World, Input) -> Result<(), Refusal>;
        for tell in [World::tell_checkout as Tell, World::tell_cancellation] {
            for input in [Input::Retry, Input::Compensate { note: String::new() }] {
                let mut world = self.clone();
                world.bounds.operator -= 1;
                let name = format!("an operator orders {input:?}");
                if tell(&mut world, input).is_ok() {
                    next.push((name, world));
                }
            }
        }
    }

    /// Both sagas are through and nothing is under way.
    pub fn is_end(&self) -> bool {
        let idle = self.to_stock.is_empty() && self.to_payment.is_empty() && self.to_order.is_empty();
        let heard = self.from_stock.is_empty() && self.from_payment.is_empty() && self.from_order.is_empty();
        self.checkout.open.is_none() && self.cancellation.open.is_none() && idle && heard
    }

    /// What must hold everywhere, and at an end.
    pub fn check(&self) -> Result<(), String> {
        if let Some(violation) = &self.violation {
            return Err(violation.clone());
        }
        let free = self.checkout.subject.as_ref().is_some_and(|subject| subject.total.is_zero());
        let paid = if free { self.payment == Payment::Untouched } else { self.payment == Payment::Captured };
        match self.order {
            Order::Confirmed if self.cancellation.subject.is_none() && !paid => {
                Err(format!("the order is confirmed, the payment {:?}", self.payment))
            }
            Order::Confirmed if self.cancellation.subject.is_none() && self.stock != Stock::Committed => {
                Err(format!("the order is confirmed, its stock {:?}", self.stock))
            }
            Order::Rejected | Order::Cancelled if self.stock.is_left() => {
                Err(format!("stock is left for an order that is {:?}", self.order))
            }
            Order::Rejected | Order::Cancelled if self.payment.is_left() => {
                Err(format!("money is left for an order that is {:?}", self.order))
            }
            Order::Pending if self.is_end() => Err("the order stays pending for ever".into()),
            _ => Ok(()),
        }
    }
}
