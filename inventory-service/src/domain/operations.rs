//! The commands of this service as units of consistency. Those on a reservation read and write it together with
//! the stock of every SKU in it, so that what is reserved is at every moment the sum of what orders hold.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use eventsourcing::{Decider, Halt, Operation, StreamId, View};
use serde::{Deserialize, Serialize};

use super::reservation::{
    LackingLine, Rejection, RejectionReason, Reservation, ReservationCommand, ReservationError,
    ReservationEvent, ReservationStatus,
};
use super::stock::{Stock, StockCommand, StockError, StockState};
use super::values::{InvalidLines, Line, OrderId, OrderLines, Sku};

/// A broken rule of either decider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReservationRefused {
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// The stock does not hold what the reservation says: a fault of this service, never of the request.
    #[error(transparent)]
    Stock(#[from] StockError),
}

/// How long a reservation may be held before it is pinned.
#[derive(Clone, Copy, Debug)]
pub struct HoldLimits {
    /// Held for at least so long from the moment that it is reserved: a request that waited while this service
    /// was down would otherwise have expired before it was read.
    pub minimum: TimeDelta,
    /// Held for at most so long, whatever the request asks for.
    pub maximum: TimeDelta,
}

impl HoldLimits {
    fn end(&self, requested: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        // Whole milliseconds are the same in every store, so a timer and the rules agree on the moment.
        requested.clamp(now + self.minimum, now + self.maximum.max(self.minimum)).trunc_subsecs(3)
    }
}

/// Holds every line of an order, or none and says why.
#[derive(Clone, Debug)]
pub struct ReserveStock {
    pub order_id: OrderId,
    /// Lines that nobody could deliver are answered like any others, since the sender waits for it.
    pub lines: Result<OrderLines, InvalidLines>,
    pub expires_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
    pub limits: HoldLimits,
}

impl Operation for ReserveStock {
    type Reply = ReservationStatus;
    type Rejection = ReservationRefused;

    fn run(&self, view: &mut View<'_>) -> Result<ReservationStatus, Halt<ReservationRefused>> {
        let reservation = StreamId::of::<Reservation>(self.order_id);
        let command = match &self.lines {
            Ok(lines) => {
                // Before it is reserved nothing happens to a reservation, unless a release overtakes it.
                view.presume_new::<Reservation>(&reservation);
                load(view, &reservation, lines.as_slice())?;
                let fresh = view.state::<Reservation>(&reservation)?.status == ReservationStatus::Unknown;
                let rejection = if fresh { self.hold(view, lines.as_slice())? } else { None };
                match rejection {
                    Some(rejection) => ReservationCommand::Refuse { rejection },
                    None => {
                        let expires_at = self.limits.end(self.expires_at, self.now);
                        ReservationCommand::Reserve { lines: lines.clone(), expires_at }
                    }
                }
            }
            Err(InvalidLines) => {
                let rejection = Rejection { reason: RejectionReason::InvalidLines, lacking: Vec::new() };
                ReservationCommand::Refuse { rejection }
            }
        };
        view.decide::<Reservation>(&reservation, &command).map_err(lift)?;
        Ok(view.state::<Reservation>(&reservation)?.status)
    }
}

impl ReserveStock {
    /// Holds the pieces of all lines, or of none if there are lines that cannot be had: then it says which.
    fn hold(
        &self,
        view: &mut View<'_>,
        lines: &[Line],
    ) -> Result<Option<Rejection>, Halt<ReservationRefused>> {
        let mut held = Vec::with_capacity(lines.len());
        let mut lacking = Vec::new();
        let mut reason = RejectionReason::InsufficientStock;
        for Line { sku, quantity } in lines {
            let stream = StreamId::of::<Stock>(sku);
            let command = StockCommand::Reserve { order_id: self.order_id, quantity: *quantity };
            let available = match Stock::decide(view.state::<Stock>(&stream)?, &command) {
                Ok(events) => {
                    held.push((stream, events));
                    continue;
                }
                Err(StockError::InsufficientStock { available }) => available,
                Err(StockError::UnknownSku) => {
                    reason = RejectionReason::UnknownSku;
                    0
                }
                Err(error) => return Err(Halt::Rejected(error.into())),
            };
            lacking.push(LackingLine { sku: sku.clone(), requested: *quantity, available });
        }
        if !lacking.is_empty() {
            return Ok(Some(Rejection { reason, lacking }));
        }
        for (stream, events) in held {
            view.append::<Stock>(&stream, &events)?;
        }
        Ok(None)
    }
}

/// Every other step of a reservation: it moves all the pieces of its lines, or none.
#[derive(Clone, Debug)]
pub struct SettleReservation {
    order_id: OrderId,
    command: ReservationCommand,
}

impl SettleReservation {
    /// Keeps a reservation beyond its time, which must not be up yet.
    pub fn pin(order_id: OrderId, now: DateTime<Utc>) -> Self {
        Self { order_id, command: ReservationCommand::Pin { now } }
    }

    /// Gives back what is held, or leaves a tombstone for a reservation that may still come.
    pub fn release(order_id: OrderId) -> Self {
        Self { order_id, command: ReservationCommand::Release {} }
    }

    /// Sells what is held.
    pub fn commit(order_id: OrderId) -> Self {
        Self { order_id, command: ReservationCommand::Commit {} }
    }

    /// Takes back what was sold.
    pub fn restock(order_id: OrderId) -> Self {
        Self { order_id, command: ReservationCommand::Restock {} }
    }

    /// Gives back what is held and not pinned, once its time is up.
    pub fn expire(order_id: OrderId, now: DateTime<Utc>) -> Self {
        Self { order_id, command: ReservationCommand::Expire { now } }
    }
}

impl Operation for SettleReservation {
    type Reply = ReservationStatus;
    type Rejection = ReservationRefused;

    fn run(&self, view: &mut View<'_>) -> Result<ReservationStatus, Halt<ReservationRefused>> {
        let reservation = StreamId::of::<Reservation>(self.order_id);
        let state = view.state::<Reservation>(&reservation)?.clone();
        let decided = Reservation::decide(&state, &self.command);
        let events = decided.map_err(|error| Halt::Rejected(error.into()))?;
        if events.iter().any(|event| movement(event).is_some()) {
            load(view, &reservation, &state.lines)?;
        }
        for command in events.iter().filter_map(movement) {
            for Line { sku, quantity } in &state.lines {
                let stream = StreamId::of::<Stock>(sku);
                view.decide::<Stock>(&stream, &command(self.order_id, *quantity)).map_err(lift)?;
            }
        }
        view.append::<Reservation>(&reservation, &events)?;
        Ok(view.state::<Reservation>(&reservation)?.status)
    }
}

type Movement = fn(OrderId, super::Quantity) -> StockCommand;

/// What an event of a reservation does to the stock of its lines.
fn movement(event: &ReservationEvent) -> Option<Movement> {
    match event {
        ReservationEvent::StockReleased {} | ReservationEvent::ReservationExpired {} => {
            Some(|order_id, quantity| StockCommand::Release { order_id, quantity })
        }
        ReservationEvent::StockCommitted {} => {
            Some(|order_id, quantity| StockCommand::Commit { order_id, quantity })
        }
        ReservationEvent::StockRestocked {} => {
            Some(|order_id, quantity| StockCommand::Restock { order_id, quantity })
        }
        // Reserving asks the stock first: see `ReserveStock`.
        ReservationEvent::StockReserved { .. }
        | ReservationEvent::StockReservationRejected(_)
        | ReservationEvent::ReservationPinned {}
        | ReservationEvent::ReservationPinRejected { .. }
        | ReservationEvent::RequestAnswered { .. } => None,
    }
}

/// Receives or corrects the stock of one SKU, and shows it afterwards.
#[derive(Clone, Debug)]
pub struct ChangeStock {
    pub sku: Sku,
    pub command: StockCommand,
    /// Refuse unless the stock has this version now.
    pub expected_version: Option<u64>,
    pub now: DateTime<Utc>,
}

/// A SKU's stock after a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockChanged {
    pub state: StockState,
    pub version: u64,
    /// When it was asked for.
    pub at: DateTime<Utc>,
}

impl Operation for ChangeStock {
    type Reply = StockChanged;
    type Rejection = StockError;

    fn run(&self, view: &mut View<'_>) -> Result<StockChanged, Halt<StockError>> {
        let stream = StreamId::of::<Stock>(&self.sku);
        if let Some(expected) = self.expected_version {
            view.expect_version::<Stock, _>(&stream, expected)?;
        }
        let version = view.decide::<Stock>(&stream, &self.command)?;
        Ok(StockChanged { state: view.state::<Stock>(&stream)?.clone(), version, at: self.now })
    }
}

/// Asks for everything at once, so that one round trip loads it.
fn load(view: &mut View<'_>, reservation: &StreamId, lines: &[Line]) -> Result<(), Halt<ReservationRefused>> {
    let stocks: Vec<StreamId> = lines.iter().map(|line| StreamId::of::<Stock>(&line.sku)).collect();
    let reservation = view.load::<Reservation>([reservation]);
    let stocks = view.load::<Stock>(&stocks);
    reservation?;
    stocks?;
    Ok(())
}

fn lift<E: Into<ReservationRefused>>(halt: Halt<E>) -> Halt<ReservationRefused> {
    match halt {
        Halt::Rejected(error) => Halt::Rejected(error.into()),
        Halt::StaleVersion { stream, expected, actual } => Halt::StaleVersion { stream, expected, actual },
        Halt::Missing => Halt::Missing,
    }
}
