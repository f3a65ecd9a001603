//! How the shop goes about its work: as the services do, unless a mutation says otherwise. Every difference that the
//! search shall find out is one of these fields; no service has a switch for it.

use eventsourcing::{Halt, Operation, View};
use saga_orchestrator::adapters::timers::{Deadline, deadline};
use saga_orchestrator::application::{Operate, ProcessManager, SagaView, Tell, Told};
use saga_orchestrator::domain::{Cancellation, Checkout, Event, Refusal};

use crate::log::Patch;

#[derive(Clone, Copy)]
pub struct Shop {
    /// The order costs nothing.
    pub free: bool,
    pub managers: Managers,
    /// Which timer an event of a saga sets.
    pub deadline: fn(&Event) -> Deadline,
    /// Changes what services append.
    pub patch: Option<Patch>,
    /// A message that is delivered again has the command id that it had.
    pub message_ids: bool,
    /// A client that repeats a request repeats its id.
    pub request_ids: bool,
    pub provider: ProviderHabit,
    /// A reservation that is pinned expires like any other.
    pub pinned_expires: bool,
    /// A confirmed order is shipped, whatever else is wanted.
    pub ships_anyway: bool,
}

/// What is done about a call to the provider that has no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ProviderHabit {
    /// The provider is asked, and the call is repeated under its key if it never arrived.
    Asks,
    /// It counts as failed.
    GivesUp,
    /// It is repeated under a new key, and nobody asks.
    CallsAgain,
}

impl Shop {
    /// The shop as it is.
    pub const AS_IT_IS: Self = Self {
        free: false,
        managers: Managers::of::<Checkout, Cancellation>(),
        deadline,
        patch: None,
        message_ids: true,
        request_ids: true,
        provider: ProviderHabit::Asks,
        pinned_expires: false,
        ships_anyway: false,
    };
}

/// The two process managers behind the real operations.
#[derive(Clone, Copy)]
pub struct Managers {
    tell: fn(&Tell, &mut View<'_>) -> Result<Told, Halt<Refusal>>,
    operate: fn(&Operate, &mut View<'_>) -> Result<SagaView, Halt<Refusal>>,
}

impl Managers {
    pub const fn of<C: ProcessManager, X: ProcessManager>() -> Self {
        Self { tell: Tell::put::<C, X>, operate: Operate::put::<C, X> }
    }
}

/// Tells the sagas something.
pub struct ToSagas(pub Managers, pub Tell);

impl Operation for ToSagas {
    type Reply = Told;
    type Rejection = Refusal;

    fn run(&self, view: &mut View<'_>) -> Result<Told, Halt<Refusal>> {
        (self.0.tell)(&self.1, view)
    }
}

/// An operator's order to a saga.
pub struct ToSaga(pub Managers, pub Operate);

impl Operation for ToSaga {
    type Reply = SagaView;
    type Rejection = Refusal;

    fn run(&self, view: &mut View<'_>) -> Result<SagaView, Halt<Refusal>> {
        (self.0.operate)(&self.1, view)
    }
}
