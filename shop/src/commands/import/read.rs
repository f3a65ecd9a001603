//! Reads the file on a thread of its own and hands products on one by one, so that memory stays that of a few
//! products however long the file is and however large its products are.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contracts::shop::product::v1::ImportProductRequest;
use futures::Stream;
use product_service::import::{
    ImportError, ImportOptions, ImportedProduct, ProductRows, RefusedProduct, to_request,
};
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Products that are read ahead.
const READ_AHEAD: usize = 64;
/// Bytes of the products that are read and not done, as they are sent; in memory they take some times as much.
const MAX_BYTES_UNDER_WAY: u32 = 16 * 1024 * 1024;

/// One product of the file.
pub enum Item {
    Product(Box<Product>),
    Refused(Box<RefusedProduct>),
}

/// A product that can be sent.
pub struct Product {
    pub read: ImportedProduct,
    /// Without a request id.
    pub request: ImportProductRequest,
    /// Its share of what may be under way, until it is done.
    _permit: OwnedSemaphorePermit,
}

/// How much of the file has been read.
#[derive(Default)]
pub struct Progress(AtomicU64);

impl Progress {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The products of a file whose rows end behind the line `done`, up to the end of the file or to where it cannot be
/// read any further.
pub fn items(
    input: Box<dyn Read + Send>,
    options: ImportOptions,
    done: u64,
    progress: Arc<Progress>,
) -> impl Stream<Item = anyhow::Result<Item>> {
    let (sender, mut receiver) = mpsc::channel(READ_AHEAD);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut rows = match ProductRows::new(input, options) {
            Ok(rows) => rows,
            Err(error) => return drop(sender.blocking_send(Err(error.into()))),
        };
        let budget = Arc::new(Semaphore::new(MAX_BYTES_UNDER_WAY as usize));
        while let Some(next) = rows.next() {
            progress.0.store(rows.bytes_read(), Ordering::Relaxed);
            let item = match next {
                Ok(product) if product.last_line <= done => continue,
                Err(ImportError::Refused(refused)) if refused.last_line <= done => continue,
                Ok(product) => Ok(Item::Product(Box::new(admitted(product, &budget, &runtime)))),
                Err(ImportError::Refused(refused)) => Ok(Item::Refused(Box::new(refused))),
                Err(ImportError::File(error)) => Err(error.into()),
            };
            if sender.blocking_send(item).is_err() {
                return;
            }
        }
    });
    futures::stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// Waits until enough of the products before are done.
fn admitted(read: ImportedProduct, budget: &Arc<Semaphore>, runtime: &Handle) -> Product {
    let request = to_request(&read);
    let bytes = u32::try_from(request.encoded_len()).unwrap_or(u32::MAX).clamp(1, MAX_BYTES_UNDER_WAY);
    let permit = runtime.block_on(Arc::clone(budget).acquire_many_owned(bytes));
    Product { read, request, _permit: permit.expect("the budget is never closed") }
}
