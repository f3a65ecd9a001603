//! How much each client may ask for: a quota for each class of routes, taken from a bucket in Redis that all gateways
//! share, or without Redis from one of this process. Redis that is down, slow or emptied makes limits less precise, and
//! the requests of a moment slower by [`redis_link::CALL_LIMIT`]; it never makes an answer another one, nor an error.
//! What is limited here is a client; a gateway that has too much to do for all of them sheds load elsewhere.
//!
//! What Redis says of a bucket is remembered in this process. So limits go on from there when Redis goes away, and a
//! client whose quota is used up is refused without asking Redis: a flood of requests ends here.
//!
//! The headers `RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers.

mod bucket;
mod client;
mod local;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use redis_link::Redis;
use service_runtime::config::ConfigReader;

pub use bucket::{InvalidLimit, Limit, MAX_REQUESTS, MAX_WINDOW};
pub use client::{InvalidNetwork, Network};

use crate::binding::{Binding, RateClass, Role};
use crate::problem::{DOMAIN, Problem};
use bucket::{Standing, TAKE};
use client::{Client, CredentialId};
use local::{Buckets, Generations};

/// The quotas of a class.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of a quota.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The reason of a refusal.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// Reads, unless told otherwise: a page of a shop takes some ten of them, and many people may share an address.
pub const READS: Limit = Limit::a_minute(6000);
/// Changes, unless told otherwise.
pub const CHANGES: Limit = Limit::a_minute(1200);
/// Searches and suggestions, unless told otherwise: one is asked for with every letter that somebody types.
pub const SEARCH: Limit = Limit::a_minute(1200);
/// Orders, unless told otherwise. A guest's open orders have no other bound: what one address can hold of the stock is
/// this times the time that an order stays open.
pub const ORDERS: Limit = Limit::a_minute(60);
/// Buckets and credentials that a process remembers, at most: some 100 bytes each.
pub const MAX_CLIENTS: usize = 100_000;

/// What the calls of limits are called in the metrics of Redis.
const PURPOSE: &str = "rate_limit";
/// Counter: requests that a client's quota refused, by `class`, and by whether this process knew (`local`) or Redis
/// was asked (`shared`).
const REFUSED: &str = "http_rate_limited_total";

/// The quotas of each client.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of what is read.
    pub reads: Limit,
    /// Of what is changed.
    pub changes: Limit,
    /// Of reads that look through much.
    pub search: Limit,
    /// Of orders that are placed.
    pub orders: Limit,
    /// Proxies that are believed who a request comes from. None by default.
    pub trusted_proxies: Vec<Network>,
    /// See [`MAX_CLIENTS`].
    pub max_clients: usize,
    /// What gateways share their buckets in.
    pub redis: Option<Redis>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reads: READS,
            changes: CHANGES,
            search: SEARCH,
            orders: ORDERS,
            trusted_proxies: Vec::new(),
            max_clients: MAX_CLIENTS,
            redis: None,
        }
    }
}

impl Options {
    /// Reads the variables; none when clients are not limited, as `limited` says unless told otherwise. What is shared
    /// is for the caller to add.
    pub fn read(reader: &mut ConfigReader, limited: bool) -> Option<Self> {
        let limited = reader.var("STORELINE_RATE_LIMITS", "whether each client has quotas").default(limited);
        let options = Self {
            reads: limit(reader, "STORELINE_RATE_READS", "a client's quota of reads", READS),
            changes: limit(reader, "STORELINE_RATE_CHANGES", "a client's quota of changes", CHANGES),
            search: limit(reader, "STORELINE_RATE_SEARCH", "a client's quota of searches", SEARCH),
            orders: limit(reader, "STORELINE_RATE_ORDERS", "a client's quota of orders placed", ORDERS),
            trusted_proxies: proxies(reader),
            ..Self::default()
        };
        limited.then_some(options)
    }
}

fn limit(reader: &mut ConfigReader, name: &'static str, help: &'static str, default: Limit) -> Limit {
    let rule = "requests and a time of up to a day, such as 600/60s, 5/1m or 1000/1h";
    let is_limit = |text: &String| text.parse::<Limit>().is_ok();
    let text = reader.var(name, help).check(rule, is_limit).default(default.to_string());
    text.parse().unwrap_or(default)
}

fn proxies(reader: &mut ConfigReader) -> Vec<Network> {
    let help = "proxies whose X-Forwarded-For is believed, with commas in between";
    let are_networks = |texts: &Vec<String>| texts.iter().all(|text| text.parse::<Network>().is_ok());
    let texts: Vec<String> = reader
        .var("STORELINE_TRUSTED_PROXIES", help)
        .check("addresses or networks such as 10.0.0.0/8", are_networks)
        .default(Vec::new());
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// A class and a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    class: RateClass,
    client: Client,
}

/// A quota with what is said of it in every answer.
#[derive(Debug, Clone)]
struct Policy {
    name: &'static str,
    limit: Limit,
    header: HeaderValue,
}

impl Policy {
    fn new(name: &'static str, limit: Limit) -> Self {
        let header = format!("\"{name}\";q={};w={}", limit.requests(), limit.window().as_secs());
        let header = header.try_into().expect("a name and numbers are valid in a header");
        Self { name, limit, header }
    }

    /// What is left, as a header.
    fn left(&self, standing: &Standing) -> HeaderValue {
        let header =
            format!("\"{}\";r={};t={}", self.name, standing.remaining, whole_seconds(standing.reset));
        header.try_into().expect("a name and numbers are valid in a header")
    }
}

/// The buckets of all clients.
#[derive(Debug, Clone)]
pub(crate) struct RateLimits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reads: Policy,
    changes: Policy,
    search: Policy,
    orders: Policy,
    trusted_proxies: Vec<Network>,
    buckets: Buckets<Key>,
    /// Credentials that a service has let through to what only operators or services may call.
    vouched: Generations<CredentialId, bool>,
    redis: Option<Redis>,
}

/// A request that was let through.
#[derive(Debug)]
pub(crate) struct Visit {
    standing: Standing,
    credential: Option<CredentialId>,
}

impl RateLimits {
    pub fn new(options: Options) -> Self {
        let inner = Inner {
            reads: Policy::new("reads", options.reads),
            changes: Policy::new("changes", options.changes),
            search: Policy::new("search", options.search),
            orders: Policy::new("orders", options.orders),
            trusted_proxies: options.trusted_proxies,
            buckets: Buckets::new(options.max_clients),
            vouched: Generations::new(options.max_clients),
            redis: options.redis,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes the request from its client's bucket.
    ///
    /// # Errors
    /// 429 when that is empty.
    pub async fn admit(&self, binding: &Binding, parts: &Parts) -> Result<Visit, Problem> {
        let inner = &self.inner;
        let policy = inner.policy(binding.rate_class);
        let credential = client::credential(&parts.headers);
        let vouched = credential.filter(|id| inner.vouched.get(id).unwrap_or_default());
        let client =
            vouched.map_or_else(|| client::address(parts, &inner.trusted_proxies), Client::Credential);
        let key = Key { class: binding.rate_class, client };
        let (standing, whose) = inner.take(&key, policy).await;
        let Some(retry_after) = standing.retry_after else { return Ok(Visit { standing, credential }) };
        metrics::counter!(REFUSED, "class" => policy.name, "by" => whose).increment(1);
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, format!("the quota of {} is used up", policy.name))
            .because(RATE_LIMITED, DOMAIN)
            .retry_after(retry_after)
            .header(RATE_LIMIT_POLICY, policy.header.clone())
            .header(RATE_LIMIT, policy.left(&standing)))
    }

    /// Says in the answer what is left, and learns from it whether the credential is somebody's.
    pub fn answered(
        &self,
        visit: Visit,
        binding: &Binding,
        answer: Result<Response, Problem>,
    ) -> Result<Response, Problem> {
        let inner = &self.inner;
        let policy = inner.policy(binding.rate_class);
        let left = policy.left(&visit.standing);
        let status = match &answer {
            Ok(response) => response.status(),
            Err(problem) => problem.status(),
        };
        if let Some(credential) = visit.credential {
            if status == StatusCode::UNAUTHORIZED {
                inner.vouched.remove(&credential);
            } else if status.is_success() && matches!(binding.role, Role::Operator | Role::Service) {
                inner.vouched.update(&credential, |_| (true, ()));
            }
        }
        match answer {
            Ok(mut response) => {
                let headers = response.headers_mut();
                headers.insert(RATE_LIMIT_POLICY, policy.header.clone());
                headers.insert(RATE_LIMIT, left);
                Ok(response)
            }
            Err(problem) => {
                Err(problem.header(RATE_LIMIT_POLICY, policy.header.clone()).header(RATE_LIMIT, left))
            }
        }
    }
}

impl Inner {
    fn policy(&self, class: RateClass) -> &Policy {
        match class {
            RateClass::Reads => &self.reads,
            RateClass::Changes => &self.changes,
            RateClass::Search => &self.search,
            RateClass::Orders => &self.orders,
        }
    }

    /// Takes a request from a bucket, and says who knew what is in it.
    async fn take(&self, key: &Key, policy: &Policy) -> (Standing, &'static str) {
        let Some(redis) = self.redis.as_ref().filter(|redis| redis.is_available()) else {
            return (self.buckets.take(key, &policy.limit, Instant::now()), "local");
        };
        if let Some(refusal) = self.buckets.refusal(key, &policy.limit, Instant::now()) {
            return (refusal, "local");
        }
        match shared(redis, key, policy).await {
            Some(standing) => {
                self.buckets.learn(key, &standing, Instant::now());
                (standing, "shared")
            }
            None => (self.buckets.take(key, &policy.limit, Instant::now()), "local"),
        }
    }
}

/// Takes a request from the bucket in Redis, if it answers.
async fn shared(redis: &Redis, key: &Key, policy: &Policy) -> Option<Standing> {
    let (interval, capacity) = (policy.limit.interval().to_string(), policy.limit.capacity().to_string());
    // A changed limit begins with new buckets: the state of one means nothing in another.
    let key = format!("storeline:rate:{}:{}:{}", policy.name, policy.limit, key.client);
    let reply = redis.run(PURPOSE, &TAKE, &[&key], &[interval.as_bytes(), capacity.as_bytes()]).await.ok()?;
    let [allowed, remaining, reset, retry_after] = reply.numbers()?;
    let micros = |number: i64| Duration::from_micros(u64::try_from(number).unwrap_or_default());
    Some(Standing {
        remaining: u32::try_from(remaining).unwrap_or_default(),
        reset: micros(reset),
        retry_after: (allowed == 0).then(|| micros(retry_after)),
    })
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
