//! A call from its arrival to its answer: admitted, tried, and tried again where that is safe and there is time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{Request, Response};
use service_runtime::gate::Gate;
use service_runtime::request::client_timeout;
use service_runtime::status::{self, RETRY_AFTER, reason};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;
use tower::retry::budget::{Budget, TpsBudget};

use crate::attempt::{self, Fault, Outline};
use crate::body::{self, Outgoing, Unread};
use crate::methods::{Method, Shape};
use crate::replicas::{InFlight, Replicas};
use crate::{Address, ClientOptions, Methods, Names, body::Stream};

/// Largest message of a call that is sent again, in bytes: what servers take.
const MAX_MESSAGE_BYTES: usize = service_runtime::grpc::MAX_MESSAGE_BYTES + 5;
/// How long the retry budget remembers calls.
const BUDGET_MEMORY: Duration = Duration::from_secs(10);

/// A client of all replicas of one service; cheap to clone. As a tower service it is the channel of a generated client.
/// It always answers: what goes wrong is a gRPC status.
#[derive(Clone, Debug)]
pub struct ServiceClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replicas: Arc<Replicas>,
    methods: Methods,
    calls: Gate,
    streams: Gate,
    budget: TpsBudget,
    /// Ends what keeps the connections.
    _stop: DropGuard,
}

/// What an answer is, with its code and whether the service could not be reached for it.
type Answered = (Response<Body>, Code, bool);

impl ServiceClient {
    /// Begins to look the addresses up and to connect, in tasks of its own, until the last clone is gone.
    ///
    /// `backend` names the service in logs, metrics and errors. It must be called inside a Tokio runtime.
    pub fn start(
        backend: &str,
        addresses: Vec<Address>,
        names: &Names,
        methods: Methods,
        options: ClientOptions,
    ) -> Self {
        let stop = CancellationToken::new();
        let gate = |places| Gate::new(places, options.max_waiting, options.max_wait);
        let (calls, streams) = (gate(options.max_calls), gate(options.max_streams));
        let (ratio, least) = options.retry.budget;
        let replicas = Arc::new(Replicas::new(backend, options, stop.clone()));
        replicas.follow(addresses, names);
        let budget = TpsBudget::new(BUDGET_MEMORY, least, ratio);
        Self(Arc::new(Inner { replicas, methods, calls, streams, budget, _stop: stop.drop_guard() }))
    }

    /// Returns once a replica is ready.
    pub async fn ready(&self) {
        // The client holds the sender, so waiting cannot fail.
        let _ = self.0.replicas.watch().wait_for(|ready| !ready.is_empty()).await;
    }
}

impl Service<Request<Body>> for ServiceClient {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

impl Inner {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        let Some(method) = self.methods.get(request.uri().path()) else {
            return status::unknown_method().into_http();
        };
        let answered = self.admitted(method, request, begun).await;
        let (answer, code) = answered.unwrap_or_else(|status| {
            let code = status.code();
            (status.into_http(), code)
        });
        method.meters.record(code, begun.elapsed());
        answer
    }

    async fn admitted(
        &self,
        method: &Method,
        request: Request<Body>,
        begun: Instant,
    ) -> Result<(Response<Body>, Code), Status> {
        let (parts, body) = request.into_parts();
        let asked = client_timeout(&parts.headers).and_then(|limit| begun.checked_add(limit));
        let answer_by = begun + self.options().call_timeout;
        let answer_by = asked.map_or(answer_by, |asked| asked.min(answer_by));
        let deadline = if method.shape == Shape::Unary { Some(answer_by) } else { asked };
        let gate = if method.shape == Shape::Unary { &self.calls } else { &self.streams };
        let permit = gate.enter(Some(answer_by)).await.map_err(|_| {
            self.replicas.meters.overloaded.increment(1);
            status::overloaded()
        })?;
        let passage = self.replicas.circuit.pass().map_err(|left| {
            self.replicas.meters.circuit.increment(1);
            self.unreachable(left)
        })?;
        self.budget.deposit();
        let path = parts.uri.into_parts().path_and_query;
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let outline = Outline { path, headers: parts.headers, deadline, answer_by };
        let (answer, code, unreachable) = match method.shape {
            Shape::Unary => self.unary(method, &outline, body).await?,
            Shape::ServerStream => self.server_stream(method, &outline, body, permit).await?,
            Shape::ClientStream => self.client_stream(&outline, body, permit).await,
        };
        passage.end(unreachable);
        Ok((answer, code))
    }

    async fn unary(&self, method: &Method, outline: &Outline, body: Body) -> Result<Answered, Status> {
        let message = whole_message(body, outline).await?;
        let mut tries = Tries::new(self, outline, method.may_repeat(&message));
        loop {
            let Some(lane) = tries.lane().await else { return Ok(tries.nobody()) };
            match attempt::unary(&lane, outline, &message).await {
                Ok((answer, code)) => {
                    self.replicas.judge(&lane.replica, false);
                    return Ok((answer, code, false));
                }
                Err(fault) => {
                    if let Some(answered) = tries.failed(lane, fault).await {
                        return Ok(answered);
                    }
                }
            }
        }
    }

    async fn server_stream(
        &self,
        method: &Method,
        outline: &Outline,
        body: Body,
        permit: OwnedSemaphorePermit,
    ) -> Result<Answered, Status> {
        let message = whole_message(body, outline).await?;
        let mut tries = Tries::new(self, outline, method.may_repeat(&message));
        loop {
            let Some(lane) = tries.lane().await else { return Ok(tries.nobody()) };
            match attempt::stream(&lane, outline, Outgoing::Whole(Some(message.clone()))).await {
                Ok((answer, code)) => return Ok(self.begun(answer, code, lane, permit)),
                Err(fault) => {
                    if let Some(answered) = tries.failed(lane, fault).await {
                        return Ok(answered);
                    }
                }
            }
        }
    }

    /// What streams is sent once: of what was read of it nothing is kept.
    async fn client_stream(&self, outline: &Outline, body: Body, permit: OwnedSemaphorePermit) -> Answered {
        let tries = Tries::new(self, outline, false);
        let Some(lane) = tries.lane().await else { return tries.nobody() };
        match attempt::stream(&lane, outline, Outgoing::Stream(body)).await {
            Ok((answer, code)) => self.begun(answer, code, lane, permit),
            Err(fault) => tries.give_up(fault),
        }
    }

    /// A stream that has begun; it counts as under way until it ends.
    fn begun(
        &self,
        answer: Response<hyper::body::Incoming>,
        code: Code,
        lane: InFlight,
        permit: OwnedSemaphorePermit,
    ) -> Answered {
        self.replicas.judge(&lane.replica, false);
        (answer.map(|inner| Body::new(Stream { inner, held: Some((lane, permit)) })), code, false)
    }

    fn options(&self) -> &ClientOptions {
        &self.replicas.options
    }

    fn unreachable(&self, retry_after: Duration) -> Status {
        let detail = format!("the service {} cannot be reached at the moment", self.replicas.backend);
        status::unavailable(reason::DEPENDENCY_UNAVAILABLE, detail, retry_after.max(RETRY_AFTER))
    }
}

/// The tries of one call.
struct Tries<'a> {
    client: &'a Inner,
    outline: &'a Outline,
    /// It may be sent again when nobody knows what became of it.
    repeatable: bool,
    redirects: u32,
    retries: u32,
    last: Option<SocketAddr>,
}

impl<'a> Tries<'a> {
    fn new(client: &'a Inner, outline: &'a Outline, repeatable: bool) -> Self {
        Self { client, outline, repeatable, redirects: 0, retries: 0, last: None }
    }

    /// A connection for the next try.
    async fn lane(&self) -> Option<InFlight> {
        let until = (Instant::now() + self.client.options().max_wait).min(self.outline.answer_by);
        self.client.replicas.wait_for_one(self.last, until).await
    }

    /// No replica was ready in time.
    fn nobody(&self) -> Answered {
        self.client.replicas.meters.no_replica.increment(1);
        self.client.replicas.look_up.notify_one();
        (self.client.unreachable(RETRY_AFTER).into_http(), Code::Unavailable, true)
    }

    /// Nothing if the call is to be tried again, else what its caller gets.
    async fn failed(&mut self, lane: InFlight, fault: Fault) -> Option<Answered> {
        let replicas = &self.client.replicas;
        if fault.blames_replica() {
            replicas.judge(&lane.replica, true);
        }
        self.last = Some(lane.replica.address);
        // Whoever is on the way back takes no place.
        drop(lane);
        if !self.again(&fault) {
            return Some(self.give_up(fault));
        }
        let pause = match fault {
            // Whatever closes a connection closes it for all: the next one is most likely open.
            Fault::Unsent => Duration::ZERO,
            _ => self.pause(),
        };
        if !pause.is_zero() {
            let until = (Instant::now() + pause).min(self.outline.answer_by);
            tokio::time::sleep_until(until).await;
        }
        None
    }

    fn again(&mut self, fault: &Fault) -> bool {
        let (replicas, limits) = (&self.client.replicas, &self.client.options().retry);
        if Instant::now() >= self.outline.answer_by {
            return false;
        }
        let counter = match fault {
            Fault::Unsent => {
                self.redirects += 1;
                replicas.meters.unsent.increment(u64::from(self.redirects <= limits.max_redirects));
                return self.redirects <= limits.max_redirects;
            }
            Fault::Broken => &replicas.meters.broken,
            Fault::Unavailable { reason, .. } if self.helps_elsewhere(reason.as_deref()) => {
                &replicas.meters.unavailable
            }
            Fault::Unavailable { .. } | Fault::Late | Fault::TooLarge => return false,
        };
        if !self.repeatable || self.retries >= limits.max_retries {
            return false;
        }
        if !self.client.budget.withdraw() {
            replicas.meters.denied.increment(1);
            return false;
        }
        self.retries += 1;
        counter.increment(1);
        true
    }

    /// A full server says when to come back, so only another one is asked; and who waited for a position in vain has
    /// waited as long as they wanted.
    fn helps_elsewhere(&self, told: Option<&str>) -> bool {
        match told {
            Some(reason::POSITION_NOT_REACHED) => false,
            Some(reason::OVERLOADED) => {
                self.last.is_some_and(|address| self.client.replicas.has_other_than(address))
            }
            _ => true,
        }
    }

    /// Between nothing and the longest pause of this retry.
    fn pause(&self) -> Duration {
        let (first, most) = self.client.options().retry.pause;
        let doublings = self.retries.saturating_sub(1).min(16);
        first.saturating_mul(1 << doublings).min(most).mul_f64(rand::random())
    }

    fn give_up(&self, fault: Fault) -> Answered {
        let unreachable = fault.blames_service();
        let status = match fault {
            Fault::Unsent => self.client.unreachable(RETRY_AFTER),
            Fault::Broken => {
                let detail = format!(
                    "the connection to the service {} broke; whether it has done its work is not known",
                    self.client.replicas.backend
                );
                status::unavailable(reason::DEPENDENCY_UNAVAILABLE, detail, RETRY_AFTER)
            }
            Fault::Late => status::deadline_exceeded(),
            Fault::TooLarge => Status::out_of_range("the answer is too large"),
            Fault::Unavailable { answer, .. } => return (answer, Code::Unavailable, unreachable),
        };
        let code = status.code();
        (status.into_http(), code, unreachable)
    }
}

/// The one message of a request, in its frame.
async fn whole_message(body: Body, outline: &Outline) -> Result<Bytes, Status> {
    let read = tokio::time::timeout_at(outline.answer_by, body::read(body, MAX_MESSAGE_BYTES)).await;
    match read.map_err(|_| status::deadline_exceeded())? {
        Ok(whole) => Ok(whole.data),
        Err(Unread::Broken(status)) => Err(status),
        Err(Unread::TooLarge) => Err(Status::out_of_range("the request is too large")),
    }
}
