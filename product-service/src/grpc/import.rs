//! Imports over the API: one product, or a stream of them. What a stream may take is bounded in bytes for all streams
//! together and in products for each, and who does not read the answers is not read from; a product that is begun is
//! carried through whatever becomes of its stream.

use std::sync::Arc;

use contracts::google::rpc;
use contracts::shop::product::v1 as wire;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use prost::Message;
use service_runtime::RequestContext;
use service_runtime::status::{internal, of_unread};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tracing::Instrument;
use wire::import_products_response::Result as Answer;

use super::{replies, requests, status};
use crate::application::Imports;

/// Products of one stream that are under way or whose answers wait to be read: as many as make a full batch of the
/// command processor together with those that it is appending.
const AT_ONCE: usize = 256;
/// Bytes of the products of all streams that are under way, as encoded; in memory they take some times as much.
const MAX_BYTES_UNDER_WAY: u32 = 8 * 1024 * 1024;

/// Imports products as they come.
#[derive(Clone)]
pub(super) struct ImportHandler {
    imports: Imports,
    budget: Arc<Semaphore>,
}

/// What an import answers, and whether it is the answer to an earlier request.
type Imported = (wire::ImportProductResponse, bool);

impl ImportHandler {
    pub fn new(imports: Imports) -> Self {
        Self { imports, budget: Arc::new(Semaphore::new(MAX_BYTES_UNDER_WAY as usize)) }
    }

    /// Imports one product, or says what that would change.
    pub async fn one(
        &self,
        context: &RequestContext,
        mut body: wire::ImportProductRequest,
    ) -> Result<Imported, Status> {
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let validate_only = body.validate_only;
        let requests::Import { handle, details, assortment, status } = requests::import(body)?;
        if validate_only {
            let report = self.imports.preview(handle, details, assortment, status).await;
            let report = report.map_err(status::of_import_error)?;
            return Ok((replies::import(&report, String::new()), false));
        }
        let done = self.imports.import(handle, details, assortment, status, command).await;
        let done = done.map_err(status::of_import_error)?;
        Ok((replies::import(&done.reply, done.position.to_string()), done.replayed))
    }

    /// The answers to a stream of products, in their order. It ends with the stream, or where that cannot be read.
    pub fn all(
        &self,
        context: &RequestContext,
        requests: impl Stream<Item = Result<wire::ImportProductRequest, Status>> + Send + 'static,
    ) -> BoxStream<'static, Result<wire::ImportProductsResponse, Status>> {
        let (handler, context) = (self.clone(), context.clone());
        let admitted = requests.then({
            let budget = Arc::clone(&self.budget);
            move |request| admit(Arc::clone(&budget), request)
        });
        let begun = admitted.map(move |admitted| {
            let (handler, context) = (handler.clone(), context.clone());
            let work = async move {
                let (request, permit) = admitted?;
                let done = handler.one(&context, request).await;
                drop(permit);
                Ok(answer(done))
            };
            // On a task of its own: it gives its bytes back also when nobody asks for the answer.
            let task = tokio::spawn(work.in_current_span());
            async move { task.await.unwrap_or_else(|fault| Err(internal(fault))) }
        });
        begun.buffered(AT_ONCE).boxed()
    }
}

/// Waits until there is room for a product.
async fn admit(
    budget: Arc<Semaphore>,
    request: Result<wire::ImportProductRequest, Status>,
) -> Result<(wire::ImportProductRequest, OwnedSemaphorePermit), Status> {
    let request = request.map_err(of_unread)?;
    let bytes = u32::try_from(request.encoded_len()).unwrap_or(u32::MAX).clamp(1, MAX_BYTES_UNDER_WAY);
    let permit = budget.acquire_many_owned(bytes).await.map_err(internal)?;
    Ok((request, permit))
}

fn answer(done: Result<Imported, Status>) -> wire::ImportProductsResponse {
    let result = match done {
        Ok((imported, _)) => Answer::Imported(imported),
        Err(status) => Answer::Refused(refusal(&status)),
    };
    wire::ImportProductsResponse { result: Some(result) }
}

/// The details of a status are an encoded message of the very type that stands in the answer.
fn refusal(status: &Status) -> rpc::Status {
    let details = rpc::Status::decode(status.details()).unwrap_or_default().details;
    rpc::Status { code: status.code().into(), message: status.message().to_owned(), details }
}
