//! Reads of the catalogue over REST and gRPC, beside bare servers in a process of their own that answer the same from
//! memory. Both sides get the same load from the same lean clients; what differs is the server.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use contracts::shop::product::v1::{GetProductRequest, ListProductsRequest};
use hyper::Method;
use prost::Message;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::bare;
use crate::event_log::CLIENTS;
use crate::figures::Unit;
use crate::grpc::Channels;
use crate::http::Connections;
use crate::load::{Measured, closed_loop};
use crate::run::Run;
use crate::shop::{Data, Shop};

const GET: &str = "/shop.product.v1.ProductService/GetProduct";
const LIST: &str = "/shop.product.v1.ProductService/ListProducts";

/// One product and a page of the list, over REST and gRPC, from the shop and from bare servers.
pub async fn reads(run: &mut Run<'_>) -> anyhow::Result<()> {
    let data = Data::new()?;
    let shop = Shop::start(run.shop()?, &data).await?;
    let ids = shop.stock().await?;
    let product = ids.first().context("there are no products")?;
    let get = GetProductRequest { product_id: product.clone(), ..Default::default() }.encode_to_vec();
    let (path, list) = (format!("/v1/products/{product}"), ListProductsRequest::default().encode_to_vec());
    let grpc = shop.addresses.grpc.get("product").context("the shop says no address of the catalogue")?;
    let shops = (Arc::new(Connections::to(&shop.addresses.http)), Arc::new(Channels::to(grpc).await?));
    let bare = if run.options().limits {
        let answers = [
            shop.get(&path).await?,
            shop.get("/v1/products").await?,
            shops.1.call(GET, &get).await?,
            shops.1.call(LIST, &list).await?,
        ];
        Some(BareServers::start(run, answers).await?)
    } else {
        None
    };
    for (name, path, method, message) in
        [("get", path.as_str(), GET, get), ("list", "/v1/products", LIST, list)]
    {
        rest(run, &shops.0, path, &format!("reads/rest {name}")).await?;
        if let Some(bare) = &bare {
            rest(run, &bare.rest, path, &format!("limit/bare rest {name}")).await?;
        }
        grpc_calls(run, &shops.1, method, &message, &format!("reads/grpc {name}")).await?;
        if let Some(bare) = &bare {
            grpc_calls(run, &bare.grpc, method, &message, &format!("limit/bare grpc {name}")).await?;
        }
    }
    shop.stop().await
}

async fn rest(run: &mut Run<'_>, server: &Arc<Connections>, path: &str, name: &str) -> anyhow::Result<()> {
    let (server, path) = (server.clone(), path.to_owned());
    let measured = closed_loop(run.times(), CLIENTS, move |_, _| {
        let (server, path) = (server.clone(), path.clone());
        async move {
            let mut connection = server.take().await?;
            connection.call(Method::GET, &path, None, Bytes::new()).await?;
            connection.put_back();
            Ok(())
        }
    })
    .await?;
    keep(run, name, &measured);
    Ok(())
}

async fn grpc_calls(
    run: &mut Run<'_>,
    server: &Arc<Channels>,
    method: &'static str,
    message: &[u8],
    name: &str,
) -> anyhow::Result<()> {
    let (server, message) = (server.clone(), Bytes::copy_from_slice(message));
    let measured = closed_loop(run.times(), CLIENTS, move |_, _| {
        let (server, message) = (server.clone(), message.clone());
        async move { server.call(method, &message).await.map(drop) }
    })
    .await?;
    keep(run, name, &measured);
    Ok(())
}

fn keep(run: &mut Run<'_>, name: &str, measured: &Measured) {
    run.record(name, Unit::PerSecond, measured.per_second);
    run.record(format!("{name}, p99"), Unit::Milliseconds, measured.quantile(0.99));
}

/// This program once more, as servers that answer what they were told. It ends when this is dropped.
struct BareServers {
    _process: Child,
    rest: Arc<Connections>,
    grpc: Arc<Channels>,
}

#[derive(Deserialize)]
struct BareAddresses {
    http: String,
    grpc: String,
}

impl BareServers {
    async fn start(run: &Run<'_>, answers: [Bytes; 4]) -> anyhow::Result<Self> {
        let folder = run.scratch()?;
        let files: [PathBuf; 4] = bare::FILES.map(|name| folder.path().join(name));
        for (file, answer) in files.iter().zip(&answers) {
            std::fs::write(file, answer)?;
        }
        let mut process = Command::new(std::env::current_exe()?)
            .arg(bare::COMMAND)
            .args(&files)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("the bare servers have no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let addresses: BareAddresses =
            serde_json::from_str(&line).context("the bare servers do not start")?;
        let grpc = Arc::new(Channels::to(&addresses.grpc).await?);
        let rest = Arc::new(Connections::to(&addresses.http));
        let same = grpc.call(GET, &[]).await? == answers[2];
        ensure!(same, "the bare server answers something else");
        Ok(Self { _process: process, rest, grpc })
    }
}
