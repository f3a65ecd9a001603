//! Rebuilds of read models as they cross the wire, and what is said when one cannot be done.

use contracts::shop::operations::v1 as wire;
use eventsourcing::{RebuildError, RebuildState, RebuildStatus};
use tonic::Status;

use super::{check_name, timestamp};
use crate::fields;
use crate::status::{self, RETRY_AFTER, Violations, reason};

/// Reason of NOT_FOUND for a read model.
pub const MODEL_NOT_FOUND: &str = "READ_MODEL_NOT_FOUND";
/// A subscription that leads to more than rows: it is never rebuilt.
pub const NOT_A_READ_MODEL: &str = "NOT_A_READ_MODEL";
/// There is none to abandon.
pub const NO_REBUILD: &str = "NO_REBUILD_UNDER_WAY";
/// The model is being switched back, or rebuilt.
pub const REBUILD_UNDER_WAY: &str = "REBUILD_UNDER_WAY";
/// No former version is kept.
pub const NOTHING_TO_SWITCH_BACK_TO: &str = "NO_FORMER_VERSION";

/// The name of a model, if it can be one.
pub(super) fn checked_model(model: String) -> Result<String, Status> {
    let mut violations = Violations::new();
    violations.check(!model.is_empty(), "model", "must not be empty");
    check_name(&mut violations, "model", &model);
    violations.into_result()?;
    Ok(model)
}

/// What became of a request for a model.
pub(super) fn shown(outcome: Result<RebuildStatus, RebuildError>) -> Result<Option<wire::Rebuild>, Status> {
    outcome.map(|status| Some(to_wire(status))).map_err(refused)
}

pub(super) fn to_wire(status: RebuildStatus) -> wire::Rebuild {
    let state = match status.state {
        RebuildState::Serving => "SERVING",
        RebuildState::Filling => "FILLING",
        RebuildState::SwitchingBack => "SWITCHING_BACK",
        RebuildState::Failed => "FAILED",
    };
    let time_left = status.time_left().and_then(|left| prost_types::Duration::try_from(left).ok());
    wire::Rebuild {
        model: status.model.to_owned(),
        state: state.to_owned(),
        position: status.position,
        target: status.target,
        events_per_second: status.events_per_second,
        time_left,
        begun_at: status.begun_at.map(timestamp),
        problem: status.problem.unwrap_or_default(),
        switched_at: status.switched_at.map(timestamp),
        former_kept_until: status.former_kept_until.map(timestamp),
    }
}

pub(super) fn refused(error: RebuildError) -> Status {
    let detail = error.to_string();
    let rule = |reason| status::failed_precondition(reason, detail.clone(), []);
    match error {
        RebuildError::Unknown(model) => status::not_found(MODEL_NOT_FOUND, "read model", &model),
        RebuildError::NotAModel(_) => rule(NOT_A_READ_MODEL),
        RebuildError::NotBegun(_) => rule(NO_REBUILD),
        RebuildError::UnderWay(_) => rule(REBUILD_UNDER_WAY),
        RebuildError::NoFormer(_) => rule(NOTHING_TO_SWITCH_BACK_TO),
        error if error.is_transient() => {
            tracing::warn!({ fields::ERROR } = detail, "a read model cannot be looked at");
            status::unavailable(reason::DEPENDENCY_UNAVAILABLE, "the database is unavailable", RETRY_AFTER)
        }
        fault => status::internal(fault),
    }
}
