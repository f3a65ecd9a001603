//! Named places at which a test can have the process die, as by a power cut, at the n-th passing. In release builds
//! they are nothing at all, so no user can reach them; they inject no errors and no delays, only the end.
//!
//! A debug build reads `STORELINE_FAULT=append.after:17` once and aborts at the 17th passing of that point, without
//! unwinding, destructors or flushing: what is left is what a kill -9 leaves.

/// Every point but [those of a relay](RELAY_POINTS), in the order in which a command and what follows from it meet them. Tests go through all of them, and
/// a debug build refuses to pass a point that is not listed.
pub const POINTS: [&str; 14] = [
    // A batch is decided; the database has, or has answered, its append.
    "append.before",
    "append.after",
    // The events are durable; nobody, or everybody, who waits for the batch has been answered.
    "reply.before",
    "reply.after",
    // A page of a feed was read for a subscription; it was handled.
    "publish.before",
    "publish.after",
    // A page's effect is there; its position is not, or is, committed.
    "checkpoint.before",
    "checkpoint.after",
    // A worker looks for tasks that are due; it has claimed one, and is about to run it.
    "claim.before",
    "claim.after",
    // A task calls outside; it has the answer.
    "outside.before",
    "outside.after",
    // A task was run; its outcome is stored.
    "settle.before",
    "settle.after",
];

/// The points of a relay, which a process without Kafka never passes.
pub const RELAY_POINTS: [&str; 3] = [
    // Events were read for the topic, and none of them is sent.
    "relay.before",
    // The topic has, or the database has too, how far the topic is.
    "relay.acknowledged",
    "relay.stored",
];

/// Names the point and the passing, as in `append.after:17`.
pub const VARIABLE: &str = "STORELINE_FAULT";

/// Passes a point, or dies there if a test wants that.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    debug::pass(name);
}

/// Passes a point: nothing happens in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}

#[cfg(debug_assertions)]
mod debug {
    use std::io::Write;
    use std::process::abort;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{POINTS, RELAY_POINTS, VARIABLE};

    /// Where to die, and how many passings are left until then.
    struct Fault {
        point: &'static str,
        left: AtomicU64,
    }

    static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let wanted = std::env::var(VARIABLE).ok()?;
        match parse(&wanted) {
            Some(fault) => Some(fault),
            None => {
                end(&format!("{VARIABLE} is not a point and a passing, such as append.after:17: {wanted}"))
            }
        }
    });

    fn all() -> impl Iterator<Item = &'static str> {
        POINTS.into_iter().chain(RELAY_POINTS)
    }

    fn parse(wanted: &str) -> Option<Fault> {
        let (name, passing) = wanted.split_once(':')?;
        let point = all().find(|point| *point == name)?;
        let left = passing.parse().ok().filter(|passing| *passing > 0)?;
        Some(Fault { point, left: AtomicU64::new(left) })
    }

    pub fn pass(name: &'static str) {
        assert!(all().any(|point| point == name), "the point {name} is not listed");
        let Some(fault) = FAULT.as_ref().filter(|fault| fault.point == name) else { return };
        // After the last passing it wraps around; nobody gets to see that.
        if fault.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            end(&format!("fault: {name} is reached, and this process ends as if it were killed"));
        }
    }

    fn end(why: &str) -> ! {
        // Whether it can be said does not matter any more.
        let _ = writeln!(std::io::stderr(), "{why}");
        abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_fault_is_a_listed_point_and_a_passing_from_one_on() {
            let fault = parse("append.after:17").unwrap();
            assert_eq!((fault.point, fault.left.into_inner()), ("append.after", 17));
            for wrong in
                ["", "append.after", "append.after:0", "append.after:x", "nowhere:1", "append.after:-1"]
            {
                assert!(parse(wrong).is_none(), "{wrong}");
            }
        }
    }
}
