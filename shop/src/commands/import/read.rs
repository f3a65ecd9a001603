//! Reads the file on a thread of its own and hands products on one by one, so that memory stays that of a few
//! products however long the file is.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::Stream;
use product_service::import::{ImportError, ImportOptions, ImportedProduct, ProductRows, RefusedProduct};
use tokio::sync::mpsc;

/// Products that are read ahead.
const READ_AHEAD: usize = 64;

/// One product of the file.
pub enum Item {
    Product(Box<ImportedProduct>),
    Refused(Box<RefusedProduct>),
}

/// How much of the file has been read.
#[derive(Default)]
pub struct Progress(AtomicU64);

impl Progress {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The products of a file, up to its end or to where it cannot be read any further.
pub fn items(
    input: Box<dyn Read + Send>,
    options: ImportOptions,
    progress: Arc<Progress>,
) -> impl Stream<Item = anyhow::Result<Item>> {
    let (sender, mut receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut rows = match ProductRows::new(input, options) {
            Ok(rows) => rows,
            Err(error) => return drop(sender.blocking_send(Err(error.into()))),
        };
        while let Some(next) = rows.next() {
            progress.0.store(rows.bytes_read(), Ordering::Relaxed);
            let item = match next {
                Ok(product) => Ok(Item::Product(Box::new(product))),
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
