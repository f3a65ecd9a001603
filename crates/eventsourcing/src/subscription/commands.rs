//! What a reactor issues its commands under: contexts that are the same for every delivery of a message, and a span for
//! what the message leads to.

use std::sync::OnceLock;

use tracing::Span;
use uuid::Uuid;

use crate::command::{CommandContext, Metadata};
use crate::feed::Message;
use crate::trace;

/// Makes the contexts of the commands that one message leads to.
#[derive(Clone, Debug)]
pub struct Commands {
    subscription: &'static str,
    message_id: Uuid,
    metadata: Metadata,
    /// What the span of these commands says of the message; `None` when nobody collects spans.
    about: Option<About>,
    /// Open from the first context to the end of this value. What leads to no command has no span: most messages of a
    /// feed are for others.
    span: OnceLock<(Span, Metadata)>,
}

#[derive(Clone, Debug)]
struct About {
    event_type: String,
    key: String,
}

impl Commands {
    /// For tests of reactors and for callers that handle a message by hand.
    pub fn for_message(subscription: &'static str, message: &impl Message) -> Self {
        let metadata = Metadata { actor: subscription.to_owned(), ..message.metadata() };
        let about = trace::is_collected()
            .then(|| About { event_type: message.event_type().to_owned(), key: message.key().to_owned() });
        Self { subscription, message_id: message.id(), metadata, about, span: OnceLock::new() }
    }

    /// The context of the command number `ordinal`: the same for every delivery of the message, but for its trace.
    pub fn context(&self, ordinal: u32) -> CommandContext {
        let metadata = match &self.about {
            Some(about) => &self.span.get_or_init(|| self.open_span(about)).1,
            None => &self.metadata,
        };
        CommandContext::derived(self.subscription, self.message_id, ordinal, metadata.clone())
    }

    fn open_span(&self, about: &About) -> (Span, Metadata) {
        let mut metadata = self.metadata.clone();
        let span = trace::follow(&mut metadata, || {
            tracing::info_span!(
                "message",
                otel.name = self.subscription,
                otel.kind = "consumer",
                subscription = self.subscription,
                event_type = about.event_type,
                event_id = %self.message_id,
                stream = about.key,
            )
        });
        (span, metadata)
    }
}
