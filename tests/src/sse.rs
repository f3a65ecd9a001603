//! Server-sent events as the WHATWG specification frames them, as far as the shop uses it.

use reqwest::Response;
use serde_json::Value;

use crate::ANSWER_DEADLINE;

/// An open stream of events.
#[derive(Debug)]
pub struct Events {
    line: String,
    response: Response,
    received: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerSent {
    /// What to continue after, as `Last-Event-ID`.
    pub id: String,
    /// Its name.
    pub event: String,
    /// Its content.
    pub data: String,
}

impl ServerSent {
    /// The content.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// None for a block of comments and fields that make no event.
    fn parse(block: &str) -> Option<Self> {
        let mut event = Self { event: "message".to_owned(), ..Self::default() };
        let mut data = Vec::new();
        for line in block.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => event.id = value.to_owned(),
                "event" => event.event = value.to_owned(),
                "data" => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        (!data.is_empty()).then_some(event)
    }
}

impl Events {
    pub(crate) fn new(line: String, response: Response) -> Self {
        Self { line, response, received: Vec::new() }
    }

    /// The next event; None when the stream was closed or broke off.
    ///
    /// # Panics
    /// When nothing comes for [`ANSWER_DEADLINE`].
    pub async fn next(&mut self) -> Option<ServerSent> {
        match tokio::time::timeout(ANSWER_DEADLINE, self.next_event()).await {
            Ok(event) => event,
            Err(_) => panic!("{}: no event within {ANSWER_DEADLINE:?}", self.line),
        }
    }

    async fn next_event(&mut self) -> Option<ServerSent> {
        loop {
            while let Some(block) = self.block() {
                if let Some(event) = ServerSent::parse(&block) {
                    return Some(event);
                }
            }
            self.received.extend_from_slice(&self.response.chunk().await.ok()??);
        }
    }

    /// Takes what stands before the next empty line.
    fn block(&mut self) -> Option<String> {
        let end = self.received.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.received.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&block).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_fields_of_its_block_and_comments_are_none() {
        let event = ServerSent::parse("id: 7\nevent: end\ndata: {\"a\":\ndata: 1}\n\n").unwrap();
        assert_eq!(
            (event.id.as_str(), event.event.as_str(), event.data.as_str()),
            ("7", "end", "{\"a\":\n1}")
        );
        assert_eq!(ServerSent::parse("data:x").unwrap().event, "message");
        assert_eq!(ServerSent::parse(": keep-alive\n\n"), None);
        assert_eq!(ServerSent::parse(": open\nretry: 1000\n\n"), None);
    }
}
