//! The link itself: one multiplexed connection that all calls share, handed out while it answers in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult, TlsCertificates, Value};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::keeper::Keeper;
use crate::{Away, Options, Reply, Script, StartError, names};

#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    /// None while nobody is to ask.
    live: watch::Sender<Option<Live>>,
    prefix: String,
    call_limit: Duration,
}

/// A connection that has answered in time.
#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// Which handing out, so that a late failure of a former one changes nothing.
    number: u64,
}

impl Link {
    pub fn start(
        options: Options,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Result<Self, StartError> {
        let client = client(&options)?;
        let Options { prefix, call_limit, .. } = options;
        let inner = Inner { live: watch::Sender::new(None), prefix, call_limit };
        let link = Self { inner: Arc::new(inner) };
        let keeper = Keeper::new(link.clone(), client);
        tracker.spawn(async move { stop.run_until_cancelled(keeper.run()).await });
        Ok(link)
    }

    pub async fn run(
        &self,
        purpose: &'static str,
        script: &'static Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Reply, Away> {
        let count = |outcome: &'static str| {
            metrics::counter!(names::CALLS, "purpose" => purpose, "outcome" => outcome).increment(1);
        };
        let Some(Live { mut connection, number }) = self.inner.live.borrow().clone() else {
            count("skipped");
            return Err(Away);
        };
        let prepared = script.prepared.get_or_init(|| redis::Script::new(script.text));
        let mut call = prepared.prepare_invoke();
        for key in keys {
            call.key([&self.inner.prefix, *key].concat());
        }
        for argument in arguments {
            call.arg(*argument);
        }
        let begun = Instant::now();
        let answer: Result<RedisResult<Value>, _> =
            tokio::time::timeout(self.inner.call_limit, call.invoke_async(&mut connection)).await;
        match answer {
            Ok(Ok(answer)) => {
                count("ok");
                metrics::histogram!(names::SECONDS, "purpose" => purpose)
                    .record(begun.elapsed().as_secs_f64());
                Ok(reply(answer))
            }
            Ok(Err(error)) => {
                count("failed");
                // The kind and not the text: an answer of Redis may repeat what it was sent.
                self.give_up(number, &format!("{:?}", error.kind()));
                Err(Away)
            }
            Err(_) => {
                count("late");
                self.give_up(number, "it took too long");
                Err(Away)
            }
        }
    }

    pub fn is_available(&self) -> bool {
        self.inner.live.borrow().is_some()
    }

    pub async fn until_available(&self, available: bool) {
        let mut live = self.inner.live.subscribe();
        // It cannot end: the sender lives in self.
        let _ = live.wait_for(|live| live.is_some() == available).await;
    }

    pub fn call_limit(&self) -> Duration {
        self.inner.call_limit
    }

    pub fn hand_out(&self, connection: MultiplexedConnection, number: u64) {
        self.inner.live.send_replace(Some(Live { connection, number }));
        metrics::gauge!(names::AVAILABLE).set(1.0);
        tracing::info!("Redis answers");
    }

    fn give_up(&self, number: u64, why: &str) {
        let gave_up = self.inner.live.send_if_modified(|live| {
            let current = live.as_ref().is_some_and(|live| live.number == number);
            if current {
                *live = None;
            }
            current
        });
        if gave_up {
            metrics::gauge!(names::AVAILABLE).set(0.0);
            tracing::warn!(
                why,
                "Redis is not asked until it answers a ping in time; its users go on without"
            );
        }
    }
}

/// What connects; it has not done so yet.
pub fn client(options: &Options) -> Result<Client, StartError> {
    let url = options.url.as_str();
    let Some(authorities) = &options.authorities else {
        return Client::open(url).map_err(|_| StartError::InvalidUrl);
    };
    if !matches!(CertificateDer::pem_slice_iter(authorities).next(), Some(Ok(_))) {
        return Err(StartError::InvalidAuthority);
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities.clone()) };
    Client::build_with_tls(url, certificates).map_err(|_| StartError::InvalidAuthority)
}

pub fn is_url(text: &str) -> bool {
    Client::open(text).is_ok()
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Int(number) => Reply::Number(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        Value::SimpleString(text) => Reply::Bytes(text.into_bytes()),
        Value::Array(values) => Reply::List(values.into_iter().map(reply).collect()),
        _ => Reply::Nothing,
    }
}
