//! The API: requests become validated commands and queries, results become replies.
//!
//! The reply to a change shows the product as the read model has it once that has come as far as the change: one
//! way for products of every size, and nothing of the product is stored with the answer. It waits as long as the
//! caller does; if the read model does not come so far in time, the change is stored nevertheless, the answer is
//! UNAVAILABLE, and a repeat with the same request id gets the product.
//!
//! Drafts are for operators and services: to anybody else they are not there.

mod export;
mod import;
mod replies;
mod requests;
mod search;
mod status;

use chrono::Utc;
use contracts::GetProductResponse;
use contracts::shop::product::v1 as wire;
use contracts::shop::product::v1::product_service_server::ProductService;
use eventsourcing::Committed;
use futures::stream::BoxStream;
use service_runtime::page::{self, Filter};
use service_runtime::status::{of_execute_error, of_read_error};
use service_runtime::{Caller, RequestContext, etag, replay};
use tonic::{Request, Response, Status, Streaming};

use crate::application::{
    Catalogue, Change, Exports, Imports, Past, PricePointKey, ProductView, Queries, ThereWas,
};
use crate::domain::ProductId;
use crate::domain::operations::Changed;
use crate::domain::product::{NewPrice, ProductCommand, ProductStatus};
use import::ImportHandler;
use status::of_product_error;

/// The handlers of `shop.product.v1.ProductService`.
pub struct ProductGrpc {
    catalogue: Catalogue,
    imports: ImportHandler,
    exports: Exports,
    queries: Queries,
    past: Past,
}

const LIST_PRODUCTS: &str = "/shop.product.v1.ProductService/ListProducts";
const GET_PRICE_HISTORY: &str = "/shop.product.v1.ProductService/GetPriceHistory";

#[tonic::async_trait]
impl ProductService for ProductGrpc {
    async fn create_product(
        &self,
        request: Request<wire::CreateProductRequest>,
    ) -> Result<Response<wire::CreateProductResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let created = self.catalogue.create(requests::creation(body)?, command).await;
        let changed = created.map_err(|error| of_execute_error(error, of_product_error))?;
        let Shown { product, position, replayed } = self.show(&context, changed).await?;
        Ok(replay::response(wire::CreateProductResponse { product, position }, replayed))
    }

    async fn get_product(
        &self,
        request: Request<wire::GetProductRequest>,
    ) -> Result<Response<GetProductResponse>, Status> {
        let context = RequestContext::of(&request);
        let body = request.into_inner();
        let product_id = requests::product_id(&body.product_id)?;
        let found = if body.min_position.is_empty() {
            self.queries.product(product_id).await
        } else {
            context.wait_for_position(&body.min_position, &self.queries.models()).await?;
            self.queries.stored_product(product_id).await
        };
        let found = found.map_err(of_read_error)?;
        let product = found.filter(|product| visible(&context, product));
        let product = product.ok_or_else(|| status::unknown_product(product_id))?;
        let answer = product.answer(|product| GetProductResponse::prepare(replies::product(product)));
        Ok(Response::new(GetProductResponse::prepared(answer)))
    }

    async fn get_product_as_of(
        &self,
        request: Request<wire::GetProductAsOfRequest>,
    ) -> Result<Response<wire::GetProductAsOfResponse>, Status> {
        let body = request.into_inner();
        let now = Utc::now();
        let (product_id, time) = requests::as_of(&body, now)?;
        match self.past.product(product_id, time).await.map_err(status::of_past_error)? {
            ThereWas::Product(product) => {
                let (product, time) = (Some(replies::product(&product)), Some(time.unwrap_or(now)));
                let time = time.map(replies::timestamp);
                Ok(Response::new(wire::GetProductAsOfResponse { product, time }))
            }
            ThereWas::NothingYet { created_at } => Err(status::not_there_yet(product_id, created_at)),
            ThereWas::Nothing => Err(status::unknown_product(product_id)),
        }
    }

    async fn list_products(
        &self,
        request: Request<wire::ListProductsRequest>,
    ) -> Result<Response<wire::ListProductsResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let size = page::page_size(std::mem::take(&mut body.page_size))?;
        let token = std::mem::take(&mut body.page_token);
        let min_position = std::mem::take(&mut body.min_position);
        let bound_to = Filter::of(LIST_PRODUCTS, &body);
        let filter = requests::list_filter(body)?;
        if filter.status == ProductStatus::Draft && !sees_drafts(&context) {
            return Err(service_runtime::status::permission_denied(
                service_runtime::status::reason::ROLE_REQUIRED,
                "drafts are for operators",
            ));
        }
        let after = match bound_to.decode::<1>(&token)? {
            Some([last]) => Some(ProductId::parse(&last).map_err(|_| page::malformed_token())?),
            None => None,
        };
        context.wait_for_position(&min_position, &self.queries.models()).await?;
        let page = self.queries.list(&filter, after, size).await.map_err(of_read_error)?;
        let next = page.next.map(|last| bound_to.next_token([last.to_string().as_str()]));
        Ok(Response::new(wire::ListProductsResponse {
            products: page.products.iter().map(replies::product).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn search_products(
        &self,
        request: Request<wire::SearchProductsRequest>,
    ) -> Result<Response<wire::SearchProductsResponse>, Status> {
        let context = RequestContext::of(&request);
        search::products(&self.queries, &context, request.into_inner()).await.map(Response::new)
    }

    async fn suggest_products(
        &self,
        request: Request<wire::SuggestProductsRequest>,
    ) -> Result<Response<wire::SuggestProductsResponse>, Status> {
        search::suggestions(&self.queries, request.into_inner()).await.map(Response::new)
    }

    async fn update_product(
        &self,
        request: Request<wire::UpdateProductRequest>,
    ) -> Result<Response<wire::UpdateProductResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let (product_id, changes, status) = requests::update(body)?;
        let update = ProductCommand::Update { changes, status };
        let change = Change { product_id, command: update, expected_version };
        let Shown { product, position, replayed } = self.change(&context, change, command).await?;
        Ok(replay::response(wire::UpdateProductResponse { product, position }, replayed))
    }

    async fn add_variants(
        &self,
        request: Request<wire::AddVariantsRequest>,
    ) -> Result<Response<wire::AddVariantsResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let (product_id, assortment) = requests::additions(body)?;
        let added = self.catalogue.add_variants(product_id, assortment, expected_version, command).await;
        let changed = added.map_err(|error| of_execute_error(error, of_product_error))?;
        let Shown { product, position, replayed } = self.show(&context, changed).await?;
        Ok(replay::response(wire::AddVariantsResponse { product, position }, replayed))
    }

    async fn change_price(
        &self,
        request: Request<wire::ChangePriceRequest>,
    ) -> Result<Response<wire::ChangePriceResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let (product_id, sku, price, reason) = requests::price_change(body)?;
        let prices = vec![NewPrice { sku, price }];
        let command_to = ProductCommand::ChangePrices { prices, reason, now: Utc::now() };
        let change = Change { product_id, command: command_to, expected_version };
        let Shown { product, position, replayed } = self.change(&context, change, command).await?;
        Ok(replay::response(wire::ChangePriceResponse { product, position }, replayed))
    }

    async fn schedule_price_change(
        &self,
        request: Request<wire::SchedulePriceChangeRequest>,
    ) -> Result<Response<wire::SchedulePriceChangeResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let (product_id, scheduled) = requests::schedule(body)?;
        let done = self.catalogue.schedule_price(product_id, scheduled, expected_version, command).await;
        let Committed { reply, position, replayed } =
            done.map_err(|error| of_execute_error(error, of_product_error))?;
        let schedule_id = reply.schedule_id.to_string();
        let changed = Committed { reply: reply.changed, position, replayed };
        let Shown { product, position, replayed } = self.show(&context, changed).await?;
        let reply = wire::SchedulePriceChangeResponse { product, position, schedule_id };
        Ok(replay::response(reply, replayed))
    }

    async fn withdraw_scheduled_price(
        &self,
        request: Request<wire::WithdrawScheduledPriceRequest>,
    ) -> Result<Response<wire::WithdrawScheduledPriceResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let (product_id, withdrawal) = requests::withdrawal(&body)?;
        let change = Change { product_id, command: withdrawal, expected_version };
        let Shown { product, position, replayed } = self.change(&context, change, command).await?;
        Ok(replay::response(wire::WithdrawScheduledPriceResponse { product, position }, replayed))
    }

    async fn discontinue_product(
        &self,
        request: Request<wire::DiscontinueProductRequest>,
    ) -> Result<Response<wire::DiscontinueProductResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let (product_id, reason) = requests::reasoned(&body.product_id, &body.reason)?;
        let change = Change { product_id, command: ProductCommand::Discontinue { reason }, expected_version };
        let Shown { product, position, replayed } = self.change(&context, change, command).await?;
        Ok(replay::response(wire::DiscontinueProductResponse { product, position }, replayed))
    }

    async fn reinstate_product(
        &self,
        request: Request<wire::ReinstateProductRequest>,
    ) -> Result<Response<wire::ReinstateProductResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let expected_version = etag::parse("etag", &body.etag)?;
        let (product_id, reason) = requests::reasoned(&body.product_id, &body.reason)?;
        let change = Change { product_id, command: ProductCommand::Reinstate { reason }, expected_version };
        let Shown { product, position, replayed } = self.change(&context, change, command).await?;
        Ok(replay::response(wire::ReinstateProductResponse { product, position }, replayed))
    }

    async fn import_product(
        &self,
        request: Request<wire::ImportProductRequest>,
    ) -> Result<Response<wire::ImportProductResponse>, Status> {
        let context = RequestContext::of(&request);
        let (reply, replayed) = self.imports.one(&context, request.into_inner()).await?;
        Ok(replay::response(reply, replayed))
    }

    type ImportProductsStream = BoxStream<'static, Result<wire::ImportProductsResponse, Status>>;

    async fn import_products(
        &self,
        request: Request<Streaming<wire::ImportProductRequest>>,
    ) -> Result<Response<Self::ImportProductsStream>, Status> {
        let context = RequestContext::of(&request);
        Ok(Response::new(self.imports.all(&context, request.into_inner())))
    }

    type ExportProductsStream = BoxStream<'static, Result<wire::ExportProductsResponse, Status>>;

    async fn export_products(
        &self,
        request: Request<wire::ExportProductsRequest>,
    ) -> Result<Response<Self::ExportProductsStream>, Status> {
        let context = RequestContext::of(&request);
        let min_position = request.into_inner().min_position;
        context.wait_for_position(&min_position, &[self.queries.read_model()]).await?;
        Ok(Response::new(export::pages(&self.exports).await?))
    }

    async fn get_price_history(
        &self,
        request: Request<wire::GetPriceHistoryRequest>,
    ) -> Result<Response<wire::GetPriceHistoryResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let size = page::page_size(std::mem::take(&mut body.page_size))?;
        let token = std::mem::take(&mut body.page_token);
        let min_position = std::mem::take(&mut body.min_position);
        let bound_to = Filter::of(GET_PRICE_HISTORY, &body);
        let (product_id, sku) = requests::price_history(&body.product_id, &body.sku)?;
        let after = match bound_to.decode::<2>(&token)? {
            Some([position, ordinal]) => Some(price_key(&position, &ordinal)?),
            None => None,
        };
        context.wait_for_position(&min_position, &[self.queries.read_model()]).await?;
        let product = if min_position.is_empty() {
            self.queries.product(product_id).await
        } else {
            self.queries.stored_product(product_id).await
        };
        let product = product.map_err(of_read_error)?;
        if !product.is_some_and(|product| visible(&context, &product)) {
            return Err(status::unknown_product(product_id));
        }
        let page = self.queries.prices(product_id, sku.as_ref(), after, size).await;
        let page = page.map_err(of_read_error)?;
        let next = page.next.map(|key| {
            bound_to.next_token([key.position.to_string().as_str(), key.ordinal.to_string().as_str()])
        });
        Ok(Response::new(wire::GetPriceHistoryResponse {
            changes: page.prices.iter().map(replies::price_change).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }
}

impl ProductGrpc {
    pub fn new(
        catalogue: Catalogue,
        imports: Imports,
        exports: Exports,
        queries: Queries,
        past: Past,
    ) -> Self {
        Self { catalogue, imports: ImportHandler::new(imports), exports, queries, past }
    }

    async fn change(
        &self,
        context: &RequestContext,
        change: Change,
        command: eventsourcing::CommandContext,
    ) -> Result<Shown, Status> {
        let changed = self.catalogue.change(change, command).await;
        let changed = changed.map_err(|error| of_execute_error(error, of_product_error))?;
        self.show(context, changed).await
    }

    /// The product with a change in it.
    async fn show(&self, context: &RequestContext, done: Committed<Changed>) -> Result<Shown, Status> {
        let Committed { reply: changed, position, replayed } = done;
        let position = position.to_string();
        context.wait_for_position(&position, &[self.queries.read_model()]).await?;
        let shown = self.queries.stored_product(changed.product_id).await.map_err(of_read_error)?;
        let shown = shown.filter(|product| product.version >= changed.version);
        let shown = shown.ok_or_else(status::not_shown)?;
        Ok(Shown { product: Some(replies::product(&shown)), position, replayed })
    }
}

/// What the reply to a change is made of.
struct Shown {
    product: Option<wire::Product>,
    position: String,
    replayed: bool,
}

fn sees_drafts(context: &RequestContext) -> bool {
    matches!(context.caller, Caller::Operator | Caller::Service)
}

fn visible(context: &RequestContext, product: &ProductView) -> bool {
    product.status != ProductStatus::Draft || sees_drafts(context)
}

fn price_key(position: &str, ordinal: &str) -> Result<PricePointKey, Status> {
    let malformed = |_| page::malformed_token();
    Ok(PricePointKey {
        position: position.parse().map_err(malformed)?,
        ordinal: ordinal.parse().map_err(malformed)?,
    })
}
