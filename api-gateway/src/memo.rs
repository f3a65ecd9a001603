//! The JSON of public answers, kept beside the messages that it was made of. JSON is a function of the message alone, so
//! nothing here can be stale: the service is asked for each request, and only writing the same again is saved. Answers that
//! are not for everybody are not kept, since what they hold may have to be forgotten.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderValue;
use rapidhash::v3::rapidhash_v3;

/// Answers that are kept at most; each has one place, by its hash, and the newest has it.
const PLACES: usize = 4096;
/// Largest message with its JSON that is kept, in bytes; together with [`PLACES`] the most that this takes is 16 MiB.
const MAX_KEPT_BYTES: usize = 4096;

/// What an answer is made of besides what is known of each request.
#[derive(Clone, Debug)]
pub struct Written {
    pub body: Bytes,
    pub etag: Option<HeaderValue>,
}

/// Answers of all public routes.
#[derive(Debug)]
pub struct Memo {
    places: Box<[Mutex<Option<Kept>>]>,
}

#[derive(Debug)]
struct Kept {
    /// The route, since the same message may be written in several ways.
    label: Arc<str>,
    message: Bytes,
    written: Written,
}

impl Default for Memo {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect() }
    }
}

impl Memo {
    /// What was written for this message of the route `label`, or what `write` writes now.
    ///
    /// # Errors
    /// Those of `write`; they are not kept.
    pub fn written<E>(
        &self,
        label: &Arc<str>,
        message: &[u8],
        write: impl FnOnce() -> Result<Written, E>,
    ) -> Result<Written, E> {
        let place = &self.places[rapidhash_v3(message) as usize % PLACES];
        // Whoever holds a place does so for some hundred nanoseconds. Writing is always possible: nobody waits.
        if let Ok(kept) = place.try_lock()
            && let Some(kept) = &*kept
            && Arc::ptr_eq(&kept.label, label)
            && kept.message == message
        {
            return Ok(kept.written.clone());
        }
        let written = write()?;
        if message.len() + written.body.len() <= MAX_KEPT_BYTES
            && let Ok(mut kept) = place.try_lock()
        {
            // A copy: the message may be a piece of something much larger.
            let message = Bytes::copy_from_slice(message);
            *kept = Some(Kept { label: Arc::clone(label), message, written: written.clone() });
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the memo says, and whether it was written for this.
    fn ask(memo: &Memo, label: &Arc<str>, message: &[u8], body: &str) -> (Bytes, bool) {
        let mut wrote = false;
        let written = memo.written(label, message, || {
            wrote = true;
            Ok::<_, ()>(Written { body: Bytes::copy_from_slice(body.as_bytes()), etag: None })
        });
        (written.expect("writing succeeds").body, wrote)
    }

    #[test]
    fn the_same_message_of_a_route_is_written_once() {
        let (memo, label) = (Memo::default(), Arc::from("/v1/things/{id}"));
        assert_eq!(ask(&memo, &label, b"one", "{1}"), (Bytes::from("{1}"), true));
        assert_eq!(ask(&memo, &label, b"one", "{never}"), (Bytes::from("{1}"), false));
        assert_eq!(ask(&memo, &label, b"two", "{2}"), (Bytes::from("{2}"), true));
    }

    #[test]
    fn the_same_message_of_another_route_is_written_for_itself() {
        let memo = Memo::default();
        let (one, other) = (Arc::from("/v1/things/{id}"), Arc::from("/v1/thing"));
        ask(&memo, &one, b"one", "{\"thing\":1}");
        assert_eq!(ask(&memo, &other, b"one", "{1}"), (Bytes::from("{1}"), true));
    }

    #[test]
    fn messages_that_share_a_place_are_never_taken_for_each_other() {
        let (memo, label) = (Memo::default(), Arc::from("/"));
        // Three times as many as there are places.
        for round in 0..2 {
            for number in 0..PLACES * 3 {
                let (message, body) = (number.to_string(), format!("{{{number}}}"));
                let (answered, _) = ask(&memo, &label, message.as_bytes(), &body);
                assert_eq!(answered, body, "round {round}");
            }
        }
    }

    #[test]
    fn large_answers_and_failures_are_not_kept() {
        let (memo, label) = (Memo::default(), Arc::from("/"));
        let large = "x".repeat(MAX_KEPT_BYTES);
        ask(&memo, &label, b"large", &large);
        assert!(ask(&memo, &label, b"large", &large).1);
        assert_eq!(memo.written(&label, b"failed", || Err(())).err(), Some(()));
        assert!(ask(&memo, &label, b"failed", "{}").1);
    }
}
