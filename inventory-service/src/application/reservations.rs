//! What is done for orders: hold their goods, and settle what is held. Each is one operation, decided all or
//! nothing; its answer is an event, so what is returned here is for logs and tests.

use chrono::{DateTime, Utc};
use eventsourcing::{CommandContext, CommandProcessor, ExecuteError};

use crate::domain::operations::{HoldLimits, ReservationRefused, ReserveStock, SettleReservation};
use crate::domain::reservation::ReservationStatus;
use crate::domain::{InvalidLines, OrderId, OrderLines};

/// Holds and settles the goods of orders.
#[derive(Clone)]
pub struct Reservations {
    processor: CommandProcessor,
    limits: HoldLimits,
}

/// What an order wants held.
#[derive(Clone, Debug)]
pub struct ReserveRequest {
    pub order_id: OrderId,
    /// Lines that nobody could deliver are answered with a rejection.
    pub lines: Result<OrderLines, InvalidLines>,
    /// `None` asks for the shortest hold.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What is asked of a reservation.
#[derive(Clone, Debug)]
pub enum Request {
    Reserve(ReserveRequest),
    Pin(OrderId),
    Release(OrderId),
    Commit(OrderId),
    Restock(OrderId),
}

/// Where the reservation stands after a request.
pub type Settled = Result<ReservationStatus, ExecuteError<ReservationRefused>>;

impl Reservations {
    pub fn new(processor: CommandProcessor, limits: HoldLimits) -> Self {
        Self { processor, limits }
    }

    /// Does what is asked.
    pub async fn carry_out(&self, request: Request, context: CommandContext) -> Settled {
        match request {
            Request::Reserve(request) => self.reserve(request, context).await,
            Request::Pin(order_id) => self.pin(order_id, context).await,
            Request::Release(order_id) => self.release(order_id, context).await,
            Request::Commit(order_id) => self.commit(order_id, context).await,
            Request::Restock(order_id) => self.restock(order_id, context).await,
        }
    }

    /// Holds all lines, or none and says why.
    pub async fn reserve(&self, request: ReserveRequest, context: CommandContext) -> Settled {
        let ReserveRequest { order_id, lines, expires_at } = request;
        let now = Utc::now();
        let expires_at = expires_at.unwrap_or(now);
        let operation = ReserveStock { order_id, lines, expires_at, now, limits: self.limits };
        Ok(self.processor.execute(operation, context).await?.reply)
    }

    /// Keeps what is held beyond its time.
    pub async fn pin(&self, order_id: OrderId, context: CommandContext) -> Settled {
        self.settle(SettleReservation::pin(order_id, Utc::now()), context).await
    }

    /// Gives back what is held, and refuses what comes later.
    pub async fn release(&self, order_id: OrderId, context: CommandContext) -> Settled {
        self.settle(SettleReservation::release(order_id), context).await
    }

    /// Sells what is held.
    pub async fn commit(&self, order_id: OrderId, context: CommandContext) -> Settled {
        self.settle(SettleReservation::commit(order_id), context).await
    }

    /// Takes back what was sold.
    pub async fn restock(&self, order_id: OrderId, context: CommandContext) -> Settled {
        self.settle(SettleReservation::restock(order_id), context).await
    }

    /// Gives back what is held and not pinned, once its time is up.
    pub async fn expire(&self, order_id: OrderId, context: CommandContext) -> Settled {
        self.settle(SettleReservation::expire(order_id, Utc::now()), context).await
    }

    async fn settle(&self, operation: SettleReservation, context: CommandContext) -> Settled {
        Ok(self.processor.execute(operation, context).await?.reply)
    }
}
