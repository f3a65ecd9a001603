//! What operators order. Unlike a message, an order can be refused, and is answered with the saga as it is then.

use eventsourcing::{Halt, Operation, View};

use super::tell::{ProcessManager, tell, tell_checkout};
use super::view::{SagaId, SagaView};
use crate::domain::{Cancellation, Checkout, Command, Input, Kind, Note, Refusal};

/// Something that a person wants of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorOrder {
    /// Send the open request of a stuck saga once more.
    Retry,
    /// Take the open step of a stuck saga as done.
    Skip { reason: Note },
    /// Turn back.
    Compensate { note: Note },
}

impl From<OperatorOrder> for Input {
    fn from(order: OperatorOrder) -> Self {
        match order {
            OperatorOrder::Retry => Self::Retry,
            OperatorOrder::Skip { reason } => Self::Skip { reason: reason.as_str().to_owned() },
            OperatorOrder::Compensate { note } => Self::Compensate { note: note.as_str().to_owned() },
        }
    }
}

/// The operation that puts an operator's order to one saga.
#[derive(Clone, Debug)]
pub struct Operate {
    pub saga: SagaId,
    pub command: Command,
    /// Refuse unless the saga has this version now.
    pub expected_version: Option<u64>,
}

impl Operation for Operate {
    type Reply = SagaView;
    type Rejection = Refusal;

    fn run(&self, view: &mut View<'_>) -> Result<SagaView, Halt<Refusal>> {
        self.put::<Checkout, Cancellation>(view)
    }
}

impl Operate {
    /// Puts the order to a checkout `C` or a cancellation `X`. A search may put others than the real two.
    pub fn put<C: ProcessManager, X: ProcessManager>(
        &self,
        view: &mut View<'_>,
    ) -> Result<SagaView, Halt<Refusal>> {
        let (stream, order_id) = (self.saga.stream(), self.saga.order_id);
        let (state, version) = match self.saga.kind {
            Kind::Checkout => {
                if let Some(expected) = self.expected_version {
                    view.expect_version::<C, _>(&stream, expected)?;
                }
                // A checkout that ends so may call for its cancellation, like any other.
                tell_checkout::<C, X>(view, order_id, &self.command)?;
                let version = view.version::<C>(&stream)?;
                (view.state::<C>(&stream)?, version)
            }
            Kind::Cancellation => {
                if let Some(expected) = self.expected_version {
                    view.expect_version::<X, _>(&stream, expected)?;
                }
                tell::<X>(view, order_id, &self.command)?;
                let version = view.version::<X>(&stream)?;
                (view.state::<X>(&stream)?, version)
            }
        };
        SagaView::of(state, version, self.command.at).ok_or(Halt::Rejected(Refusal::NotStarted))
    }
}
