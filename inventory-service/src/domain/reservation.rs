//! What is held for one order, from the request to its end. Whether there are enough pieces is the stock's
//! knowledge; an operation asks both and records both, all or nothing.
//!
//! Whoever sends a request waits for its answer, so each request that this service is sent leads to an event,
//! also when it comes twice, late or in vain:
//!
//! | request | unknown | held | pinned | committed | released | expired | rejected | restocked |
//! |---|---|---|---|---|---|---|---|---|
//! | reserve | reserved or rejected | reserved | reserved | reserved | rejected | rejected | rejected | rejected |
//! | pin | refused | pinned, or refused when its time is up | pinned | pinned | refused | refused | refused | refused |
//! | release | released | released | released | *error* | released | released | released | released |
//! | commit | *error* | committed | committed | committed | *error* | *error* | *error* | committed |
//! | restock | *error* | *error* | *error* | restocked | *error* | *error* | *error* | restocked |
//!
//! Where a request finds its work done, [`ReservationEvent::RequestAnswered`] gives the answer again. The errors
//! are requests that no correct saga sends, and for which every answer would be untrue: goods that are sold
//! cannot be released, goods that are not held cannot be sold, goods that were not sold cannot be taken back.
//! They are for people to look at. A reservation that is held but not pinned is committed all the same: whoever
//! commits has taken the money, and the goods are there.

mod commands;
mod errors;
mod events;

pub use commands::ReservationCommand;
pub use errors::ReservationError;
pub use events::{Answer, LackingLine, PinRefusal, Rejection, RejectionReason, ReservationEvent};

use chrono::{DateTime, Utc};
use eventsourcing::Decider;
use serde::{Deserialize, Serialize};

use super::values::{Line, OrderLines};

/// The decider of an order's reservation.
pub struct Reservation;

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// Nothing was asked for, or nothing but what was refused.
    #[default]
    Unknown,
    /// Held until it expires.
    Held,
    /// Held until it is committed or released.
    Pinned,
    /// The goods are sold.
    Committed,
    /// Given back, or released before it was asked for: a reservation that comes later is refused.
    Released,
    /// Given back because its time was up.
    Expired,
    /// Refused; nothing was ever held.
    Rejected,
    /// Sold and taken back.
    Restocked,
}

impl ReservationStatus {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Held,
        Self::Pinned,
        Self::Committed,
        Self::Released,
        Self::Expired,
        Self::Rejected,
        Self::Restocked,
    ];

    /// The name under which it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Held => "held",
            Self::Pinned => "pinned",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Restocked => "restocked",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// What the rules need to know of a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationState {
    pub status: ReservationStatus,
    /// What is, or was, held.
    pub lines: Vec<Line>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Why it was rejected, to be told again.
    pub rejection: Option<Rejection>,
}

type Decided = Result<Vec<ReservationEvent>, ReservationError>;

impl Decider for Reservation {
    const CATEGORY: &'static str = "reservation";

    type State = ReservationState;
    type Command = ReservationCommand;
    type Event = ReservationEvent;
    type Error = ReservationError;

    fn decide(state: &ReservationState, command: &ReservationCommand) -> Decided {
        match command {
            ReservationCommand::Reserve { lines, expires_at } => reserve(state, lines, *expires_at),
            ReservationCommand::Refuse { rejection } => refuse(state, rejection),
            ReservationCommand::Pin { now } => Ok(vec![pin(state, *now)]),
            ReservationCommand::Release {} => release(state),
            ReservationCommand::Commit {} => commit(state),
            ReservationCommand::Restock {} => restock(state),
            ReservationCommand::Expire { now } => expire(state, *now),
        }
    }

    fn evolve(mut state: ReservationState, event: &ReservationEvent) -> ReservationState {
        match event {
            ReservationEvent::StockReserved { lines, expires_at } => {
                state.status = ReservationStatus::Held;
                state.lines = lines.as_slice().to_vec();
                state.expires_at = Some(*expires_at);
            }
            ReservationEvent::StockReservationRejected(rejection) => {
                // A request that comes after the end is refused without making it another end.
                if state.status == ReservationStatus::Unknown {
                    state.status = ReservationStatus::Rejected;
                    state.rejection = Some(rejection.clone());
                }
            }
            ReservationEvent::ReservationPinned {} => state.status = ReservationStatus::Pinned,
            ReservationEvent::StockReleased {} => state.status = ReservationStatus::Released,
            ReservationEvent::ReservationExpired {} => state.status = ReservationStatus::Expired,
            ReservationEvent::StockCommitted {} => state.status = ReservationStatus::Committed,
            ReservationEvent::StockRestocked {} => state.status = ReservationStatus::Restocked,
            ReservationEvent::ReservationPinRejected { .. } | ReservationEvent::RequestAnswered { .. } => {}
        }
        state
    }
}

fn answered(answer: Answer) -> Decided {
    Ok(vec![ReservationEvent::RequestAnswered { answer }])
}

fn reserve(state: &ReservationState, lines: &OrderLines, expires_at: DateTime<Utc>) -> Decided {
    use ReservationStatus::*;
    match state.status {
        Unknown => Ok(vec![ReservationEvent::StockReserved { lines: lines.clone(), expires_at }]),
        Held | Pinned | Committed if state.lines == lines.as_slice() => answered(Answer::Reserved {}),
        Held | Pinned | Committed => Err(ReservationError::OtherLinesReserved),
        Rejected | Released | Expired | Restocked => reserved_in_vain(state),
    }
}

fn refuse(state: &ReservationState, rejection: &Rejection) -> Decided {
    use ReservationStatus::*;
    match state.status {
        Unknown => Ok(vec![ReservationEvent::StockReservationRejected(rejection.clone())]),
        Held | Pinned | Committed => Err(ReservationError::OtherLinesReserved),
        Rejected | Released | Expired | Restocked => reserved_in_vain(state),
    }
}

/// The answer to a request that comes after the reservation's end, or once more after it was rejected.
fn reserved_in_vain(state: &ReservationState) -> Decided {
    match &state.rejection {
        Some(rejection) => answered(Answer::ReservationRejected(rejection.clone())),
        None => {
            let rejection = Rejection { reason: RejectionReason::ReleasedBefore, lacking: Vec::new() };
            Ok(vec![ReservationEvent::StockReservationRejected(rejection)])
        }
    }
}

fn pin(state: &ReservationState, now: DateTime<Utc>) -> ReservationEvent {
    use ReservationStatus::*;
    let refused = |reason| ReservationEvent::ReservationPinRejected { reason };
    match state.status {
        Held if state.expires_at.is_some_and(|end| end <= now) => refused(PinRefusal::ReservationExpired),
        Held => ReservationEvent::ReservationPinned {},
        Pinned | Committed => ReservationEvent::RequestAnswered { answer: Answer::Pinned {} },
        Expired => refused(PinRefusal::ReservationExpired),
        Released | Restocked => refused(PinRefusal::ReservationReleased),
        Unknown | Rejected => refused(PinRefusal::UnknownReservation),
    }
}

fn release(state: &ReservationState) -> Decided {
    use ReservationStatus::*;
    match state.status {
        Unknown | Held | Pinned => Ok(vec![ReservationEvent::StockReleased {}]),
        Released | Rejected | Restocked => answered(Answer::Released { expired: false }),
        Expired => answered(Answer::Released { expired: true }),
        Committed => Err(ReservationError::AlreadyCommitted),
    }
}

fn commit(state: &ReservationState) -> Decided {
    use ReservationStatus::*;
    match state.status {
        Held | Pinned => Ok(vec![ReservationEvent::StockCommitted {}]),
        Committed | Restocked => answered(Answer::Committed {}),
        status @ (Unknown | Released | Expired | Rejected) => Err(ReservationError::NothingHeld { status }),
    }
}

fn restock(state: &ReservationState) -> Decided {
    use ReservationStatus::*;
    match state.status {
        Committed => Ok(vec![ReservationEvent::StockRestocked {}]),
        Restocked => answered(Answer::Restocked {}),
        status @ (Unknown | Held | Pinned | Released | Expired | Rejected) => {
            Err(ReservationError::NotCommitted { status })
        }
    }
}

/// Nobody waits for this one: a timer that comes too late changes nothing.
fn expire(state: &ReservationState, now: DateTime<Utc>) -> Decided {
    use ReservationStatus::*;
    match state.status {
        Held => match state.expires_at {
            Some(expires_at) if now < expires_at => Err(ReservationError::NotDue { expires_at }),
            _ => Ok(vec![ReservationEvent::ReservationExpired {}]),
        },
        Unknown | Pinned | Committed | Released | Expired | Rejected | Restocked => Ok(Vec::new()),
    }
}
