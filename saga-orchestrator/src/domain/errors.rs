//! Why a saga refuses a command. Answers and timers that come late are no errors: they lead to no event.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such saga")]
    NotStarted,
    #[error("the saga is at its end")]
    Ended,
    #[error("the saga is not stuck: it goes on by itself")]
    NotStuck,
    #[error("the saga compensates already")]
    AlreadyCompensating,
    #[error("the pivot was requested: only forward is possible")]
    PivotPassed,
    /// Written by a newer program.
    #[error("definition version {version} is unknown to this program")]
    UnknownDefinition { version: u32 },
}
