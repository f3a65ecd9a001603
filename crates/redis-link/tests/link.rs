//! A link to a real Redis that is killed, frozen and brought back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

use std::time::{Duration, Instant};

use redis_link::{Away, Options, Redis, Reply, Script, StartError};
use testkit::redis::Redis as Server;
use testkit::{SOON, eventually};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

static COUNT: Script = Script::new("return redis.call('INCR', KEYS[1])");
static ECHO: Script = Script::new("return {ARGV[1], KEYS[1], 7, false}");
static WRONG: Script = Script::new("return redis.call('NO-SUCH-COMMAND')");

/// So long that only a Redis that does not answer at all exceeds it, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(30);

struct Linked {
    link: Redis,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Linked {
    fn to(url: String, call_limit: Duration) -> Self {
        Self::with(Options { call_limit, ..Options::new(url) })
    }

    fn with(options: Options) -> Self {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let link = Redis::start(options, stop.clone(), &tracker).unwrap();
        Self { link, stop, tracker }
    }

    async fn available(&self, available: bool) {
        let waited = tokio::time::timeout(SOON, self.link.until_available(available)).await;
        waited.unwrap_or_else(|_| panic!("Redis never became available: {available}"));
    }

    async fn count(&self) -> Result<Reply, Away> {
        self.link.run("test", &COUNT, &["counter"], &[]).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(SOON, self.tracker.wait()).await.expect("the link ends with its token");
    }
}

#[tokio::test]
async fn links_with_another_prefix_never_meet() {
    let redis = Server::start().await;
    let options =
        |prefix: &str| Options { call_limit: PATIENT, prefix: prefix.into(), ..Options::new(redis.url()) };
    for prefix in ["one:", "two:"] {
        let linked = Linked::with(options(prefix));
        linked.available(true).await;
        assert_eq!(linked.count().await, Ok(Reply::Number(1)), "{prefix}");
        linked.end().await;
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_no_authority() {
    let options = Options { authorities: Some(b"none".to_vec()), ..Options::new("rediss://127.0.0.1:1") };
    let refused = Redis::start(options, CancellationToken::new(), &TaskTracker::new());
    assert_eq!(refused.err(), Some(StartError::InvalidAuthority));
}

#[tokio::test]
async fn a_script_gets_its_keys_and_arguments_as_they_are() {
    let redis = Server::start().await;
    let linked = Linked::to(redis.url(), PATIENT);
    linked.available(true).await;
    let bytes: &[u8] = b"\0\xff any bytes\r\n";
    let reply = linked.link.run("test", &ECHO, &["a key"], &[bytes]).await.unwrap();
    let expected =
        [Reply::Bytes(bytes.to_vec()), Reply::Bytes(b"a key".to_vec()), Reply::Number(7), Reply::Nothing];
    assert_eq!(reply, Reply::List(expected.to_vec()));
    linked.end().await;
}

#[tokio::test]
async fn a_killed_redis_is_asked_no_more_until_it_is_back() {
    let mut redis = Server::start().await;
    let linked = Linked::to(redis.url(), PATIENT);
    linked.available(true).await;
    assert_eq!(linked.count().await, Ok(Reply::Number(1)));
    redis.kill();
    assert_eq!(linked.count().await, Err(Away));
    assert!(!linked.link.is_available());
    assert_eq!(linked.count().await, Err(Away));
    redis.start_again().await;
    linked.available(true).await;
    assert_eq!(
        linked.count().await,
        Ok(Reply::Number(1)),
        "it came back empty, and the script is loaded again"
    );
    linked.end().await;
}

#[tokio::test]
async fn a_frozen_redis_costs_one_limit_and_later_calls_nothing() {
    let mut redis = Server::start().await;
    let linked = Linked::to(redis.url(), Duration::from_millis(500));
    eventually("a call is answered in time", SOON, || async { linked.count().await.ok() }).await;
    linked.available(true).await;
    redis.freeze();
    let begun = Instant::now();
    assert_eq!(linked.count().await, Err(Away));
    assert!(begun.elapsed() >= Duration::from_millis(400), "it was asked");
    // Whatever the machine does, a hundred limits are far more than a hundred calls that ask nobody.
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(linked.count().await, Err(Away));
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    redis.thaw();
    eventually("it is asked again", SOON, || async { linked.count().await.ok() }).await;
    linked.end().await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_found_when_it_comes() {
    let mut redis = Server::start().await;
    redis.kill();
    let linked = Linked::to(redis.url(), PATIENT);
    assert_eq!(linked.count().await, Err(Away));
    redis.start_again().await;
    linked.available(true).await;
    assert_eq!(linked.count().await, Ok(Reply::Number(1)));
    linked.end().await;
}

#[tokio::test]
async fn an_error_of_redis_counts_as_no_answer_and_it_is_asked_again_after_a_pause() {
    let redis = Server::start().await;
    let linked = Linked::to(redis.url(), PATIENT);
    linked.available(true).await;
    assert_eq!(linked.link.run("test", &WRONG, &[], &[]).await, Err(Away));
    linked.available(true).await;
    assert_eq!(linked.count().await, Ok(Reply::Number(1)));
    linked.end().await;
}
