//! A Redis of a test's own: it starts within milliseconds, so none is shared.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use local_servers::{Signal, redis};

use crate::eventually;
use crate::tls::Certificates;

/// The path of redis-server.
const PROGRAM: &str = "STORELINE_TEST_REDIS_BIN";
/// Longest wait for it to serve, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A server, running or between two runs. It ends with this value.
pub struct Redis {
    inner: redis::Redis,
}

impl Redis {
    /// Starts one, empty, and waits until it serves.
    ///
    /// # Panics
    /// When there is no redis-server, or it does not serve; `cargo xtask test` provides one.
    pub async fn start() -> Self {
        Self::serving(redis::Redis::start(&program())).await
    }

    /// Starts one that speaks TLS as well, and waits until it serves.
    ///
    /// # Panics
    /// When there is no redis-server, or it does not serve; `cargo xtask test` provides one.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        let Certificates { certificate, key, .. } = certificates;
        Self::serving(redis::Redis::start_with_tls(&program(), certificate, key)).await
    }

    async fn serving(started: io::Result<redis::Redis>) -> Self {
        let mut redis = Self { inner: started.unwrap_or_else(|error| panic!("Redis: {error}")) };
        redis.ready().await;
        redis
    }

    /// `rediss://host:port`.
    ///
    /// # Panics
    /// When it was started without.
    pub fn tls_url(&self) -> String {
        self.inner.tls_url().expect("it was started with certificates")
    }

    /// `redis://host:port`, the same over all its runs.
    pub fn url(&self) -> String {
        self.inner.url()
    }

    /// kill -9; what was in it is lost.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.inner.kill().unwrap_or_else(|error| panic!("Redis: {error}"));
    }

    /// Starts the killed one on its port, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_again(&mut self) {
        self.inner.start_again().unwrap_or_else(|error| panic!("Redis: {error}"));
        self.ready().await;
    }

    /// Forgets everything in it.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn flush(&self) {
        self.inner.flush().unwrap_or_else(|error| panic!("Redis: {error}"));
    }

    /// SIGSTOP: its connections stay open and nothing answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&mut self) {
        self.inner.signal(Signal::Stop).unwrap_or_else(|error| panic!("Redis: {error}"));
    }

    /// SIGCONT after [`Self::freeze`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&mut self) {
        self.inner.signal(Signal::Continue).unwrap_or_else(|error| panic!("Redis: {error}"));
    }

    async fn ready(&mut self) {
        let inner = &mut self.inner;
        eventually("Redis serves", START_DEADLINE, || {
            let ready = inner.is_ready().unwrap_or_else(|error| panic!("Redis: {error}"));
            std::future::ready(ready.then_some(()))
        })
        .await;
    }
}

fn program() -> PathBuf {
    let named = std::env::var_os(PROGRAM).unwrap_or_else(|| {
        panic!(
            "{PROGRAM} is not set: run the tests with `cargo xtask test`, or set it to the path of redis-server"
        )
    });
    named.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_one_comes_back_where_it_was() {
        let mut redis = Redis::start().await;
        let url = redis.url();
        redis.flush();
        redis.freeze();
        redis.thaw();
        redis.kill();
        redis.start_again().await;
        assert_eq!(redis.url(), url);
    }
}
