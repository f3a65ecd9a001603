//! Every limit of a client, with what it is for.

use std::time::Duration;

use service_runtime::config::ConfigReader;

/// HTTP/2 connections to each replica. One would do for its throughput; a second keeps one lost packet from holding
/// up all calls.
const CONNECTIONS_PER_REPLICA: usize = 2;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a replica may take to say first whether it is ready.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection is asked for a sign of life this often, and given up without one: so long, and as long again as the
/// sign may take, calls wait on a replica that stands still.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the sign may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a connection is tried again, at first; it doubles up to [`MAX_RECONNECT_PAUSE`].
const MIN_RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause before a connection is tried again.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(2);
/// Calls under way at a time, streams not counted.
const MAX_CALLS: usize = 1024;
/// Streams open at a time.
const MAX_STREAMS: usize = 4096;
/// Calls that wait for their turn at a time; more are refused.
const MAX_WAITING: usize = 1024;
/// How long a call waits for its turn, and for a replica that is ready.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// How long a call may take whose caller does not say, and until a stream begins to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries after the first for what a replica may have begun.
const MAX_RETRIES: u32 = 2;
/// Tries after the first for what no replica took.
const MAX_REDIRECTS: u32 = 8;
/// Pause before the first retry, at most: the pause is chosen between zero and this, which doubles each time.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause before a retry.
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Retries for each call, on average.
const RETRY_RATIO: f32 = 0.2;
/// Retries a second that are always allowed.
const MIN_RETRIES_PER_SECOND: u32 = 10;
/// Failures of a replica in a row after which it is left alone.
const EJECT_AFTER: u32 = 5;
/// How long it is left alone at first; this doubles up to [`MAX_EJECTION`].
const EJECTION: Duration = Duration::from_secs(1);
/// Longest time that a replica is left alone before one call tries it.
const MAX_EJECTION: Duration = Duration::from_secs(30);
/// Calls that failed within the last seconds, at least, before the circuit opens.
const CIRCUIT_FAILURES: u32 = 20;
/// How long the circuit stays open at first; this doubles up to [`MAX_CIRCUIT_OPEN`].
const CIRCUIT_OPEN: Duration = Duration::from_secs(1);
/// Longest time that the circuit stays open before one call tries the service.
const MAX_CIRCUIT_OPEN: Duration = Duration::from_secs(15);
/// Longest time between two look-ups of a name, whatever its time to live says: some servers say ten minutes.
const DNS_REFRESH: Duration = Duration::from_secs(15);
/// Shortest time between two look-ups of a name: some servers say zero.
const MIN_DNS_REFRESH: Duration = Duration::from_secs(1);

/// Limits of a client of one service.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub connections_per_replica: usize,
    pub connect_timeout: Duration,
    /// How long a replica may take to say first whether it is ready.
    pub health_timeout: Duration,
    pub keepalive: Duration,
    pub keepalive_timeout: Duration,
    /// Pauses between tries to connect.
    pub reconnect_pause: (Duration, Duration),
    /// Calls under way at a time, streams not counted.
    pub max_calls: usize,
    /// Streams open at a time.
    pub max_streams: usize,
    /// Calls that wait for their turn; more are refused.
    pub max_waiting: usize,
    /// How long a call waits for its turn, and for a replica that is ready.
    pub max_wait: Duration,
    /// How long a call may take whose caller does not say, and until a stream begins to answer.
    pub call_timeout: Duration,
    pub retry: RetryOptions,
    /// Failures in a row after which a replica is left alone.
    pub eject_after: u32,
    /// How long it is left alone, at first and at most.
    pub ejection: (Duration, Duration),
    /// Failed calls before the circuit opens, if they are at least half of all.
    pub circuit_failures: u32,
    /// How long the circuit stays open, at first and at most.
    pub circuit_open: (Duration, Duration),
    /// Time between two look-ups of a name, at least and at most.
    pub dns_refresh: (Duration, Duration),
}

/// What may be repeated, and how often.
#[derive(Clone, Debug)]
pub struct RetryOptions {
    /// Tries after the first for what a replica may have begun.
    pub max_retries: u32,
    /// Tries after the first for what no replica took.
    pub max_redirects: u32,
    /// Pause before a retry, at first and at most; half of it on average.
    pub pause: (Duration, Duration),
    /// Retries for each call on average, and those a second that are always allowed.
    pub budget: (f32, u32),
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connections_per_replica: CONNECTIONS_PER_REPLICA,
            connect_timeout: CONNECT_TIMEOUT,
            health_timeout: HEALTH_TIMEOUT,
            keepalive: KEEPALIVE,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
            reconnect_pause: (MIN_RECONNECT_PAUSE, MAX_RECONNECT_PAUSE),
            max_calls: MAX_CALLS,
            max_streams: MAX_STREAMS,
            max_waiting: MAX_WAITING,
            max_wait: MAX_WAIT,
            call_timeout: CALL_TIMEOUT,
            retry: RetryOptions {
                max_retries: MAX_RETRIES,
                max_redirects: MAX_REDIRECTS,
                pause: (RETRY_PAUSE, MAX_RETRY_PAUSE),
                budget: (RETRY_RATIO, MIN_RETRIES_PER_SECOND),
            },
            eject_after: EJECT_AFTER,
            ejection: (EJECTION, MAX_EJECTION),
            circuit_failures: CIRCUIT_FAILURES,
            circuit_open: (CIRCUIT_OPEN, MAX_CIRCUIT_OPEN),
            dns_refresh: (MIN_DNS_REFRESH, DNS_REFRESH),
        }
    }
}

impl ClientOptions {
    /// Reads what an installation may want to set; the rest is as [`default`](Self::default) has it.
    pub fn read(reader: &mut ConfigReader) -> Self {
        let mut options = Self::default();
        options.connections_per_replica = reader
            .var("STORELINE_CONNECTIONS_PER_REPLICA", "HTTP/2 connections to each replica of a service")
            .range(1..=16)
            .default(options.connections_per_replica);
        options.max_calls = reader
            .var("STORELINE_BACKEND_MAX_CALLS", "calls to one service under way at a time")
            .range(1..=100_000)
            .default(options.max_calls);
        options.max_waiting = reader
            .var("STORELINE_BACKEND_MAX_WAITING", "calls to one service that wait at a time")
            .range(1..=100_000)
            .default(options.max_waiting);
        options.max_wait = reader
            .var(
                "STORELINE_BACKEND_MAX_WAIT",
                "how long a call waits for its turn and for a replica that is ready",
            )
            .range(Duration::from_millis(1)..=Duration::from_secs(60))
            .default(options.max_wait);
        options.dns_refresh.1 = reader
            .var("STORELINE_DNS_REFRESH", "longest time between two look-ups of a service's name")
            .range(MIN_DNS_REFRESH..=Duration::from_secs(600))
            .default(options.dns_refresh.1);
        options
    }
}
