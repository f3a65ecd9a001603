//! Tells the sagas of an order what happened. One message may concern its checkout, its cancellation or both, and
//! a checkout that has completed may start the cancellation: all of that is one command, decided all or nothing.

use chrono::{SubsecRound, Utc};
use eventsourcing::{
    CommandContext, CommandProcessor, Committed, Decider, ExecuteError, Halt, Operation, StreamId, View,
};

use super::operate::{Operate, OperatorOrder};
use super::view::{SagaId, SagaView};
use crate::domain::definition::{CANCELLATION, CHECKOUT, Definition};
use crate::domain::{
    Cancellation, Checkout, Command, Event, Input, Kind, OrderId, Policy, Refusal, Saga, Timer,
    cancellation_of,
};

/// Whether anybody waited for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Told {
    Taken,
    /// No saga awaited it: a repeat, or too late.
    Ignored,
}

/// The operation that puts one input to the sagas of an order.
#[derive(Clone, Debug)]
pub struct Tell {
    pub order_id: OrderId,
    /// The one saga that it is meant for; `None`: whichever awaits such an answer.
    pub only: Option<Kind>,
    pub command: Command,
}

impl Operation for Tell {
    type Reply = Told;
    type Rejection = Refusal;

    fn run(&self, view: &mut View<'_>) -> Result<Told, Halt<Refusal>> {
        self.put::<Checkout, Cancellation>(view)
    }
}

/// What a checkout and a cancellation have in common.
pub trait ProcessManager: Decider<State = Saga, Command = Command, Event = Event, Error = Refusal> {}

impl<D> ProcessManager for D where D: Decider<State = Saga, Command = Command, Event = Event, Error = Refusal> {}

impl Tell {
    /// Puts the input to a checkout `C` and a cancellation `X`. A search may put others than the real two.
    pub fn put<C: ProcessManager, X: ProcessManager>(
        &self,
        view: &mut View<'_>,
    ) -> Result<Told, Halt<Refusal>> {
        let mut took = false;
        if self.concerns(Kind::Checkout) {
            took |= tell_checkout::<C, X>(view, self.order_id, &self.command)?;
        }
        if self.concerns(Kind::Cancellation) {
            took |= tell::<X>(view, self.order_id, &self.command)?;
        }
        Ok(if took { Told::Taken } else { Told::Ignored })
    }

    fn concerns(&self, kind: Kind) -> bool {
        let awaits = |definitions: &[Definition]| match &self.command.input {
            Input::Reply(reply) => definitions.iter().any(|definition| definition.awaits(reply.answer)),
            _ => false,
        };
        match (self.only, &self.command.input, kind) {
            (Some(only), _, kind) => only == kind,
            (None, Input::Reply(_), Kind::Checkout) => awaits(CHECKOUT),
            (None, Input::Reply(_), Kind::Cancellation) => awaits(CANCELLATION),
            // What an order says about itself; a cancellation starts from its checkout.
            (None, _, kind) => kind == Kind::Checkout,
        }
    }
}

/// Puts a command to a checkout, and starts the cancellation that it may call for. Whether anything happened.
pub(super) fn tell_checkout<C: ProcessManager, X: ProcessManager>(
    view: &mut View<'_>,
    order_id: OrderId,
    command: &Command,
) -> Result<bool, Halt<Refusal>> {
    let took = tell::<C>(view, order_id, command)?;
    let checkout = view.state::<C>(&StreamId::of::<C>(order_id))?;
    if let Some(start) = cancellation_of(checkout).filter(|_| took) {
        let start = Command { input: Input::Start(start), ..command.clone() };
        tell::<X>(view, order_id, &start)?;
    }
    Ok(took)
}

pub(super) fn tell<D: ProcessManager>(
    view: &mut View<'_>,
    order_id: OrderId,
    command: &Command,
) -> Result<bool, Halt<Refusal>> {
    let stream = StreamId::of::<D>(order_id);
    if matches!(command.input, Input::Start(_)) {
        view.presume_new::<D>(&stream);
    }
    let before = view.version::<D>(&stream)?;
    Ok(view.decide::<D>(&stream, command)? != before)
}

type Outcome<T> = Result<Committed<T>, ExecuteError<Refusal>>;

/// All sagas, for those who have something to tell them. Cheap to clone.
#[derive(Clone)]
pub struct Sagas {
    processor: CommandProcessor,
    policy: Policy,
}

impl Sagas {
    /// `policy` holds for what is decided from now on, in running sagas too.
    pub fn new(processor: CommandProcessor, policy: Policy) -> Self {
        Self { processor, policy }
    }

    /// Something happened to an order: it was placed, somebody wants it cancelled, a participant answered.
    pub async fn hear(&self, order_id: OrderId, input: Input, context: CommandContext) -> Outcome<Told> {
        self.tell(order_id, None, input, context).await
    }

    /// A saga's deadline has passed.
    pub async fn fire(&self, saga: SagaId, timer: Timer, context: CommandContext) -> Outcome<Told> {
        self.tell(saga.order_id, Some(saga.kind), Input::TimerFired(timer), context).await
    }

    /// An operator wants something of a saga.
    pub async fn operate(
        &self,
        saga: SagaId,
        order: OperatorOrder,
        expected_version: Option<u64>,
        context: CommandContext,
    ) -> Outcome<SagaView> {
        let command = self.command(order.into());
        self.processor.execute(Operate { saga, command, expected_version }, context).await
    }

    async fn tell(
        &self,
        order_id: OrderId,
        only: Option<Kind>,
        input: Input,
        context: CommandContext,
    ) -> Outcome<Told> {
        self.processor.execute(Tell { order_id, only, command: self.command(input) }, context).await
    }

    fn command(&self, input: Input) -> Command {
        // No finer than PostgreSQL keeps it, so that events and tables name the same moment.
        let at = Utc::now().trunc_subsecs(6);
        Command { at, policy: self.policy, input }
    }
}
