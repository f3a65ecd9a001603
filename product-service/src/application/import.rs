//! What `shop import` needs: one product of a file at a time, brought to what the file says. Everything that an
//! import decides is decided in the log, see [`ImportProduct`]; a dry run decides the same on copies in memory.

use chrono::Utc;
use eventsourcing::{
    CommandContext, CommandProcessor, Committed, Decider, DecodeError, EventLog, ExecuteError, Halt,
    InMemoryStreams, StreamId,
};
use uuid::Uuid;

use super::queries::Queries;
use crate::domain::claims::{HandleClaim, SkuClaim, SkuEvent};
use crate::domain::details::DetailChange;
use crate::domain::operations::{
    FileStatus, ImportProduct, ImportReport, handle_stream, product_stream, sku_stream,
};
use crate::domain::product::{Product, ProductError};
use crate::domain::{Assortment, Handle};

/// Events of a stream that are read at once for a dry run.
const PAGE: usize = 500;

/// Imports products.
#[derive(Clone)]
pub struct Imports {
    processor: CommandProcessor,
    queries: Queries,
}

/// Why an import did not happen, or a dry run cannot tell.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Execute(#[from] ExecuteError<ProductError>),
    #[error(transparent)]
    Rejected(ProductError),
    #[error(transparent)]
    Read(#[from] sqlx::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Imports {
    pub fn new(processor: CommandProcessor, queries: Queries) -> Self {
        Self { processor, queries }
    }

    /// Brings the shop to what a file says of a product. A repeat with the same context gets the first answer; a
    /// new import of the same file must therefore come with request ids of its own.
    pub async fn import(
        &self,
        handle: Handle,
        details: Vec<DetailChange>,
        assortment: Assortment,
        status: FileStatus,
        context: CommandContext,
    ) -> Result<Committed<ImportReport>, ImportError> {
        let operation = operation(handle, details, assortment, status);
        Ok(self.processor.execute(operation, context).await?)
    }

    /// What [`import`](Self::import) would do now. Nothing is written. Which SKUs other products have is known from
    /// the read model, so it may miss one that was claimed a moment ago.
    pub async fn preview(
        &self,
        handle: Handle,
        details: Vec<DetailChange>,
        assortment: Assortment,
        status: FileStatus,
    ) -> Result<ImportReport, ImportError> {
        let operation = operation(handle, details, assortment, status);
        let log = self.processor.log();
        let handle = handle_stream(&operation.handle);
        let mut streams = copy::<HandleClaim>(log, &handle, InMemoryStreams::default()).await?;
        if let Some(product_id) = streams.state::<HandleClaim>(&handle).owner {
            streams = copy::<Product>(log, &product_stream(product_id), streams).await?;
        }
        let variants = operation.assortment.variants();
        let skus: Vec<&str> = variants.iter().map(|variant| variant.sku.as_str()).collect();
        for (sku, product_id) in self.queries.owners(&skus).await? {
            let Some(variant) = variants.iter().find(|variant| variant.sku == sku) else { continue };
            streams = streams.given::<SkuClaim>(&sku_stream(variant), &[SkuEvent::SkuClaimed { product_id }]);
        }
        match streams.run(&operation) {
            Ok((report, _)) => Ok(report),
            Err(Halt::Rejected(rejection)) => Err(ImportError::Rejected(rejection)),
            Err(Halt::StaleVersion { expected, actual, .. }) => {
                Err(ExecuteError::StaleVersion { expected, actual }.into())
            }
            Err(Halt::Missing) => {
                Err(ExecuteError::Corrupt("an operation ended without an answer".into()).into())
            }
        }
    }
}

fn operation(
    handle: Handle,
    details: Vec<DetailChange>,
    assortment: Assortment,
    status: FileStatus,
) -> ImportProduct {
    let (new_product_id, now) = (Uuid::now_v7().into(), Utc::now());
    ImportProduct { new_product_id, handle, details, assortment, status, now }
}

/// A stream of the log, in memory.
async fn copy<D: Decider>(
    log: &EventLog,
    stream: &StreamId,
    mut streams: InMemoryStreams,
) -> Result<InMemoryStreams, ImportError> {
    let mut version = 0;
    loop {
        let page = log.read_stream(stream, version, PAGE).await?;
        let Some(last) = page.last() else { return Ok(streams) };
        version = last.version;
        let mut history = Vec::with_capacity(page.len());
        for event in &page {
            history.extend(event.decode::<D>()?);
        }
        streams = streams.given::<D>(stream, &history);
    }
}
