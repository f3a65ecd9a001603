//! The API: requests become commands and questions to the application, answers become messages. Who may see an
//! order is decided here, since a token belongs to one order; the rules are the domain's.

mod access;
mod reply;
mod request;
mod status;

use std::time::Duration;

use contracts::shop::order::v1 as wire;
use contracts::shop::order::v1::forget_person_request::Person;
use contracts::shop::order::v1::order_service_server::OrderService;
use eventsourcing::{CommandContext, Committed, Position};
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use service_runtime::auth::AccessTokens;
use service_runtime::page::{self, Filter};
use service_runtime::status::{invalid_field, position_not_reached};
use service_runtime::{RequestContext, etag, replay};
use tonic::{Request, Response, Status};

use crate::application::personal_data::PersonalData;
use crate::application::read_orders::OrderView;
use crate::application::{Application, read_orders};
use crate::domain::{CustomerId, OrderId};
use access::Access;

/// How long an answer waits for the read model, at most. It follows the log within milliseconds; who waits
/// longer should be told.
const READ_MODEL_PATIENCE: Duration = Duration::from_secs(5);

/// The handlers.
pub struct OrderApi {
    application: Application,
    personal_data: PersonalData,
    access: Access,
}

type Answer<T> = Result<Response<T>, Status>;

impl OrderApi {
    pub fn new(application: Application, personal_data: PersonalData, access_tokens: AccessTokens) -> Self {
        Self { application, personal_data, access: Access::new(access_tokens) }
    }

    /// The context of a command whose body may be personal. Its fingerprint is made with a secret key, so that
    /// what stands in the database cannot be used to guess who ordered what.
    fn personal_command(
        &self,
        context: &RequestContext,
        request_id: &str,
        body: &impl Message,
    ) -> Result<CommandContext, Status> {
        let plain = context.command_context(request_id, body)?;
        Ok(CommandContext { request_hash: self.personal_data.fingerprint(&body.encode_to_vec()), ..plain })
    }

    /// The order as it is after a command.
    async fn after(
        &self,
        context: &RequestContext,
        order_id: OrderId,
        position: &Position,
    ) -> Result<OrderView, Status> {
        let patience = patience(context);
        self.application.read.wait_for(position, patience).await.map_err(|_| position_not_reached())?;
        self.order(context, order_id).await
    }

    async fn order(&self, context: &RequestContext, order_id: OrderId) -> Result<OrderView, Status> {
        let order = self.application.read.get(order_id, patience(context)).await;
        order.map_err(status::of_read_error)?.ok_or_else(|| status::unknown_order(order_id))
    }

    async fn changed(
        &self,
        context: &RequestContext,
        order_id: OrderId,
        done: &Committed<u64>,
    ) -> Result<(Option<wire::Order>, String), Status> {
        let order = self.after(context, order_id, &done.position).await?;
        Ok((Some(reply::order(order)), done.position.to_string()))
    }
}

fn patience(context: &RequestContext) -> Duration {
    context.time_left().map_or(READ_MODEL_PATIENCE, |left| left.min(READ_MODEL_PATIENCE))
}

#[tonic::async_trait]
impl OrderService for OrderApi {
    async fn place_order(
        &self,
        request: Request<wire::PlaceOrderRequest>,
    ) -> Answer<wire::PlaceOrderResponse> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let min_position = std::mem::take(&mut body.min_position);
        let command = self.personal_command(&context, &request_id, &body)?;
        let wish = request::wish(body)?;

        let place = &self.application.place;
        context.wait_for_position(&min_position, &[place.prices()]).await?;
        let done = place.place(wish, command).await.map_err(status::of_place_error)?;
        let order = match done.now {
            Some(order) => order,
            None => self.after(&context, done.order_id, &done.position).await?,
        };
        let reply = wire::PlaceOrderResponse {
            order: Some(reply::order(order)),
            access_token: self.access.token(done.order_id),
            position: done.position.to_string(),
        };
        Ok(replay::response(reply, done.replayed))
    }

    async fn get_order(&self, request: Request<wire::GetOrderRequest>) -> Answer<wire::GetOrderResponse> {
        let context = RequestContext::of(&request);
        let body = request.into_inner();
        let order_id = request::order_id(&body.order_id)?;
        self.access.check(&context.caller, order_id)?;
        context.wait_for_position(&body.min_position, &[self.application.read.model()]).await?;
        let order = self.order(&context, order_id).await?;
        Ok(Response::new(wire::GetOrderResponse { order: Some(reply::order(order)) }))
    }

    async fn list_orders(
        &self,
        request: Request<wire::ListOrdersRequest>,
    ) -> Answer<wire::ListOrdersResponse> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let size = page::page_size(std::mem::take(&mut body.page_size))?;
        let token = std::mem::take(&mut body.page_token);
        let min_position = std::mem::take(&mut body.min_position);
        let pages = Filter::of(&context.method, &body);
        let after = pages.decode::<1>(&token)?.map(|[order_id]| request::order_id(&order_id)).transpose()?;
        let filter: read_orders::Filter = request::filter(&body)?;

        context.wait_for_position(&min_position, &[self.application.read.model()]).await?;
        let read = &self.application.read;
        // One more than fits, to know whether there is another page.
        let mut orders = read.list(&filter, after, size + 1).await.map_err(status::of_read_error)?;
        let more = orders.len() > size as usize;
        orders.truncate(size as usize);
        let last = orders.last().filter(|_| more);
        let next_page_token = last.map(|o| pages.next_token([&o.order_id.to_string()])).unwrap_or_default();
        let orders = orders.into_iter().map(reply::order).collect();
        Ok(Response::new(wire::ListOrdersResponse { orders, next_page_token }))
    }

    async fn get_order_history(
        &self,
        request: Request<wire::GetOrderHistoryRequest>,
    ) -> Answer<wire::GetOrderHistoryResponse> {
        let context = RequestContext::of(&request);
        let body = request.into_inner();
        let order_id = request::order_id(&body.order_id)?;
        self.access.check(&context.caller, order_id)?;
        context.wait_for_position(&body.min_position, &[self.application.read.model()]).await?;
        let entries = self.application.read.history(order_id).await.map_err(status::of_store_error)?;
        if entries.is_empty() {
            return Err(status::unknown_order(order_id));
        }
        let entries = entries.into_iter().map(reply::entry).collect();
        Ok(Response::new(wire::GetOrderHistoryResponse { entries }))
    }

    type WatchOrderStream = BoxStream<'static, Result<wire::WatchOrderResponse, Status>>;

    async fn watch_order(&self, request: Request<wire::WatchOrderRequest>) -> Answer<Self::WatchOrderStream> {
        let context = RequestContext::of(&request);
        let body = request.into_inner();
        let order_id = request::order_id(&body.order_id)?;
        self.access.check(&context.caller, order_id)?;
        let after = request::cursor(&body.after)?;
        let watched = self.application.watch.watch(order_id, after, context.deadline).await;
        let watched = watched.map_err(|error| status::of_watch_error(order_id, error))?;
        Ok(Response::new(
            watched.map(|next| next.map(reply::watched).map_err(status::of_store_error)).boxed(),
        ))
    }

    async fn cancel_order(
        &self,
        request: Request<wire::CancelOrderRequest>,
    ) -> Answer<wire::CancelOrderResponse> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = self.personal_command(&context, &request_id, &body)?;
        let order_id = request::order_id(&body.order_id)?;
        let by = self.access.check(&context.caller, order_id)?;
        let version = etag::parse("etag", &body.etag)?;
        request::cancellation_reason(&body.reason)?;

        let change = &self.application.change;
        let done = change.request_cancellation(order_id, &body.reason, by, version, command).await;
        let done = done.map_err(|error| status::of_change_error(order_id, error))?;
        let (order, position) = self.changed(&context, order_id, &done).await?;
        Ok(replay::response(wire::CancelOrderResponse { order, position }, done.replayed))
    }

    async fn ship_order(&self, request: Request<wire::ShipOrderRequest>) -> Answer<wire::ShipOrderResponse> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let order_id = request::order_id(&body.order_id)?;
        let version = etag::parse("etag", &body.etag)?;
        let done = self.application.change.ship(order_id, version, command).await;
        let done = done.map_err(|error| status::of_change_error(order_id, error))?;
        let (order, position) = self.changed(&context, order_id, &done).await?;
        Ok(replay::response(wire::ShipOrderResponse { order, position }, done.replayed))
    }

    async fn deliver_order(
        &self,
        request: Request<wire::DeliverOrderRequest>,
    ) -> Answer<wire::DeliverOrderResponse> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let order_id = request::order_id(&body.order_id)?;
        let version = etag::parse("etag", &body.etag)?;
        let done = self.application.change.deliver(order_id, version, command).await;
        let done = done.map_err(|error| status::of_change_error(order_id, error))?;
        let (order, position) = self.changed(&context, order_id, &done).await?;
        Ok(replay::response(wire::DeliverOrderResponse { order, position }, done.replayed))
    }

    async fn forget_person(
        &self,
        request: Request<wire::ForgetPersonRequest>,
    ) -> Answer<wire::ForgetPersonResponse> {
        let forget = &self.application.forget;
        let deleted = match request.into_inner().person {
            Some(Person::OrderId(order_id)) => {
                let order_id = request::order_id(&order_id)?;
                forget.guest(order_id).await.map_err(|error| status::of_forget_error(order_id, error))?
            }
            Some(Person::CustomerId(customer_id)) => {
                let customer_id = CustomerId::parse(&customer_id).ok_or_else(request::not_a_customer_id)?;
                forget.customer(&customer_id).await.map_err(status::of_store_error)?
            }
            None => return Err(invalid_field("person", "must name an order or a customer")),
        };
        let keys_deleted = i32::try_from(deleted).unwrap_or(i32::MAX);
        Ok(Response::new(wire::ForgetPersonResponse { keys_deleted }))
    }
}
