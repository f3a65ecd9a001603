//! Servers with nothing behind them: axum that makes its JSON of what it has in memory, and tonic that does so with a
//! message.
//! They are what the shop's reads are measured against, and run as a process of their own, as the shop does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Json;
use axum::routing::{MethodRouter, get};
use axum::serve::ListenerExt;
use bytes::Bytes;
use contracts::GetProductResponse;
use contracts::shop::product::v1::product_service_server::{ProductService, ProductServiceServer};
use contracts::shop::product::v1::*;
use futures::stream::Empty;
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// The argument by which this program becomes the bare servers.
pub const COMMAND: &str = "serve-bare";
/// What follows it: the answers, each in a file.
pub const FILES: [&str; 4] = ["get.json", "list.json", "get.bin", "list.bin"];

/// Serves until it is killed. Prints where, as one line of JSON.
pub async fn serve(files: &[String]) -> anyhow::Result<()> {
    let [get_json, list_json, get_message, list_message] = files else {
        anyhow::bail!("{COMMAND} needs {} files", FILES.len());
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (http, grpc) = (TcpListener::bind(anywhere).await?, TcpListener::bind(anywhere).await?);
    println!("{}", serde_json::json!({ "http": http.local_addr()?, "grpc": grpc.local_addr()? }));

    let (one, list) = (read(get_json)?, read(list_json)?);
    let answer = |json: Bytes| -> anyhow::Result<MethodRouter> {
        let value: Arc<Value> = Arc::new(serde_json::from_slice(&json)?);
        Ok(get(move || std::future::ready(Json(Arc::clone(&value)))))
    };
    let router = axum::Router::new()
        .route("/v1/products/{product_id}", answer(one)?)
        .route("/v1/products", answer(list)?);
    let catalogue = Bare {
        product: Arc::new(GetProductResponse::decode(read(get_message)?)?),
        list: Arc::new(ListProductsResponse::decode(read(list_message)?)?),
    };
    let grpc = tonic::transport::Server::builder()
        .add_service(ProductServiceServer::new(catalogue))
        .serve_with_incoming(TcpIncoming::from(grpc).with_nodelay(Some(true)));
    let http = http.tap_io(|stream| {
        // A connection that has gone already fails by itself.
        let _ = stream.set_nodelay(true);
    });
    tokio::try_join!(async { Ok(axum::serve(http, router).await?) }, async { anyhow::Ok(grpc.await?) })?;
    Ok(())
}

fn read(path: &str) -> anyhow::Result<Bytes> {
    Ok(std::fs::read(Path::new(path)).with_context(|| path.to_owned())?.into())
}

/// A catalogue of one product and one page.
struct Bare {
    product: Arc<GetProductResponse>,
    list: Arc<ListProductsResponse>,
}

type Answer<M> = Result<Response<M>, Status>;

fn none<M>() -> Answer<M> {
    Err(Status::unimplemented("the bare server only reads"))
}

#[tonic::async_trait]
impl ProductService for Bare {
    async fn get_product(&self, _: Request<GetProductRequest>) -> Answer<GetProductResponse> {
        Ok(Response::new((*self.product).clone()))
    }
    async fn list_products(&self, _: Request<ListProductsRequest>) -> Answer<ListProductsResponse> {
        Ok(Response::new((*self.list).clone()))
    }
    async fn search_products(&self, _: Request<SearchProductsRequest>) -> Answer<SearchProductsResponse> {
        none()
    }
    async fn suggest_products(&self, _: Request<SuggestProductsRequest>) -> Answer<SuggestProductsResponse> {
        none()
    }
    async fn create_product(&self, _: Request<CreateProductRequest>) -> Answer<CreateProductResponse> {
        none()
    }
    async fn update_product(&self, _: Request<UpdateProductRequest>) -> Answer<UpdateProductResponse> {
        none()
    }
    async fn add_variants(&self, _: Request<AddVariantsRequest>) -> Answer<AddVariantsResponse> {
        none()
    }
    async fn change_price(&self, _: Request<ChangePriceRequest>) -> Answer<ChangePriceResponse> {
        none()
    }
    async fn discontinue_product(
        &self,
        _: Request<DiscontinueProductRequest>,
    ) -> Answer<DiscontinueProductResponse> {
        none()
    }
    async fn reinstate_product(
        &self,
        _: Request<ReinstateProductRequest>,
    ) -> Answer<ReinstateProductResponse> {
        none()
    }
    async fn schedule_price_change(
        &self,
        _: Request<SchedulePriceChangeRequest>,
    ) -> Answer<SchedulePriceChangeResponse> {
        none()
    }
    async fn withdraw_scheduled_price(
        &self,
        _: Request<WithdrawScheduledPriceRequest>,
    ) -> Answer<WithdrawScheduledPriceResponse> {
        none()
    }
    async fn get_product_as_of(&self, _: Request<GetProductAsOfRequest>) -> Answer<GetProductAsOfResponse> {
        none()
    }
    async fn import_product(&self, _: Request<ImportProductRequest>) -> Answer<ImportProductResponse> {
        none()
    }
    type ImportProductsStream = Empty<Result<ImportProductsResponse, Status>>;
    async fn import_products(
        &self,
        _: Request<Streaming<ImportProductRequest>>,
    ) -> Answer<Self::ImportProductsStream> {
        none()
    }
    type ExportProductsStream = Empty<Result<ExportProductsResponse, Status>>;
    async fn export_products(&self, _: Request<ExportProductsRequest>) -> Answer<Self::ExportProductsStream> {
        none()
    }
    async fn get_price_history(&self, _: Request<GetPriceHistoryRequest>) -> Answer<GetPriceHistoryResponse> {
        none()
    }
}
