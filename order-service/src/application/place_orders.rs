//! Placing an order: one catalogue query, one key row, one append. The rules are asked once before the key is
//! made, so that a refused order leaves no key behind; what counts is the answer of the command processor.

use std::sync::Arc;

use chrono::{SubsecRound, Utc};
use eventsourcing::{
    CommandContext, CommandProcessor, Committed, Decider, ExecuteError, Halt, Operation, Position, StreamId,
    SubscriptionHandle, View,
};
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use super::StoreError;
use super::catalogue::Catalogue;
use super::personal_data::{Field, PersonalData};
use super::read_orders::OrderView;
use crate::domain::order::{
    OrderCommand, OrderError, OrderEvent, OrderPlaced, OrderState, PlaceOrder, RequestedLine,
};
use crate::domain::{
    Contact, CustomerId, KeySubject, Money, Order, OrderId, PaymentToken, Quantity, SealedText, Sku,
};

/// Digits of a second that the database keeps of a time.
const STORED_SUBSECOND_DIGITS: u16 = 6;

/// The use case. Cheap to clone.
#[derive(Clone)]
pub struct PlaceOrders {
    parts: Arc<Parts>,
}

struct Parts {
    processor: CommandProcessor,
    catalogue: Catalogue,
    personal_data: PersonalData,
    max_open_orders: u32,
    tracker: TaskTracker,
}

/// What somebody wants to order.
pub struct Wish {
    pub customer_id: Option<CustomerId>,
    pub lines: Vec<(Sku, Quantity)>,
    pub expected_total: Option<Money>,
    pub payment_token: Option<PaymentToken>,
    pub contact: Contact,
}

/// An order that exists now.
pub struct Placed {
    pub order_id: OrderId,
    /// The order as this call placed it; `None` when an earlier call with the same request id has.
    pub now: Option<OrderView>,
    pub position: Position,
    /// Whether an earlier call with the same request id has placed it.
    pub replayed: bool,
}

/// Why no order was placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Command(#[from] ExecuteError<OrderError>),
}

impl PlaceOrders {
    pub fn new(
        processor: CommandProcessor,
        catalogue: Catalogue,
        personal_data: PersonalData,
        max_open_orders: u32,
        tracker: TaskTracker,
    ) -> Self {
        Self { parts: Arc::new(Parts { processor, catalogue, personal_data, max_open_orders, tracker }) }
    }

    /// What keeps the prices up to date.
    pub fn prices(&self) -> &SubscriptionHandle {
        self.parts.catalogue.prices()
    }

    /// Places an order, or finds the one that the same request has placed.
    ///
    /// It goes on when the caller stops waiting, so that keys are put in order whatever clients do.
    pub async fn place(&self, wish: Wish, context: CommandContext) -> Result<Placed, PlaceError> {
        let parts = Arc::clone(&self.parts);
        let placing = async move { parts.place(wish, context).await };
        let placing = self.parts.tracker.spawn(placing.in_current_span());
        placing.await.map_err(|error| StoreError::Fault(error.to_string()))?
    }
}

impl Parts {
    async fn place(&self, wish: Wish, context: CommandContext) -> Result<Placed, PlaceError> {
        let order_id = OrderId::new(Uuid::now_v7());
        let subject = KeySubject::of(order_id, wish.customer_id.as_ref());
        let contact = wish.contact.clone();
        let mut command = self.command(order_id, wish).await?;

        let foreseen = foresee(&command);
        let mut key_is_new = false;
        if foreseen.is_some() {
            let in_use = self.personal_data.key_for(&subject, order_id).await.map_err(StoreError::from)?;
            let plaintext = serde_json::to_vec(&contact).expect("a contact is plain texts");
            command.contact = in_use.key.seal(order_id, Field::Contact, &plaintext);
            key_is_new = in_use.is_new;
        }

        let operation = Place { order_id, command: OrderCommand::Place(command.into()) };
        let result = self.processor.execute(operation, context).await;
        if key_is_new && is_orphaned(&result, order_id) {
            // A failure here leaves a key that opens nothing, which is no reason to fail the request.
            if let Err(error) = self.personal_data.remove_orphan(&subject, order_id).await {
                tracing::warn!(%error, "an unused key could not be removed");
            }
        }
        let done = result?;
        let placed_now = done.reply.order_id == order_id;
        let placed = foreseen.filter(|_| placed_now);
        let now = placed.map(|placed| OrderView::just_placed(placed, contact));
        // By the id as well: a commit of its own that the processor found again is no repeat.
        let replayed = done.replayed && !placed_now;
        Ok(Placed { order_id: done.reply.order_id, now, position: done.position, replayed })
    }

    async fn command(&self, order_id: OrderId, wish: Wish) -> Result<PlaceOrder, StoreError> {
        let skus: Vec<Sku> = wish.lines.iter().map(|(sku, _)| sku.clone()).collect();
        let facts = self.catalogue.facts(&skus, wish.customer_id.as_ref(), self.max_open_orders).await?;
        let lines = wish.lines.into_iter().zip(facts.offers);
        Ok(PlaceOrder {
            order_id,
            customer_id: wish.customer_id,
            lines: lines.map(|((sku, quantity), offer)| RequestedLine { sku, quantity, offer }).collect(),
            expected_total: wish.expected_total,
            payment_token: wish.payment_token,
            contact: SealedText::default(),
            open_orders: facts.open_orders,
            max_open_orders: self.max_open_orders,
            placed_at: Utc::now().trunc_subsecs(STORED_SUBSECOND_DIGITS),
        })
    }
}

/// What the rules will say: the stream is new, so they depend on nothing but the command.
fn foresee(command: &PlaceOrder) -> Option<OrderPlaced> {
    let events = Order::decide(&OrderState::default(), &OrderCommand::Place(command.clone().into())).ok()?;
    events.into_iter().find_map(|event| match event {
        OrderEvent::OrderPlaced(placed) => Some(placed),
        _ => None,
    })
}

/// Whether it is certain that this order does not exist and will not.
///
/// By the id, not by whether the answer is a repeat: after a broken connection the processor may find its own
/// commit.
fn is_orphaned(result: &Result<Committed<PlacedReply>, ExecuteError<OrderError>>, order_id: OrderId) -> bool {
    match result {
        Ok(done) => done.reply.order_id != order_id,
        Err(ExecuteError::Unavailable(_) | ExecuteError::Corrupt(_)) => false,
        Err(_) => true,
    }
}

struct Place {
    order_id: OrderId,
    command: OrderCommand,
}

/// The stored answer: an id and nothing else, so that a repeat reads the order as it is then.
#[derive(Serialize, Deserialize)]
pub struct PlacedReply {
    order_id: OrderId,
}

impl Operation for Place {
    type Reply = PlacedReply;
    type Rejection = OrderError;

    fn run(&self, view: &mut View<'_>) -> Result<PlacedReply, Halt<OrderError>> {
        let stream = StreamId::of::<Order>(self.order_id);
        view.presume_new::<Order>(&stream);
        view.decide::<Order>(&stream, &self.command)?;
        Ok(PlacedReply { order_id: self.order_id })
    }
}
