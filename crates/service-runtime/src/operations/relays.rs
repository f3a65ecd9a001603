//! Relays as they cross the wire, and what operators ask of them.

use contracts::shop::operations::v1 as wire;
use eventsourcing::{RelayStatus, Relays, SubscriptionState, Wanted};
use tonic::Status;

use super::{check_name, database};
use crate::status::{self, Violations};

/// Reason of NOT_FOUND for a relay.
pub const RELAY_NOT_FOUND: &str = "RELAY_NOT_FOUND";

pub(super) async fn list(relays: &Relays) -> Result<Vec<wire::Relay>, Status> {
    Ok(relays.list().await.map_err(database)?.into_iter().map(relay).collect())
}

pub(super) async fn ask(relays: &Relays, topic: &str, what: Wanted) -> Result<(), Status> {
    let mut violations = Violations::new();
    violations.check(!topic.is_empty(), "topic", "must not be empty");
    check_name(&mut violations, "topic", topic);
    if let Wanted::ResumeAfter(position) = what {
        violations.check(position >= 0, "position", "must not be negative");
    }
    violations.into_result()?;
    if !relays.ask(topic, what).await.map_err(database)? {
        return Err(status::not_found(RELAY_NOT_FOUND, "relay", topic));
    }
    tracing::warn!(topic, ?what, "a relay was told what to do");
    Ok(())
}

fn relay(status: RelayStatus) -> wire::Relay {
    let (state, error) = match status.state {
        SubscriptionState::StandBy => ("STAND_BY", String::new()),
        SubscriptionState::Running => ("RUNNING", String::new()),
        SubscriptionState::Retrying(why) => ("RETRYING", why),
        SubscriptionState::Stopped(why) => ("STOPPED", why),
    };
    let wanted = match status.wanted {
        Some(Wanted::Refill) => "REFILL",
        Some(Wanted::ResumeAfter(_)) => "RESUME",
        None => "",
    };
    wire::Relay {
        topic: status.topic,
        log: status.log,
        position: status.position,
        head: status.head,
        state: state.to_owned(),
        error,
        wanted: wanted.to_owned(),
    }
}
