//! What accompanies a command: who sent it, under which id, and as part of which flow. The command itself is
//! an [`Operation`](crate::Operation).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What every event records about the flow that it belongs to. It holds no personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The same for everything that one request from outside set off.
    pub correlation_id: String,
    /// The event or command that directly led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// Who asked: a role or a pseudonym, never a name.
    pub actor: String,
    /// W3C Trace Context of the span that issued the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// How long the answer to a command is kept for repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// 7 days at least ([`ANSWERS_KEPT`](crate::log::ANSWERS_KEPT)): the command came from a client.
    Client,
    /// As long as the log: the command was derived from an event, which can always be replayed.
    Derived,
}

/// Identity and origin of one command.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// Caller and method. Command ids are only compared within a scope, so nobody replays another's answer.
    pub scope: String,
    /// The same for every repeat of the same command.
    pub command_id: Uuid,
    /// Fingerprint of the request. A repeat with another fingerprint is an error and not a replay.
    pub request_hash: [u8; 32],
    pub metadata: Metadata,
    pub retention: Retention,
}

/// Namespace of the command ids that are derived from messages.
const DERIVED: Uuid = Uuid::from_u128(0x6b1d_4a0e_53c9_4f0e_9a57_2f6d_0c86_e1b4);

impl CommandContext {
    /// The context of a command that `subscription` issues in answer to a message. Equal arguments give the
    /// same command id, so a message that is delivered twice has its effect once.
    ///
    /// `ordinal` tells the commands apart that one message leads to.
    pub fn derived(subscription: &str, message_id: Uuid, ordinal: u32, metadata: Metadata) -> Self {
        let name = format!("{subscription}\n{message_id}\n{ordinal}");
        Self {
            scope: format!("subscription:{subscription}"),
            command_id: Uuid::new_v5(&DERIVED, name.as_bytes()),
            request_hash: [0; 32],
            metadata,
            retention: Retention::Derived,
        }
    }
}
