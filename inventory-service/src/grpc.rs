//! The API for operators: requests become validated commands and queries, results become replies. The checkout
//! does not come this way; its requests are events.

mod convert;
mod status;

use contracts::shop::inventory::v1 as wire;
use contracts::shop::inventory::v1::inventory_service_server::InventoryService;
use eventsourcing::Committed;
use service_runtime::page::{self, Filter};
use service_runtime::status::{Violations, of_read_error};
use service_runtime::{RequestContext, etag, replay};
use tonic::{Request, Response, Status};

use crate::application::{Change, ChangeRequest, Queries, StockKeeping, StockLevel};
use crate::domain::{Adjustment, InvalidValue, Note, OrderId, Quantity, Sku};

/// The handlers of `shop.inventory.v1.InventoryService`.
pub struct InventoryGrpc {
    stock_keeping: StockKeeping,
    queries: Queries,
}

const LIST_STOCK: &str = "/shop.inventory.v1.InventoryService/ListStock";

#[tonic::async_trait]
impl InventoryService for InventoryGrpc {
    async fn receive_stock(
        &self,
        request: Request<wire::ReceiveStockRequest>,
    ) -> Result<Response<wire::ReceiveStockResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let mut checked = Checked::default();
        let sku = checked.field("sku", Sku::parse(&body.sku));
        let quantity = checked.field("quantity", Quantity::new(body.quantity));
        let reference = checked.field("reference", Note::parse(&body.reference));
        let (Some(sku), Some(quantity), Some(reference)) = (sku, quantity, reference) else {
            return Err(checked.into_status());
        };
        let change = Change::Receive { quantity, reference };
        let request = ChangeRequest { sku, change, expected_version: None };
        let done = self.change(request, command).await?;
        let (stock, position) = (Some(convert::stock_level(&done.reply)), done.position.to_string());
        Ok(replay::response(wire::ReceiveStockResponse { stock, position }, done.replayed))
    }

    async fn adjust_stock(
        &self,
        request: Request<wire::AdjustStockRequest>,
    ) -> Result<Response<wire::AdjustStockResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let mut checked = Checked::default();
        let sku = checked.field("sku", Sku::parse(&body.sku));
        let delta = checked.field("delta", Adjustment::new(body.delta));
        let reason = checked.field("reason", Note::required(&body.reason));
        let (Some(sku), Some(delta), Some(reason)) = (sku, delta, reason) else {
            return Err(checked.into_status());
        };
        let change = Change::Adjust { delta, reason };
        let done = self.change(ChangeRequest { sku, change, expected_version }, command).await?;
        let (stock, position) = (Some(convert::stock_level(&done.reply)), done.position.to_string());
        Ok(replay::response(wire::AdjustStockResponse { stock, position }, done.replayed))
    }

    async fn get_stock(
        &self,
        request: Request<wire::GetStockRequest>,
    ) -> Result<Response<wire::GetStockResponse>, Status> {
        let context = RequestContext::of(&request);
        let body = request.into_inner();
        let sku = parsed("sku", Sku::parse(&body.sku))?;
        self.catch_up(&context, &body.min_position).await?;
        let level = self.queries.stock(&sku).await.map_err(of_read_error)?;
        let level = level.ok_or_else(|| status::unknown_sku(sku.as_str()))?;
        Ok(Response::new(wire::GetStockResponse { stock: Some(convert::stock_level(&level)) }))
    }

    async fn list_stock(
        &self,
        request: Request<wire::ListStockRequest>,
    ) -> Result<Response<wire::ListStockResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let size = page::page_size(std::mem::take(&mut body.page_size))?;
        let token = std::mem::take(&mut body.page_token);
        let min_position = std::mem::take(&mut body.min_position);
        let filter = Filter::of(LIST_STOCK, &body);
        let after = filter.decode::<1>(&token)?.map_or_else(String::new, |[sku]| sku);
        self.catch_up(&context, &min_position).await?;
        let page = self.queries.stock_page(&after, size, body.shortfall_only).await;
        let page = page.map_err(of_read_error)?;
        let last = page.levels.last().filter(|_| page.more);
        let next_page_token = last.map_or_else(String::new, |level| filter.next_token([level.sku.as_str()]));
        let stock = page.levels.iter().map(convert::stock_level).collect();
        Ok(Response::new(wire::ListStockResponse { stock, next_page_token }))
    }

    async fn get_reservation(
        &self,
        request: Request<wire::GetReservationRequest>,
    ) -> Result<Response<wire::GetReservationResponse>, Status> {
        let context = RequestContext::of(&request);
        let body = request.into_inner();
        let order_id = parsed("order_id", OrderId::parse(&body.order_id))?;
        self.catch_up(&context, &body.min_position).await?;
        let found = self.queries.reservation(order_id).await.map_err(of_read_error)?;
        let found = found.ok_or_else(|| status::unknown_reservation(&order_id.to_string()))?;
        Ok(Response::new(wire::GetReservationResponse { reservation: Some(convert::reservation(&found)) }))
    }
}

impl InventoryGrpc {
    pub fn new(stock_keeping: StockKeeping, queries: Queries) -> Self {
        Self { stock_keeping, queries }
    }

    async fn change(
        &self,
        request: ChangeRequest,
        context: eventsourcing::CommandContext,
    ) -> Result<Committed<StockLevel>, Status> {
        let sku = request.sku.clone();
        let changed = self.stock_keeping.change(request, context).await;
        changed.map_err(|error| {
            service_runtime::status::of_execute_error(error, |rule| {
                status::of_stock_error(sku.as_str(), rule)
            })
        })
    }

    /// Waits until reads show what the caller has seen already.
    async fn catch_up(&self, context: &RequestContext, min_position: &str) -> Result<(), Status> {
        context.wait_for_position(min_position, &[self.queries.read_model()]).await
    }
}

/// Collects what is wrong with a request, so that its sender learns everything at once.
#[derive(Default)]
struct Checked(Violations);

impl Checked {
    fn field<T>(&mut self, name: &str, value: Result<T, InvalidValue>) -> Option<T> {
        value.map_err(|error| self.0.add(name, error.to_string())).ok()
    }

    fn into_status(self) -> Status {
        service_runtime::status::invalid_argument(&self.0)
    }
}

fn parsed<T>(name: &str, value: Result<T, InvalidValue>) -> Result<T, Status> {
    value.map_err(|error| service_runtime::status::invalid_field(name, error.to_string()))
}
