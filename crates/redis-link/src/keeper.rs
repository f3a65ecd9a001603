//! Finds out, beside all calls, when Redis can be asked: it connects, pings, and hands the connection out when the
//! answer came in time. It never gives up, and asks less and less often.

use std::error::Error;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};

use crate::client::Link;
use crate::{CONNECT_LIMIT, LONGEST_PAUSE};

/// Time before Redis is asked again after a failure; it doubles up to [`LONGEST_PAUSE`], and is spread by up to a half.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Who works for so long is well: the next failure is the first one again.
const STEADY: Duration = Duration::from_secs(10);
/// Calls that wait to be written to the connection, at most; more wait within their limit.
const QUEUE: usize = 1024;

/// What a look at Redis came to.
enum Look {
    /// It answers in time.
    Timely(MultiplexedConnection),
    /// It answers, but would cost too much.
    Slow(MultiplexedConnection),
    Nothing(String),
}

pub struct Keeper {
    link: Link,
    client: Client,
}

impl Keeper {
    pub fn new(link: Link, client: Client) -> Self {
        Self { link, client }
    }

    pub async fn run(self) {
        let (mut kept, mut pause, mut number, mut told) = (None, FIRST_PAUSE, 0, false);
        loop {
            match self.look(kept.take()).await {
                Look::Timely(connection) => {
                    number += 1;
                    let since = Instant::now();
                    self.link.hand_out(connection.clone(), number);
                    told = false;
                    self.link.until_available(false).await;
                    // It may be well and was slow for a moment: then a ping is enough.
                    kept = Some(connection);
                    if since.elapsed() > STEADY {
                        pause = FIRST_PAUSE;
                    }
                }
                Look::Slow(connection) => kept = Some(connection),
                Look::Nothing(why) => {
                    if !told {
                        tracing::warn!(why, "Redis cannot be reached; what it is for goes on without");
                    }
                    told = true;
                }
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(1.0..1.5))).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Pings over the connection that there is, or over a new one.
    async fn look(&self, kept: Option<MultiplexedConnection>) -> Look {
        let mut connection = match kept {
            Some(connection) => connection,
            None => match tokio::time::timeout(CONNECT_LIMIT, self.connect()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return Look::Nothing(words(&error)),
                Err(_) => return Look::Nothing("no connection in time".to_owned()),
            },
        };
        let begun = Instant::now();
        let ping = redis::cmd("PING");
        let answer = tokio::time::timeout(CONNECT_LIMIT, ping.query_async::<()>(&mut connection)).await;
        match answer {
            Ok(Ok(())) if begun.elapsed() <= self.link.call_limit() => Look::Timely(connection),
            Ok(Ok(())) => Look::Slow(connection),
            Ok(Err(error)) => Look::Nothing(words(&error)),
            Err(_) => Look::Nothing("no answer to a ping".to_owned()),
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        // Times are kept here and by the link; the library's own would add to them.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// What this machine says, such as that a certificate is not to be trusted, and else the kind alone: an answer of Redis may
/// repeat what it was sent.
fn words(error: &RedisError) -> String {
    match (error.kind(), error.source()) {
        (ErrorKind::Io, Some(source)) => source.to_string(),
        (kind, _) => format!("{kind:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use testkit::redis::Redis;
    use testkit::tls::Certificates;

    use super::*;
    use crate::Options;
    use crate::client::{Link, client};

    /// What a look at `url` comes to for somebody who trusts `authority`, or else the system's.
    async fn look(url: &str, authority: Option<&Path>) -> Look {
        let authorities = authority.map(|file| std::fs::read(file).unwrap());
        // Of no use to the look, and it ends at once.
        let options = Options { authorities, call_limit: testkit::SOON, ..Options::new(url) };
        let (stop, tracker) = Default::default();
        let link = Link::start(options.clone(), stop, &tracker).unwrap();
        Keeper::new(link, client(&options).unwrap()).look(None).await
    }

    #[tokio::test]
    async fn redis_is_asked_over_tls_when_the_right_authority_signed_its_certificate_and_else_says_why_not() {
        let folder = std::env::temp_dir().join(format!("storeline-redis-tls-{}", std::process::id()));
        let [ours, others] = ["ours", "others"].map(|name| {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Certificates::make(&folder)
        });
        let redis = Redis::start_with_tls(&ours).await;
        let url = redis.tls_url();
        assert!(matches!(look(&url, Some(&ours.authority)).await, Look::Timely(_)));
        for authority in [Some(others.authority.as_path()), None] {
            let Look::Nothing(why) = look(&url, authority).await else {
                panic!("{authority:?} signed nothing")
            };
            assert!(why.contains("certificate"), "{why}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
