//! The one place where errors become statuses.

use eventsourcing::ExecuteError;
use service_runtime::status;
use tonic::Status;

use crate::application::{QueryError, SagaId};
use crate::domain::Refusal;

pub(super) fn saga_not_found(id: SagaId) -> Status {
    status::not_found("SAGA_NOT_FOUND", "saga", &id.to_string())
}

pub(super) fn of_order(error: ExecuteError<Refusal>, id: SagaId) -> Status {
    status::of_execute_error(error, |refusal| of_refusal(refusal, id))
}

fn of_refusal(refusal: Refusal, id: SagaId) -> Status {
    let reason = match &refusal {
        Refusal::NotStarted => return saga_not_found(id),
        Refusal::Ended => "SAGA_ENDED",
        Refusal::NotStuck => "SAGA_NOT_STUCK",
        Refusal::AlreadyCompensating => "SAGA_COMPENSATES_ALREADY",
        Refusal::PivotPassed => "SAGA_PIVOT_PASSED",
        Refusal::UnknownDefinition { .. } => "SAGA_DEFINITION_UNKNOWN",
    };
    status::failed_precondition(reason, refusal.to_string(), [])
}

pub(super) fn of_query(error: QueryError) -> Status {
    match error {
        QueryError::Database(error) => status::of_read_error(error),
        error @ (QueryError::Decode(_) | QueryError::ReadModel(_)) => status::internal(error),
    }
}
