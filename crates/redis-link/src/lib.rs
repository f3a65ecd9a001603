//! The way to Redis, for whoever can do without it: a cache, or counters whose precision matters less than an answer.
//! A call takes [`Options::call_limit`] at most, and after one that failed or took longer nobody asks Redis until a
//! task of the link's own has had a timely answer again: so a Redis that is down, slow or hanging costs the calls of
//! that moment their limit, and later ones nothing. It is deliberately no way to keep anything: there are no retries,
//! and every caller must know what to do without an answer.
//!
//! Without the feature `client` all of this is there but the client: [`Redis::start`] refuses. So what uses a link is
//! the same code in a program that is built without.

#[cfg(feature = "client")]
mod client;
#[cfg(not(feature = "client"))]
#[path = "absent.rs"]
mod client;
#[cfg(feature = "client")]
mod keeper;

use std::fmt;
use std::time::Duration;

use service_runtime::Secret;
use service_runtime::config::ConfigReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a call may take, unless told otherwise. Redis answers within 0.2 ms from the same network; what takes
/// longer than this is slower than what it would spare.
pub const CALL_LIMIT: Duration = Duration::from_millis(10);
/// How long connecting, or the answer to a ping, may take. Nobody waits for it but the link itself.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest time between two attempts to reach a Redis that does not answer.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest [`Options::prefix`], in characters.
const LONGEST_PREFIX: usize = 100;

/// Names of the variables that [`Options::read`] reads.
pub mod variables {
    pub const URL: &str = "STORELINE_REDIS_URL";
    pub const CA_FILE: &str = "STORELINE_REDIS_CA_FILE";
    pub const PREFIX: &str = "STORELINE_REDIS_PREFIX";
}

/// Names of the metrics that a link records.
pub mod names {
    /// Counter: calls by `purpose` and `outcome`: `ok`, `failed`, `late`, and `skipped` while Redis is taken for away.
    pub const CALLS: &str = "redis_calls_total";
    /// Histogram: seconds that answered calls took, by `purpose`.
    pub const SECONDS: &str = "redis_call_seconds";
    /// Gauge: 1 while Redis is asked, else 0.
    pub const AVAILABLE: &str = "redis_available";
}

/// Where Redis is, and how long it may take.
#[derive(Clone)]
pub struct Options {
    /// `redis://` or `rediss://` with host, and user, password, port and database number if needed.
    pub url: String,
    /// Certificates, of PEM, of the authorities that may have signed that of a `rediss://`; the system's if there are none.
    pub authorities: Option<Vec<u8>>,
    /// Before every key. Shops that share a Redis have one each, or a database number.
    pub prefix: String,
    /// See [`CALL_LIMIT`].
    pub call_limit: Duration,
}

impl Options {
    /// The defaults, for this Redis.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), authorities: None, prefix: String::new(), call_limit: CALL_LIMIT }
    }

    /// Reads where Redis is, if there is one; `help` says what for.
    pub fn read(reader: &mut ConfigReader, help: &'static str) -> Option<Self> {
        let url: Option<Secret> = reader
            .var(variables::URL, help)
            .check("a URL such as redis://host:6379/0", |url: &Secret| is_url(url.expose()))
            .optional();
        let file: Option<String> = reader
            .var(
                variables::CA_FILE,
                "PEM file of the authority of Redis' certificate, if not one of the system's",
            )
            .check("a file that can be read", |path: &String| std::fs::read(path).is_ok())
            .optional();
        let prefix = reader
            .var(variables::PREFIX, "before every key, so that shops can share a Redis")
            .check("at most 100 characters", |prefix: &String| prefix.chars().count() <= LONGEST_PREFIX)
            .default(String::new());
        if file.is_some() && !url.as_ref().is_some_and(|url| url.expose().starts_with("rediss://")) {
            reader.problem(
                variables::CA_FILE,
                format!("is of no use unless {} is rediss://..", variables::URL),
            );
        }
        let authorities = file.and_then(|path| std::fs::read(path).ok());
        url.map(|url| Self { authorities, prefix, ..Self::new(url.expose()) })
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, authorities: _, prefix, call_limit } = self;
        f.debug_struct("Options")
            .field("prefix", prefix)
            .field("call_limit", call_limit)
            .finish_non_exhaustive()
    }
}

/// Why there is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Its text is not told, since it may hold a password.
    #[error("the URL of Redis must be like redis://host:6379/0 or rediss://user:password@host:6379/0")]
    InvalidUrl,
    #[error("the authority of Redis' certificate must be given as certificates of PEM")]
    InvalidAuthority,
    #[error("this program was built without a client for Redis")]
    NoClient,
}

/// Redis gave no answer in time. What was asked for may have happened or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis gave no answer in time")]
pub struct Away;

/// What Redis is asked to do: a script, which happens as a whole or not at all.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    #[cfg(feature = "client")]
    prepared: std::sync::OnceLock<redis::Script>,
}

impl Script {
    /// A script in Lua; it reads `KEYS` and `ARGV`.
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            #[cfg(feature = "client")]
            prepared: std::sync::OnceLock::new(),
        }
    }

    /// The script as it is written.
    pub fn text(&self) -> &'static str {
        self.text
    }
}

/// What a script returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nothing,
    Number(i64),
    Bytes(Vec<u8>),
    List(Vec<Reply>),
}

impl Reply {
    /// The number, if it is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The numbers of a list, if it has nothing else and so many.
    pub fn numbers<const N: usize>(&self) -> Option<[i64; N]> {
        let Self::List(list) = self else { return None };
        let numbers: Option<Vec<i64>> = list.iter().map(Self::number).collect();
        numbers?.try_into().ok()
    }
}

/// A link to one Redis. Clones share it.
#[derive(Clone)]
pub struct Redis {
    link: client::Link,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("available", &self.is_available()).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects, and connects again, on a task of `tracker` until `stop`. It returns at once: until Redis has answered,
    /// calls are answered with [`Away`].
    ///
    /// # Errors
    /// When the URL or the authority is none, or the program has no client.
    pub fn start(
        options: Options,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Result<Self, StartError> {
        Ok(Self { link: client::Link::start(options, stop, tracker)? })
    }

    /// Runs a script, unless Redis is taken for away. Before `keys` comes the link's prefix. `purpose` names the caller in metrics.
    ///
    /// # Errors
    /// When there is no answer in time, or Redis answers with an error: then nobody asks again until it has answered a
    /// ping in time.
    pub async fn run(
        &self,
        purpose: &'static str,
        script: &'static Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Reply, Away> {
        self.link.run(purpose, script, keys, arguments).await
    }

    /// Whether Redis is asked at the moment.
    pub fn is_available(&self) -> bool {
        self.link.is_available()
    }

    /// Waits until Redis is asked, or is not any more.
    pub async fn until_available(&self, available: bool) {
        self.link.until_available(available).await;
    }
}

/// Whether a text can be the URL of a Redis.
pub fn is_url(text: &str) -> bool {
    let scheme = ["redis://", "rediss://"].iter().any(|scheme| text.starts_with(scheme));
    scheme && client::is_url(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_of_two_schemes_and_a_host() {
        for right in [
            "redis://127.0.0.1:6379",
            "redis://cache/3",
            "rediss://me:pw@cache.example:6380/0",
            "redis://[::1]:1",
        ] {
            assert!(is_url(right), "{right}");
        }
        for wrong in [
            "",
            "127.0.0.1:6379",
            "http://cache",
            "redis://",
            "redis://cache/x",
            "unix:///tmp/s",
            "redis+unix:///s",
        ] {
            assert!(!is_url(wrong), "{wrong}");
        }
    }

    #[test]
    fn every_wrong_variable_is_named_and_what_would_be_ignored_too() {
        let problems = |values: &[(&str, &str)]| {
            let mut reader = ConfigReader::from_map(values.iter().copied());
            let options = Options::read(&mut reader, "a cache");
            let errors = reader.finish(options).map(drop).unwrap_err();
            errors.problems().iter().map(|problem| problem.name.to_string()).collect::<Vec<_>>()
        };
        let long = "x".repeat(LONGEST_PREFIX + 1);
        let wrong = [
            (variables::URL, "cache:6379"),
            (variables::CA_FILE, "/nowhere/ca.pem"),
            (variables::PREFIX, &long),
        ];
        assert_eq!(problems(&wrong), [variables::URL, variables::CA_FILE, variables::PREFIX]);
        let ignored = [(variables::URL, "redis://cache:6379"), (variables::CA_FILE, "/dev/null")];
        assert_eq!(problems(&ignored), [variables::CA_FILE]);
    }

    #[test]
    fn what_is_printed_never_holds_the_url() {
        let options = Options::new("redis://me:hunter2@cache");
        assert!(!format!("{options:?} {:?}", StartError::InvalidUrl).contains("hunter2"));
    }

    #[test]
    fn a_list_is_numbers_only_when_all_of_it_is_and_it_has_the_right_length() {
        let list = Reply::List(vec![Reply::Number(1), Reply::Number(2)]);
        assert_eq!(list.numbers(), Some([1, 2]));
        assert_eq!(list.numbers::<3>(), None);
        assert_eq!(Reply::List(vec![Reply::Nothing]).numbers::<1>(), None);
        assert_eq!(Reply::Number(1).numbers::<1>(), None);
    }
}
