//! The API for operators: requests become validated orders and questions, results become replies. Participants do not
//! come this way; what they say are events.

mod convert;
mod status;

use contracts::shop::saga::v1 as wire;
use contracts::shop::saga::v1::saga_service_server::SagaService;
use eventsourcing::{CommandContext, Committed};
use service_runtime::page::{self, Filter};
use service_runtime::status::Violations;
use service_runtime::{RequestContext, etag, replay};
use tonic::{Request, Response, Status};

use crate::application::{OperatorOrder, Queries, SagaId, SagaView, Sagas};
use crate::domain::Note;

/// The handlers of `shop.saga.v1.SagaService`.
pub struct SagaGrpc {
    sagas: Sagas,
    queries: Queries,
}

const LIST_SAGAS: &str = "/shop.saga.v1.SagaService/ListSagas";

impl SagaGrpc {
    pub fn new(sagas: Sagas, queries: Queries) -> Self {
        Self { sagas, queries }
    }

    async fn operate(
        &self,
        id: &str,
        order: OperatorOrder,
        tag: &str,
        context: CommandContext,
    ) -> Result<Committed<SagaView>, Status> {
        let saga = saga_id(id)?;
        let expected_version = etag::parse("etag", tag)?;
        let done = self.sagas.operate(saga, order, expected_version, context).await;
        done.map_err(|error| status::of_order(error, saga))
    }
}

#[tonic::async_trait]
impl SagaService for SagaGrpc {
    async fn get_saga(
        &self,
        request: Request<wire::GetSagaRequest>,
    ) -> Result<Response<wire::GetSagaResponse>, Status> {
        let id = saga_id(&request.into_inner().saga_id)?;
        let (saga, timeline) = self
            .queries
            .saga(id)
            .await
            .map_err(status::of_query)?
            .ok_or_else(|| status::saga_not_found(id))?;
        let timeline = timeline.into_iter().map(convert::timeline_entry).collect();
        let saga = wire::Saga { timeline, ..convert::saga(&saga) };
        Ok(Response::new(wire::GetSagaResponse { saga: Some(saga) }))
    }

    async fn list_sagas(
        &self,
        request: Request<wire::ListSagasRequest>,
    ) -> Result<Response<wire::ListSagasResponse>, Status> {
        let mut body = request.into_inner();
        let size = page::page_size(std::mem::take(&mut body.page_size))?;
        let token = std::mem::take(&mut body.page_token);
        let filter = Filter::of(LIST_SAGAS, &body);
        let status = convert::status_filter(body.status)?;
        let after = filter.decode::<2>(&token)?;
        let after = match &after {
            Some([started_at, saga_id]) => Some((page::time_of_key(started_at)?, saga_id.as_str())),
            None => None,
        };
        let page = self.queries.list(status, after, size).await.map_err(status::of_query)?;
        let next_page_token = match page.sagas.last() {
            Some(last) if page.more => {
                filter.next_token([&page::time_key(last.started_at), &last.id.to_string()])
            }
            _ => String::new(),
        };
        let sagas = page.sagas.iter().map(convert::saga).collect();
        Ok(Response::new(wire::ListSagasResponse { sagas, next_page_token }))
    }

    async fn retry_saga(
        &self,
        request: Request<wire::RetrySagaRequest>,
    ) -> Result<Response<wire::RetrySagaResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let done = self.operate(&body.saga_id, OperatorOrder::Retry, &body.etag, command).await?;
        let (saga, position) = (Some(convert::saga(&done.reply)), done.position.to_string());
        Ok(replay::response(wire::RetrySagaResponse { saga, position }, done.replayed))
    }

    async fn skip_saga_step(
        &self,
        request: Request<wire::SkipSagaStepRequest>,
    ) -> Result<Response<wire::SkipSagaStepResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let reason = note(&body.reason, Needed::Yes)?;
        let order = OperatorOrder::Skip { reason };
        let done = self.operate(&body.saga_id, order, &body.etag, command).await?;
        let (saga, position) = (Some(convert::saga(&done.reply)), done.position.to_string());
        Ok(replay::response(wire::SkipSagaStepResponse { saga, position }, done.replayed))
    }

    async fn compensate_saga(
        &self,
        request: Request<wire::CompensateSagaRequest>,
    ) -> Result<Response<wire::CompensateSagaResponse>, Status> {
        let context = RequestContext::of(&request);
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let command = context.command_context(&request_id, &body)?;
        let note = note(&body.reason, Needed::No)?;
        let order = OperatorOrder::Compensate { note };
        let done = self.operate(&body.saga_id, order, &body.etag, command).await?;
        let (saga, position) = (Some(convert::saga(&done.reply)), done.position.to_string());
        Ok(replay::response(wire::CompensateSagaResponse { saga, position }, done.replayed))
    }
}

/// Whether a reason must be given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Yes,
    No,
}

fn note(text: &str, needed: Needed) -> Result<Note, Status> {
    let mut violations = Violations::new();
    match Note::parse(text) {
        Ok(note) if note.is_empty() && needed == Needed::Yes => {
            violations.add("reason", "must say what was done by hand");
        }
        Ok(note) => return Ok(note),
        Err(error) => {
            violations.add("reason", error.to_string());
        }
    }
    violations.into_result().map(|()| Note::default())
}

fn saga_id(text: &str) -> Result<SagaId, Status> {
    text.parse().map_err(|error: crate::application::MalformedSagaId| {
        service_runtime::status::invalid_field("saga_id", error.to_string())
    })
}
