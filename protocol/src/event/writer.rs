//! The three events that each message brings, written by hand: serde_json looks at every byte on its own, and
//! takes three to five times as long for them.

use super::Message;
use crate::{ConversationId, MessageId, UnixMs, UserId};

/// Room for what an event has besides its content: most need no more.
const EVENT_BYTES: usize = 512;

/// A JSON text in the making.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// With room for a text of so many bytes.
    pub(super) fn with_room(text: usize) -> Self {
        Self(Vec::with_capacity(text + EVENT_BYTES))
    }

    pub(super) fn end(self) -> Vec<u8> {
        self.0
    }

    /// What is JSON already.
    pub(super) fn raw(mut self, json: &str) -> Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A string, escaped.
    pub(super) fn text(mut self, text: &str) -> Self {
        // Without a branch, so that it is done for many bytes at a time.
        let special = text.bytes().fold(false, |special, byte| special | is_special(byte));
        if special {
            serde_json::to_writer(&mut self.0, text).expect("a string can be written to memory");
            return self;
        }
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        self
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    fn conversation(self, id: ConversationId) -> Self {
        self.raw("\"").raw(id.text().as_str()).raw("\"")
    }

    fn message_id(self, id: MessageId) -> Self {
        self.raw("\"").number(id.0).raw("\"")
    }

    fn user(self, id: UserId) -> Self {
        self.raw("\"").number(id.0).raw("\"")
    }

    fn time(self, time: UnixMs) -> Self {
        self.raw("\"").raw(time.text().as_str()).raw("\"")
    }

    /// The members of a message, as `Message` is serialized.
    pub(super) fn message(self, message: &Message<'_>) -> Self {
        self.raw(r#"{"message_id":"#)
            .message_id(message.message_id)
            .raw(r#","client_msg_id":"#)
            .text(message.client_msg_id)
            .raw(r#","conversation_id":"#)
            .conversation(message.conversation_id)
            .raw(r#","sender_id":"#)
            .user(message.sender_id)
            .raw(r#","content":"#)
            .text(message.content)
            .raw(r#","message_type":""#)
            .raw(message.message_type.as_str())
            .raw(r#"","seq_id":"#)
            .number(message.seq_id)
            .raw(r#","created_at":"#)
            .time(message.created_at)
            .raw(r#","trace_id":"#)
            .text(message.trace_id)
            .raw("}")
    }

    /// What every ack begins with.
    pub(super) fn ack(self, temp_message_id: &str, conversation: ConversationId, status: &str) -> Self {
        self.raw(r#"{"type":"message-ack","data":{"tempMessageId":"#)
            .text(temp_message_id)
            .raw(r#","conversationId":"#)
            .conversation(conversation)
            .raw(r#","status":""#)
            .raw(status)
            .raw("\"")
    }

    /// Where a message stands.
    pub(super) fn place(self, message: &Message<'_>) -> Self {
        self.raw(r#","messageId":"#)
            .message_id(message.message_id)
            .raw(r#","seqId":"#)
            .number(message.seq_id)
            .raw(r#","createdAt":"#)
            .time(message.created_at)
    }

    /// The end of an envelope.
    pub(super) fn traced(self, trace_id: &str) -> Self {
        self.raw(r#","trace_id":"#).text(trace_id).raw("}")
    }
}

/// What a JSON string must not hold as it is (RFC 8259, 7).
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}
