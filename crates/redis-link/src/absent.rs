//! In place of the client, in programs that are built without: there is never a link.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Away, Options, Reply, Script, StartError};

#[derive(Clone)]
pub enum Link {}

impl Link {
    pub fn start(_: Options, _: CancellationToken, _: &TaskTracker) -> Result<Self, StartError> {
        Err(StartError::NoClient)
    }

    #[expect(clippy::unused_async, reason = "the client's is")]
    pub async fn run(
        &self,
        _: &'static str,
        _: &'static Script,
        _: &[&str],
        _: &[&[u8]],
    ) -> Result<Reply, Away> {
        match *self {}
    }

    pub fn is_available(&self) -> bool {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the client's is")]
    pub async fn until_available(&self, _: bool) {
        match *self {}
    }
}

pub fn is_url(_: &str) -> bool {
    true
}
