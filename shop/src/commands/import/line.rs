//! The line to the shop that all products of an import share: one stream of products, whose answers come back in their
//! order. A stream that breaks off fails the products that were on it and is opened anew for the next one; to send
//! those again is for the caller, who knows that their request ids make it safe.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts::shop::product::v1::import_products_response::Result as Answer;
use contracts::shop::product::v1::product_service_client::ProductServiceClient;
use contracts::shop::product::v1::{ImportProductRequest, ImportProductResponse};
use futures::StreamExt;
use prost::Message;
use service_runtime::grpc::MAX_MESSAGE_BYTES;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use crate::running::OperatorChannel;

/// Products that wait to be written to the stream.
const QUEUE: usize = 16;
/// How long a product waits for its answer before the line counts as dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

pub type Client = ProductServiceClient<OperatorChannel>;
type Reply = oneshot::Sender<Result<ImportProductResponse, Status>>;
type Queue = mpsc::Sender<(ImportProductRequest, Reply)>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Line {
    client: Client,
    open: Arc<tokio::sync::Mutex<Option<Queue>>>,
}

/// Who waits for an answer, in the order in which the products were sent.
type Waiting = Arc<Mutex<VecDeque<Reply>>>;

impl Line {
    pub fn new(client: Client) -> Self {
        Self { client, open: Arc::default() }
    }

    /// A client for other calls than imports.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Sends a product and waits for its answer.
    ///
    /// # Errors
    /// What the shop says of it; UNAVAILABLE when the stream broke off, and OUT_OF_RANGE for a product that no
    /// message can hold.
    pub async fn import(&self, request: ImportProductRequest) -> Result<ImportProductResponse, Status> {
        if request.encoded_len() > MAX_MESSAGE_BYTES {
            return Err(Status::out_of_range(format!(
                "the product takes more than {MAX_MESSAGE_BYTES} bytes, which is what the shop takes at once"
            )));
        }
        let (reply, answered) = oneshot::channel();
        self.queue().await.send((request, reply)).await.map_err(|_| broken_off())?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(broken_off())),
            Err(_) => Err(Status::unavailable("the shop does not answer")),
        }
    }

    /// The way to a stream that is open, as far as anybody knows.
    async fn queue(&self) -> Queue {
        let mut open = self.open.lock().await;
        if let Some(queue) = open.as_ref().filter(|queue| !queue.is_closed()) {
            return queue.clone();
        }
        let (queue, products) = mpsc::channel(QUEUE);
        tokio::spawn(carry(self.client.clone(), products));
        open.insert(queue).clone()
    }
}

/// One stream from its beginning to its end.
async fn carry(client: Client, products: mpsc::Receiver<(ImportProductRequest, Reply)>) {
    let waiting = Waiting::default();
    let ended = answers(client, products, &waiting).await.err().unwrap_or_else(broken_off);
    for reply in std::mem::take(&mut *lock(&waiting)) {
        // Nobody waits for it any more if this fails.
        drop(reply.send(Err(ended.clone())));
    }
}

/// Hands out the answers as they come.
async fn answers(
    mut client: Client,
    mut products: mpsc::Receiver<(ImportProductRequest, Reply)>,
    waiting: &Waiting,
) -> Result<(), Status> {
    let outgoing = futures::stream::poll_fn(move |context| products.poll_recv(context)).map({
        let waiting = Arc::clone(waiting);
        move |(request, reply)| {
            lock(&waiting).push_back(reply);
            request
        }
    });
    let mut answers = client.import_products(outgoing).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        let Some(reply) = lock(waiting).pop_front() else { return Err(not_asked()) };
        let result = match answer.result {
            Some(Answer::Imported(imported)) => Ok(imported),
            Some(Answer::Refused(refused)) => {
                let details = refused.encode_to_vec().into();
                Err(Status::with_details(Code::from(refused.code), refused.message, details))
            }
            None => return Err(not_asked()),
        };
        drop(reply.send(result));
    }
    Ok(())
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, VecDeque<Reply>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken_off() -> Status {
    Status::unavailable("the connection to the shop broke off")
}

fn not_asked() -> Status {
    Status::internal("the shop sent an answer that nothing was asked for")
}
