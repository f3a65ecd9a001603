//! One bucket, as pure arithmetic: so many requests at once, and as many again over each window, evenly. It is the
//! generic cell rate algorithm, whose whole state is one time: when the requests that were let through would all have
//! arrived, had they come evenly. The same stands here in Rust, for one process, and in Lua, for all that share a Redis;
//! a test holds the two together.

use std::str::FromStr;
use std::time::Duration;

use redis_link::Script;

/// Most requests in a window.
pub const MAX_REQUESTS: u32 = 1_000_000;
/// Longest window.
pub const MAX_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// A quota: so many requests at once, and as many again over each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    requests: u32,
    window: Duration,
}

/// A text is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a limit is 1 to {MAX_REQUESTS} requests in whole seconds, minutes or hours of at most a day, such as 600/1m"
)]
pub struct InvalidLimit;

impl Limit {
    /// # Errors
    /// When there is no request or no whole second in it, or more than [`MAX_REQUESTS`] or [`MAX_WINDOW`].
    pub const fn new(requests: u32, window: Duration) -> Result<Self, InvalidLimit> {
        let seconds = window.as_secs();
        if requests == 0 || requests > MAX_REQUESTS || seconds == 0 || seconds > MAX_WINDOW.as_secs() {
            return Err(InvalidLimit);
        }
        Ok(Self { requests, window: Duration::from_secs(seconds) })
    }

    /// A limit of so many requests a minute, which is a constant of this program.
    pub(super) const fn a_minute(requests: u32) -> Self {
        Self { requests, window: Duration::from_secs(60) }
    }

    /// Requests in a window.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Whole seconds.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Between two requests that come evenly, in microseconds.
    pub fn interval(&self) -> u64 {
        (micros(self.window) / u64::from(self.requests)).max(1)
    }

    /// How far ahead of the clock a bucket may be, in microseconds: then nothing is left in it.
    pub fn capacity(&self) -> u64 {
        self.interval() * u64::from(self.requests)
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}s", self.requests, self.window.as_secs())
    }
}

impl FromStr for Limit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let (requests, window) = text.split_once('/').ok_or(InvalidLimit)?;
        let window = window.trim();
        let split = window.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidLimit)?;
        let (amount, unit) = window.split_at(split);
        let seconds: u64 = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(InvalidLimit),
        };
        let amount: u64 = if amount.is_empty() { 1 } else { amount.parse().map_err(|_| InvalidLimit)? };
        let window = Duration::from_secs(amount.checked_mul(seconds).ok_or(InvalidLimit)?);
        Self::new(requests.trim().parse().map_err(|_| InvalidLimit)?, window)
    }
}

/// What a bucket said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests that could follow at once; none when this one was refused.
    pub remaining: u32,
    /// Until the bucket is full again, if nothing comes.
    pub reset: Duration,
    /// Set when the request is refused: one that comes after so long is let through, unless others were before it.
    pub retry_after: Option<Duration>,
}

/// Takes a request from a bucket whose state is `ahead`, a time in microseconds on the clock of `now`; 0 is a full one.
/// A state further ahead than can be, as after a clock was set back, counts as an empty bucket. Returns the new state.
pub fn take(ahead: u64, now: u64, limit: &Limit) -> (u64, Standing) {
    let (interval, capacity) = (limit.interval(), limit.capacity());
    let ahead = ahead.clamp(now, now.saturating_add(capacity));
    let next = ahead.saturating_add(interval);
    let used = next - now;
    if used > capacity {
        let retry_after = Some(Duration::from_micros(used - capacity));
        let standing = Standing { remaining: 0, reset: Duration::from_micros(ahead - now), retry_after };
        return (ahead, standing);
    }
    let remaining = u32::try_from((capacity - used) / interval).unwrap_or(u32::MAX);
    (next, Standing { remaining, reset: Duration::from_micros(used), retry_after: None })
}

/// What [`TAKE`] does at a time, which a test gives a clock of its own.
macro_rules! take_at_now {
    () => {
        "local interval, capacity = tonumber(ARGV[1]), tonumber(ARGV[2]) \
         local ahead = tonumber(redis.call('GET', KEYS[1]) or '0') or 0 \
         ahead = math.min(math.max(ahead, now), now + capacity) \
         local next = ahead + interval \
         local used = next - now \
         if used > capacity then return {0, 0, ahead - now, used - capacity} end \
         redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil(used / 1000)) \
         return {1, math.floor((capacity - used) / interval), used, 0}"
    };
}
/// [`take`] on Redis' own clock, which all gateways share. KEYS: the bucket. ARGV: interval and capacity in microseconds.
/// Returns whether it is let through, what remains, and after how many microseconds the bucket is full and a refused
/// request would be let through. The key ends when its bucket is full again.
pub static TAKE: Script = Script::new(concat!(
    "local time = redis.call('TIME') ",
    "local now = time[1] * 1000000 + time[2] ",
    take_at_now!()
));

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_link::Redis;
    use testkit::SOON;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// The Lua of [`TAKE`], with the clock in ARGV.
    static TAKE_AT: Script = Script::new(concat!("local now = tonumber(ARGV[3]) ", take_at_now!()));

    #[test]
    fn a_limit_is_written_as_requests_and_a_window() {
        let limit = |text: &str| text.parse::<Limit>().map(|limit| (limit.requests, limit.window.as_secs()));
        assert_eq!(limit("600/1m"), Ok((600, 60)));
        assert_eq!(limit(" 5 / 10s "), Ok((5, 10)));
        assert_eq!(limit("1000000/24h"), Ok((1_000_000, 86_400)));
        assert_eq!(limit("3/h"), Ok((3, 3600)));
        for wrong in [
            "",
            "5",
            "0/1m",
            "1000001/1m",
            "5/0s",
            "5/25h",
            "5/1d",
            "-1/1m",
            "5/1.5s",
            "5/99999999999999999999h",
        ] {
            assert_eq!(limit(wrong), Err(InvalidLimit), "{wrong}");
        }
        assert_eq!("600/1m".parse::<Limit>().unwrap().to_string(), "600/60s");
    }

    #[test]
    fn what_is_refused_is_let_through_after_the_time_that_was_told_and_not_before() {
        let limit = Limit::new(3, Duration::from_secs(10)).unwrap();
        let (mut state, mut now) = (0, 5_000_000);
        for left in [2, 1, 0] {
            let (next, standing) = take(state, now, &limit);
            assert_eq!((standing.remaining, standing.retry_after), (left, None));
            state = next;
        }
        let (next, refused) = take(state, now, &limit);
        let wait = refused.retry_after.expect("the bucket is empty");
        assert_eq!((next, refused.remaining, refused.reset), (state, 0, Duration::from_micros(9_999_999)));
        now += micros(wait);
        assert!(take(state, now - 1, &limit).1.retry_after.is_some());
        assert_eq!(take(state, now, &limit).1.retry_after, None);
    }

    #[test]
    fn a_clock_that_was_set_back_empties_a_bucket_and_never_more() {
        let limit = Limit::new(10, Duration::from_secs(1)).unwrap();
        let (state, refused) = take(u64::MAX, 1_000, &limit);
        assert_eq!(state, 1_000 + limit.capacity());
        assert!(refused.retry_after.unwrap() <= Duration::from_micros(limit.interval()));
    }

    /// A bucket as one would describe it: tokens that come back one by one, in fractions of an interval.
    struct Model {
        /// In microseconds of refilling; the capacity is a full one.
        level: u64,
        at: u64,
    }

    impl Model {
        fn take(&mut self, now: u64, limit: &Limit) -> bool {
            self.level = (self.level + (now - self.at)).min(limit.capacity());
            self.at = now;
            let enough = self.level >= limit.interval();
            if enough {
                self.level -= limit.interval();
            }
            enough
        }
    }

    fn limits() -> impl Strategy<Value = Limit> {
        (1u32..2000, 1u64..120).prop_map(|(requests, seconds)| {
            Limit::new(requests, Duration::from_secs(seconds)).expect("the ranges are those of a limit")
        })
    }

    /// Mostly bursts, now and then a pause that refills some of a bucket, or all of it.
    fn pauses() -> impl Strategy<Value = Vec<u64>> {
        let pause =
            prop_oneof![4 => Just(0u64), 3 => 0u64..50_000, 2 => 0u64..5_000_000, 1 => 0u64..200_000_000];
        prop::collection::vec(pause, 1..400)
    }

    proptest! {
        #[test]
        fn a_bucket_does_what_one_of_tokens_does(limit in limits(), pauses in pauses()) {
            let (mut state, mut now) = (0, 1_000_000_000);
            let mut model = Model { level: limit.capacity(), at: now };
            for pause in pauses {
                now += pause;
                let allowed = model.take(now, &limit);
                let (next, standing) = take(state, now, &limit);
                state = next;
                prop_assert_eq!(standing.retry_after.is_none(), allowed);
                prop_assert_eq!(u64::from(standing.remaining), if allowed { model.level / limit.interval() } else { 0 });
                prop_assert_eq!(micros(standing.reset), limit.capacity() - model.level);
            }
        }

        #[test]
        fn no_window_lets_more_through_than_two_quotas(limit in limits(), pauses in pauses()) {
            let (mut state, mut now, mut passed) = (0, 1_000_000_000, Vec::new());
            for pause in pauses {
                now += pause;
                let (next, standing) = take(state, now, &limit);
                state = next;
                if standing.retry_after.is_none() {
                    passed.push(now);
                }
            }
            for (index, begin) in passed.iter().enumerate() {
                let within = passed[index..].iter().take_while(|at| **at - begin < micros(limit.window())).count();
                // What was in the bucket, and what came back meanwhile.
                prop_assert!(within <= 2 * limit.requests() as usize, "{within} in {limit}");
            }
        }
    }

    #[tokio::test]
    async fn the_script_does_what_the_function_does() {
        let server = testkit::redis::Redis::start().await;
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let options = redis_link::Options { call_limit: SOON, ..redis_link::Options::new(server.url()) };
        let redis = Redis::start(options, stop.clone(), &tracker).unwrap();
        tokio::time::timeout(SOON, redis.until_available(true)).await.unwrap();
        // A clock like that of Redis, whose microseconds need more than 32 bits.
        let mut now = 1_750_000_000_000_000_u64;
        for (round, (requests, window)) in
            [(3, 10), (1, 1), (7, 3), (1000, 60), (999_983, 86_400)].into_iter().enumerate()
        {
            let limit = Limit::new(requests, Duration::from_secs(window)).unwrap();
            let (key, mut state) = (format!("bucket {round}"), 0);
            for step in 0..40_u64 {
                // 0 for bursts, and then ever longer pauses, with odd microseconds.
                now += if step % 8 < 4 { 0 } else { limit.interval() * (step % 5) / 3 + step };
                let (next, expected) = take(state, now, &limit);
                state = next;
                let arguments = [limit.interval(), limit.capacity(), now].map(|number| number.to_string());
                let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
                let reply = redis.run("test", &TAKE_AT, &[&key], &arguments).await.unwrap();
                let allowed = i64::from(expected.retry_after.is_none());
                let retry = micros(expected.retry_after.unwrap_or_default()).cast_signed();
                let expected =
                    [allowed, i64::from(expected.remaining), micros(expected.reset).cast_signed(), retry];
                assert_eq!(reply.numbers(), Some(expected), "{limit}, step {step}");
            }
        }
        stop.cancel();
    }
}
