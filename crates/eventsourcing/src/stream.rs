//! Names of streams and places in a log. A stream is one aggregate's history; a position is a place in the
//! whole log's order. Neither knows how a log is stored.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::decider::Decider;

/// Longest stream id in bytes. Ids stand in an index beside every event.
pub const MAX_STREAM_ID_BYTES: usize = 255;

/// The name of a stream: `category-key`, such as `account-0190f3c2`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// The stream of the decider `D` with this key.
    ///
    /// Keys are validated where they enter the system; one that makes the id longer than
    /// [`MAX_STREAM_ID_BYTES`] is refused by the append.
    pub fn of<D: Decider>(key: impl fmt::Display) -> Self {
        Self(format!("{}-{key}", D::CATEGORY).into())
    }

    /// A name as it was stored or typed. Without a `-` the whole name is the category.
    pub fn from_name(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `-`.
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }

    /// What stands after the first `-`.
    pub fn key(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, key)| key)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in one log's total order. Outside the process it is the opaque token that [`fmt::Display`] makes.
///
/// Positions of different logs or incarnations cannot be compared: a log that was restored from a backup
/// hands out again numbers that somebody may have seen with other events behind them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which log.
    pub log: String,
    /// Raised whenever the log may have lost commits.
    pub incarnation: i32,
    /// Number of the last event seen; 0 is before the first.
    pub number: i64,
}

/// Why a position token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position that this system handed out")]
pub struct MalformedPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = format!("{}.{}.{}", self.incarnation, self.number, self.log);
        f.write_str(&URL_SAFE_NO_PAD.encode(plain))
    }
}

impl std::str::FromStr for Position {
    type Err = MalformedPosition;

    fn from_str(token: &str) -> Result<Self, MalformedPosition> {
        let plain = URL_SAFE_NO_PAD.decode(token).map_err(|_| MalformedPosition)?;
        let plain = String::from_utf8(plain).map_err(|_| MalformedPosition)?;
        let mut parts = plain.splitn(3, '.');
        let mut next = || parts.next().ok_or(MalformedPosition);
        let incarnation = next()?.parse().map_err(|_| MalformedPosition)?;
        let number = next()?.parse().map_err(|_| MalformedPosition)?;
        let log = next()?.to_owned();
        if number < 0 || incarnation < 1 || log.is_empty() {
            return Err(MalformedPosition);
        }
        Ok(Self { log, incarnation, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_splits_at_its_first_dash() {
        let id = StreamId::from_name("account-a-b");
        assert_eq!((id.category(), id.key()), ("account", "a-b"));
        assert_eq!(StreamId::from_name("account").key(), "");
    }

    #[test]
    fn a_position_survives_its_token() {
        let position = Position { log: "ledger.eu".into(), incarnation: 3, number: 42 };
        assert_eq!(position.to_string().parse(), Ok(position));
    }

    #[test]
    fn a_forged_position_token_is_refused() {
        for token in ["", "x", "%%%", "MS4y", &URL_SAFE_NO_PAD.encode("1.-4.ledger"), &"A".repeat(9000)] {
            assert_eq!(token.parse::<Position>(), Err(MalformedPosition), "{token}");
        }
    }
}
