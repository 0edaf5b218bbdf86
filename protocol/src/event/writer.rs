//! The three events that each message brings, written by hand: serde_json looks at every byte on its own, and
//! takes about three times as long for them.

use super::Message;
use crate::ConversationId;

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
    #[inline]
    pub(super) fn raw(mut self, json: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(json.as_ref());
        self
    }

    /// A string, escaped.
    fn text(mut self, text: &str) -> Self {
        // Without a branch, so that it is done for many bytes at a time.
        let special = text.bytes().fold(false, |special, byte| special | is_special(byte));
        if special {
            serde_json::to_writer(&mut self.0, text).expect("a string can be written to memory");
            return self;
        }
        self.raw("\"").raw(text).raw("\"")
    }

    /// A number's digits; an id is a string, and its quotes stand beside it.
    #[inline]
    fn number(self, number: u64) -> Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    /// The members of a message, as `Message` is serialized.
    pub(super) fn message(self, message: &Message<'_>) -> Self {
        self.raw(r#"{"message_id":""#)
            .number(message.message_id.0)
            .raw(r#"","client_msg_id":"#)
            .text(message.client_msg_id)
            .raw(r#","conversation_id":""#)
            .raw(message.conversation_id.text().as_bytes())
            .raw(r#"","sender_id":""#)
            .number(message.sender_id.0)
            .raw(r#"","content":"#)
            .text(message.content)
            .raw(r#","message_type":""#)
            .raw(message.message_type.as_str())
            .raw(r#"","seq_id":"#)
            .number(message.seq_id)
            .raw(r#","created_at":""#)
            .raw(message.created_at.text().as_bytes())
            .raw(r#"","trace_id":"#)
            .text(message.trace_id)
            .raw("}")
    }

    /// What every ack begins with.
    pub(super) fn ack(self, temp_message_id: &str, conversation: ConversationId, status: &str) -> Self {
        self.raw(r#"{"type":"message-ack","data":{"tempMessageId":"#)
            .text(temp_message_id)
            .raw(r#","conversationId":""#)
            .raw(conversation.text().as_bytes())
            .raw(r#"","status":""#)
            .raw(status)
            .raw("\"")
    }

    /// Where a message stands.
    pub(super) fn place(self, message: &Message<'_>) -> Self {
        self.raw(r#","messageId":""#)
            .number(message.message_id.0)
            .raw(r#"","seqId":"#)
            .number(message.seq_id)
            .raw(r#","createdAt":""#)
            .raw(message.created_at.text().as_bytes())
            .raw("\"")
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
