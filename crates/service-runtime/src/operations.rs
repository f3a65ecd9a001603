//! The RPCs that operators have for every service alike: how far its subscriptions are, what they could not
//! handle, and the rebuilding of its read models. It is a thin layer over `eventsourcing`; each service adds it to
//! its own server for its own subscriptions.
//!
//! ```
//! use eventsourcing::{Rebuilds, Subscriptions};
//! use service_runtime::{grpc::Services, operations};
//!
//! fn services(subscriptions: &Subscriptions, rebuilds: &Rebuilds) -> Services {
//!     Services::new().with(operations::server(subscriptions.clone(), rebuilds.clone()))
//! }
//! ```

mod feeds;
mod rebuilds;
mod relays;

use chrono::{DateTime, Utc};
use contracts::shop::operations::v1 as wire;
use eventsourcing::{
    HandlerError, ParkedMessage, Rebuilds, Relays, SubscriptionState, SubscriptionStatus, Subscriptions,
    Wanted,
};
pub use feeds::{INCARNATION_NOT_RAISED, SUBSCRIPTION_NOT_FOUND, SUBSCRIPTION_NOT_STOPPED};
pub use rebuilds::{
    MODEL_NOT_FOUND, NO_REBUILD, NOT_A_READ_MODEL, NOTHING_TO_SWITCH_BACK_TO, REBUILD_UNDER_WAY,
};
pub use relays::RELAY_NOT_FOUND;
use tonic::{Request, Response, Status};
use wire::operations_service_server::{OperationsService, OperationsServiceServer};

use crate::page::{Filter, page_size};
use crate::request::RequestContext;
use crate::status::{self, RETRY_AFTER, Violations, reason};
use crate::{fields, page};

/// Reason of NOT_FOUND for a parked message or key.
pub const PARKED_MESSAGE_NOT_FOUND: &str = "PARKED_MESSAGE_NOT_FOUND";

/// Longest name of a subscription, or key, that is looked for, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The service, ready to be added to [`Services`](crate::grpc::Services).
pub fn server(
    subscriptions: Subscriptions,
    rebuilds: Rebuilds,
) -> OperationsServiceServer<impl OperationsService> {
    let relays = Relays::beside(&subscriptions);
    OperationsServiceServer::new(Operations { subscriptions, rebuilds, relays })
}

struct Operations {
    subscriptions: Subscriptions,
    rebuilds: Rebuilds,
    relays: Relays,
}

#[tonic::async_trait]
impl OperationsService for Operations {
    async fn list_subscriptions(
        &self,
        _request: Request<wire::ListSubscriptionsRequest>,
    ) -> Result<Response<wire::ListSubscriptionsResponse>, Status> {
        let parked = self.subscriptions.parked_counts().await.map_err(database)?;
        let subscriptions = self.subscriptions.list().into_iter().map(|status| {
            let parked_messages = parked.get(status.name).copied().unwrap_or(0);
            subscription(status, parked_messages)
        });
        Ok(Response::new(wire::ListSubscriptionsResponse { subscriptions: subscriptions.collect() }))
    }

    async fn list_relays(
        &self,
        _request: Request<wire::ListRelaysRequest>,
    ) -> Result<Response<wire::ListRelaysResponse>, Status> {
        Ok(Response::new(wire::ListRelaysResponse { relays: relays::list(&self.relays).await? }))
    }

    async fn refill_topic(
        &self,
        request: Request<wire::RefillTopicRequest>,
    ) -> Result<Response<wire::RefillTopicResponse>, Status> {
        relays::ask(&self.relays, &request.into_inner().topic, Wanted::Refill).await?;
        Ok(Response::new(wire::RefillTopicResponse {}))
    }

    async fn resume_relay(
        &self,
        request: Request<wire::ResumeRelayRequest>,
    ) -> Result<Response<wire::ResumeRelayResponse>, Status> {
        let wire::ResumeRelayRequest { topic, position } = request.into_inner();
        relays::ask(&self.relays, &topic, Wanted::ResumeAfter(position)).await?;
        Ok(Response::new(wire::ResumeRelayResponse {}))
    }

    async fn get_subscription(
        &self,
        request: Request<wire::GetSubscriptionRequest>,
    ) -> Result<Response<wire::GetSubscriptionResponse>, Status> {
        let name = feeds::checked_name(request.into_inner().subscription)?;
        let unknown = || feeds::unknown(&name);
        let status = self.subscriptions.status(&name).ok_or_else(unknown)?;
        let places = self.subscriptions.places(&name).await.map_err(database)?.ok_or_else(unknown)?;
        let parked = self.subscriptions.parked_counts().await.map_err(database)?;
        let subscription = subscription(status, parked.get(&name).copied().unwrap_or(0));
        Ok(Response::new(feeds::shown(subscription, places)))
    }

    async fn resume_subscription(
        &self,
        request: Request<wire::ResumeSubscriptionRequest>,
    ) -> Result<Response<wire::ResumeSubscriptionResponse>, Status> {
        let (name, how) = feeds::read(request.into_inner())?;
        feeds::went_on(&name, self.subscriptions.go_on(&name, how).await.map_err(database)?)?;
        tracing::warn!({ fields::SUBSCRIPTION } = name, "a subscription was told to go on");
        Ok(Response::new(wire::ResumeSubscriptionResponse {}))
    }

    async fn list_parked_messages(
        &self,
        request: Request<wire::ListParkedMessagesRequest>,
    ) -> Result<Response<wire::ListParkedMessagesResponse>, Status> {
        let method = RequestContext::of(&request).method;
        let wire::ListParkedMessagesRequest { subscription, page_size: size, page_token } =
            request.into_inner();
        let size = page_size(size)? as usize;
        let mut violations = Violations::new();
        check_name(&mut violations, "subscription", &subscription);
        violations.into_result()?;
        let filter = Filter::of(&method, &subscription);
        let after = match filter.decode::<2>(&page_token)? {
            Some([name, position]) => Some((name, position.parse().map_err(|_| page::malformed_token())?)),
            None => None,
        };
        let after = after.as_ref().map(|(name, position): &(String, i64)| (name.as_str(), *position));
        let only = (!subscription.is_empty()).then_some(subscription.as_str());
        // One more than is shown tells whether there is another page.
        let mut found = self.subscriptions.parked(only, after, size + 1).await.map_err(database)?;
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => filter.next_token([last.subscription.as_str(), &last.position.to_string()]),
            _ => String::new(),
        };
        let messages = found.into_iter().map(without_content).collect();
        Ok(Response::new(wire::ListParkedMessagesResponse { messages, next_page_token }))
    }

    async fn get_parked_message(
        &self,
        request: Request<wire::GetParkedMessageRequest>,
    ) -> Result<Response<wire::GetParkedMessageResponse>, Status> {
        let wire::GetParkedMessageRequest { subscription, position } = request.into_inner();
        check_message(&subscription, position)?;
        let found = self.subscriptions.parked_message(&subscription, position).await.map_err(database)?;
        let found = found.ok_or_else(|| not_parked(&subscription, &position.to_string()))?;
        let content = found.message.to_string();
        let message = wire::ParkedMessage { content, ..without_content(found) };
        Ok(Response::new(wire::GetParkedMessageResponse { message: Some(message) }))
    }

    async fn redrive_parked_messages(
        &self,
        request: Request<wire::RedriveParkedMessagesRequest>,
    ) -> Result<Response<wire::RedriveParkedMessagesResponse>, Status> {
        let wire::RedriveParkedMessagesRequest { subscription, key } = request.into_inner();
        let mut violations = Violations::new();
        for (field, name) in [("subscription", &subscription), ("key", &key)] {
            violations.check(!name.is_empty(), field, "must not be empty");
            check_name(&mut violations, field, name);
        }
        violations.into_result()?;
        let messages = self.subscriptions.redrive(&subscription, &key).await.map_err(database)?;
        if messages == 0 {
            return Err(not_parked(&subscription, &key));
        }
        tracing::info!(
            { fields::SUBSCRIPTION } = subscription,
            "{messages} parked messages will be handled again"
        );
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        Ok(Response::new(wire::RedriveParkedMessagesResponse { messages }))
    }

    async fn discard_parked_message(
        &self,
        request: Request<wire::DiscardParkedMessageRequest>,
    ) -> Result<Response<wire::DiscardParkedMessageResponse>, Status> {
        let wire::DiscardParkedMessageRequest { subscription, position } = request.into_inner();
        check_message(&subscription, position)?;
        if !self.subscriptions.discard(&subscription, position).await.map_err(database)? {
            return Err(not_parked(&subscription, &position.to_string()));
        }
        tracing::warn!(
            { fields::SUBSCRIPTION } = subscription,
            { fields::POSITION } = position,
            "a parked message was given up"
        );
        Ok(Response::new(wire::DiscardParkedMessageResponse {}))
    }

    async fn list_rebuilds(
        &self,
        _request: Request<wire::ListRebuildsRequest>,
    ) -> Result<Response<wire::ListRebuildsResponse>, Status> {
        let found = self.rebuilds.list().await.map_err(rebuilds::refused)?;
        let rebuilds = found.into_iter().map(rebuilds::to_wire).collect();
        Ok(Response::new(wire::ListRebuildsResponse { rebuilds }))
    }

    async fn get_rebuild(
        &self,
        request: Request<wire::GetRebuildRequest>,
    ) -> Result<Response<wire::GetRebuildResponse>, Status> {
        let model = rebuilds::checked_model(request.into_inner().model)?;
        let rebuild = rebuilds::shown(self.rebuilds.status(&model).await)?;
        Ok(Response::new(wire::GetRebuildResponse { rebuild }))
    }

    async fn start_rebuild(
        &self,
        request: Request<wire::StartRebuildRequest>,
    ) -> Result<Response<wire::StartRebuildResponse>, Status> {
        let model = rebuilds::checked_model(request.into_inner().model)?;
        let rebuild = rebuilds::shown(self.rebuilds.begin(&model).await)?;
        tracing::info!({ fields::SUBSCRIPTION } = model, "a read model is rebuilt");
        Ok(Response::new(wire::StartRebuildResponse { rebuild }))
    }

    async fn abandon_rebuild(
        &self,
        request: Request<wire::AbandonRebuildRequest>,
    ) -> Result<Response<wire::AbandonRebuildResponse>, Status> {
        let model = rebuilds::checked_model(request.into_inner().model)?;
        let rebuild = rebuilds::shown(self.rebuilds.abandon(&model).await)?;
        tracing::warn!({ fields::SUBSCRIPTION } = model, "the rebuilding of a read model was given up");
        Ok(Response::new(wire::AbandonRebuildResponse { rebuild }))
    }

    async fn switch_back_rebuild(
        &self,
        request: Request<wire::SwitchBackRebuildRequest>,
    ) -> Result<Response<wire::SwitchBackRebuildResponse>, Status> {
        let model = rebuilds::checked_model(request.into_inner().model)?;
        let rebuild = rebuilds::shown(self.rebuilds.switch_back(&model).await)?;
        tracing::warn!(
            { fields::SUBSCRIPTION } = model,
            "the former version of a read model is to serve again"
        );
        Ok(Response::new(wire::SwitchBackRebuildResponse { rebuild }))
    }
}

fn check_name(violations: &mut Violations, field: &str, name: &str) {
    let fits = name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    let rule = format!("must have at most {MAX_NAME_BYTES} bytes and no control characters");
    violations.check(fits, field, rule);
}

fn check_message(subscription: &str, position: i64) -> Result<(), Status> {
    let mut violations = Violations::new();
    violations.check(!subscription.is_empty(), "subscription", "must not be empty");
    check_name(&mut violations, "subscription", subscription);
    violations.check(position >= 1, "position", "must be at least 1");
    violations.into_result()
}

fn subscription(status: SubscriptionStatus, parked_messages: i64) -> wire::Subscription {
    let (state, error) = match status.state {
        SubscriptionState::StandBy => ("STAND_BY", String::new()),
        SubscriptionState::Running => ("RUNNING", String::new()),
        SubscriptionState::Retrying(error) => ("RETRYING", error),
        SubscriptionState::Stopped(error) => ("STOPPED", error),
    };
    wire::Subscription {
        name: status.name.to_owned(),
        log: status.log,
        checkpoint: status.checkpoint,
        head: status.head,
        state: state.to_owned(),
        error,
        parked_messages,
    }
}

fn without_content(parked: ParkedMessage) -> wire::ParkedMessage {
    wire::ParkedMessage {
        subscription: parked.subscription,
        position: parked.position,
        message_id: parked.message_id.to_string(),
        key: parked.key,
        error: parked.error.unwrap_or_default(),
        attempts: parked.attempts,
        parked_at: Some(timestamp(parked.parked_at)),
        content: String::new(),
    }
}

fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0);
    prost_types::Timestamp { seconds: at.timestamp(), nanos }
}

fn not_parked(subscription: &str, what: &str) -> Status {
    status::not_found(PARKED_MESSAGE_NOT_FOUND, "parked message", &format!("{subscription}/{what}"))
}

/// A database that is away is the caller's to wait for; anything else is our fault.
fn database(error: impl Into<HandlerError>) -> Status {
    match error.into() {
        HandlerError::Unreachable(cause) => {
            tracing::warn!({ fields::ERROR } = cause, "the database is unavailable");
            status::unavailable(reason::DEPENDENCY_UNAVAILABLE, "the database is unavailable", RETRY_AFTER)
        }
        fault @ HandlerError::Poison(_) => status::internal(fault),
    }
}
