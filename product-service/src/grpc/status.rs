//! The one place where this service's errors become statuses.

use chrono::{DateTime, SecondsFormat, Utc};
use service_runtime::status::{
    RETRY_AFTER, deadline_exceeded, failed_precondition, internal, not_found, of_execute_error,
    of_read_error, resource_exhausted, unavailable,
};
use tonic::Status;

use crate::application::{ExportError, ImportError, PastError};
use crate::domain::ProductId;
use crate::domain::product::ProductError;

/// A broken rule of the catalogue.
pub(super) fn of_product_error(error: ProductError) -> Status {
    let detail = error.to_string();
    let refuse = |reason: &str| failed_precondition(reason, detail.clone(), []);
    match error {
        ProductError::UnknownProduct => not_found(PRODUCT_NOT_FOUND, "product", "with this id"),
        ProductError::ProductExists => refuse("PRODUCT_EXISTS"),
        ProductError::ProductIsDiscontinued => refuse("PRODUCT_DISCONTINUED"),
        ProductError::ProductIsPublished => refuse("PRODUCT_PUBLISHED"),
        ProductError::OptionsDiffer { expected } => {
            failed_precondition("OPTIONS_DIFFER", detail, [("options", expected.join(", "))])
        }
        ProductError::OptionValuesTaken { index, sku } => failed_precondition(
            "OPTION_VALUES_TAKEN",
            detail,
            [("field", format!("variants[{index}].options")), ("sku", sku.to_string())],
        ),
        ProductError::CurrencyDiffers { expected } => {
            failed_precondition("CURRENCY_DIFFERS", detail, [("currencyCode", expected.to_string())])
        }
        ProductError::TooManyVariants => refuse("TOO_MANY_VARIANTS"),
        ProductError::UnknownVariant { sku } => not_found("VARIANT_NOT_FOUND", "variant", sku.as_str()),
        ProductError::EffectiveTimeNotAhead => {
            failed_precondition("EFFECTIVE_TIME_NOT_AHEAD", detail, [("field", EFFECTIVE_TIME.into())])
        }
        ProductError::EffectiveTimeTooFar => {
            failed_precondition("EFFECTIVE_TIME_TOO_FAR", detail, [("field", EFFECTIVE_TIME.into())])
        }
        ProductError::EffectiveTimeTaken { schedule_id, .. } => failed_precondition(
            "EFFECTIVE_TIME_TAKEN",
            detail,
            [("field", EFFECTIVE_TIME.into()), ("scheduleId", schedule_id.to_string())],
        ),
        ProductError::TooManyScheduledForVariant | ProductError::TooManyScheduled => {
            refuse("TOO_MANY_SCHEDULED_PRICES")
        }
        ProductError::UnknownSchedule { schedule_id } => {
            not_found("SCHEDULED_PRICE_NOT_FOUND", "scheduled price", &schedule_id.to_string())
        }
        ProductError::ScheduleInEffect { .. } => refuse("SCHEDULED_PRICE_IN_EFFECT"),
        ProductError::ScheduleNotDue { .. } => refuse("SCHEDULED_PRICE_NOT_DUE"),
        ProductError::SkuTaken { index, sku, product_id } => failed_precondition(
            "SKU_TAKEN",
            detail,
            [
                ("field", format!("variants[{index}].sku")),
                ("sku", sku.to_string()),
                ("productId", product_id.to_string()),
            ],
        ),
        ProductError::HandleTaken { handle, product_id } => failed_precondition(
            "HANDLE_TAKEN",
            detail,
            [("handle", handle.to_string()), ("productId", product_id.to_string())],
        ),
    }
}

const EFFECTIVE_TIME: &str = "effective_time";
const PRODUCT_NOT_FOUND: &str = "PRODUCT_NOT_FOUND";

pub(super) fn unknown_product(product_id: ProductId) -> Status {
    not_found(PRODUCT_NOT_FOUND, "product", &product_id.to_string())
}

/// It came later than the time that was asked for.
pub(super) fn not_there_yet(product_id: ProductId, created_at: DateTime<Utc>) -> Status {
    let created_at = created_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let name = format!("{product_id}, created later, at {created_at},");
    not_found("PRODUCT_NOT_THERE_YET", "product", &name)
}

/// What was written does not appear in the tables: its events are parked.
pub(super) fn not_shown() -> Status {
    unavailable(
        "READ_MODEL_BEHIND",
        "the change is stored and cannot be shown yet; an operator has to look at the parked messages",
        RETRY_AFTER,
    )
}

pub(super) fn of_export_error(error: ExportError) -> Status {
    match error {
        ExportError::TooMany => resource_exhausted("TOO_MANY_EXPORTS", error.to_string(), Some(RETRY_AFTER)),
        ExportError::Behind(_) => unavailable("READ_MODEL_BEHIND", error.to_string(), RETRY_AFTER),
        ExportError::TooLong => deadline_exceeded(),
        ExportError::Read(error) => of_read_error(error),
    }
}

pub(super) fn of_past_error(error: PastError) -> Status {
    match error {
        PastError::Read(error) => of_read_error(error),
        PastError::Decode(fault) => internal(fault),
    }
}

pub(super) fn of_import_error(error: ImportError) -> Status {
    match error {
        ImportError::Execute(error) => of_execute_error(error, of_product_error),
        ImportError::Rejected(rule) => of_product_error(rule),
        ImportError::Read(error) => of_read_error(error),
        ImportError::Decode(fault) => internal(fault),
    }
}
