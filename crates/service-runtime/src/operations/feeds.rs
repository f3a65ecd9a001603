//! The places of subscriptions in their feeds as they cross the wire, and what is said when one cannot go on.

use contracts::shop::operations::v1 as wire;
use eventsourcing::{GoOn, Place, WentOn};
use tonic::Status;

use super::check_name;
use crate::status::{self, Violations};

/// Reason of NOT_FOUND for a subscription.
pub const SUBSCRIPTION_NOT_FOUND: &str = "SUBSCRIPTION_NOT_FOUND";
/// It runs, and nothing is moved under its feet.
pub const SUBSCRIPTION_NOT_STOPPED: &str = "SUBSCRIPTION_NOT_STOPPED";
/// It has seen this incarnation of the log, or a higher one.
pub const INCARNATION_NOT_RAISED: &str = "INCARNATION_NOT_RAISED";

/// The name of a subscription, if it can be one.
pub(super) fn checked_name(name: String) -> Result<String, Status> {
    let mut violations = Violations::new();
    violations.check(!name.is_empty(), "subscription", "must not be empty");
    check_name(&mut violations, "subscription", &name);
    violations.into_result()?;
    Ok(name)
}

/// Which subscription is to go on, and how.
pub(super) fn read(request: wire::ResumeSubscriptionRequest) -> Result<(String, GoOn), Status> {
    let wire::ResumeSubscriptionRequest { subscription, from_beginning, checked } = request;
    let mut violations = Violations::new();
    violations.check(!subscription.is_empty(), "subscription", "must not be empty");
    check_name(&mut violations, "subscription", &subscription);
    if let Some(checked) = &checked {
        violations.check(checked.incarnation >= 1, "checked.incarnation", "must be at least 1");
        violations.check(checked.position >= 0, "checked.position", "must not be negative");
    }
    violations.into_result()?;
    let checked = checked.map(|checked| (checked.incarnation, checked.position));
    Ok((subscription, GoOn { from_beginning, checked }))
}

/// What became of it.
pub(super) fn went_on(name: &str, outcome: WentOn) -> Result<(), Status> {
    let rule = |reason, detail: &str| Err(status::failed_precondition(reason, detail.to_owned(), []));
    match outcome {
        WentOn::Done => Ok(()),
        WentOn::Unknown => Err(unknown(name)),
        WentOn::NotStopped => rule(SUBSCRIPTION_NOT_STOPPED, "the subscription has not stopped"),
        WentOn::NotRaised => rule(
            INCARNATION_NOT_RAISED,
            "the subscription has seen this incarnation of the log, or a higher one",
        ),
    }
}

pub(super) fn unknown(name: &str) -> Status {
    status::not_found(SUBSCRIPTION_NOT_FOUND, "subscription", name)
}

pub(super) fn shown(subscription: wire::Subscription, places: Vec<Place>) -> wire::GetSubscriptionResponse {
    let partitions = (0..).zip(places).map(|(partition, place)| wire::SubscriptionPartition {
        partition,
        position: place.position,
        incarnation: place.incarnation,
        next_record: place.resume,
    });
    wire::GetSubscriptionResponse { subscription: Some(subscription), partitions: partitions.collect() }
}
