//! Server → client: the finished text of each event.
//!
//! Every function returns the whole envelope `{"type", "data", "trace_id"?}` as bytes, ready to be
//! the payload of a text frame.

mod writer;

use crate::codes::ErrorCode;
use crate::command::MessageType;
use crate::{ConversationId, GatewayId, MessageId, Origin, UnixMs, UserId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;
use writer::Writer;

#[derive(Serialize)]
struct Envelope<'a, T> {
    r#type: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

fn envelope<T: Serialize>(r#type: &'static str, data: T, trace_id: Option<&str>) -> Vec<u8> {
    serde_json::to_vec(&Envelope { r#type, data, trace_id })
        .expect("events hold only strings, numbers and lists")
}

/// A stored message as clients and the store see it; the `data` of `new-message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// Position of its upstream record.
    pub message_id: MessageId,
    /// The sender's own id for it.
    pub client_msg_id: &'a str,
    /// Where it belongs.
    pub conversation_id: ConversationId,
    /// Who sent it.
    pub sender_id: UserId,
    /// What it says.
    pub content: &'a str,
    /// What kind of content.
    pub message_type: MessageType,
    /// 1, 2, 3 … within the conversation.
    pub seq_id: u64,
    /// When the gateway took it.
    pub created_at: UnixMs,
    /// Follows the message through every log.
    pub trace_id: &'a str,
}

/// `connected`: the session is registered, `sync` from now on leaves no gap.
pub fn connected(user: UserId, session: &Origin, heartbeat: Duration) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data<'a> {
        user_id: UserId,
        session_id: &'a Origin,
        gateway_id: &'a str,
        shard: u16,
        heartbeat_seconds: u64,
    }
    let gateway: &GatewayId = &session.gateway;
    let data = Data {
        user_id: user,
        session_id: session,
        gateway_id: gateway.as_str(),
        shard: session.session.shard,
        heartbeat_seconds: heartbeat.as_secs(),
    };
    envelope("connected", data, None)
}

/// `message-ack` with status `accepted`: durable in Kafka, not yet numbered.
pub fn ack_accepted(temp_message_id: &str, conversation: ConversationId, trace_id: &str) -> Vec<u8> {
    let ack = Writer::with_room(0).ack(temp_message_id, conversation, "accepted");
    ack.raw("}").traced(trace_id).end()
}

/// `message-ack` with status `persisted`: committed in the store under this seq.
pub fn ack_persisted(message: &Message<'_>, trace_id: &str) -> Vec<u8> {
    let ack = Writer::with_room(0).ack(message.client_msg_id, message.conversation_id, "persisted");
    ack.place(message).raw("}").traced(trace_id).end()
}

/// `new-message`.
pub fn new_message(message: &Message<'_>) -> Vec<u8> {
    let event = Writer::with_room(message.content.len()).raw(r#"{"type":"new-message","data":"#);
    event.message(message).traced(message.trace_id).end()
}

/// What an event says of the message that it is about.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct About<'a> {
    /// The message's trace id.
    #[serde(borrow)]
    pub trace_id: Cow<'a, str>,
    /// Where it stands, if it is a `new-message`.
    #[serde(borrow)]
    pub data: Place<'a>,
}

/// A message's place.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Place<'a> {
    /// Its conversation.
    #[serde(borrow)]
    pub conversation_id: Cow<'a, str>,
    /// Its seq in there.
    pub seq_id: u64,
}

/// Reads the text of a `new-message` again; none if it is another event. For who follows messages:
/// it parses the whole text.
pub fn about(new_message: &[u8]) -> Option<About<'_>> {
    serde_json::from_slice(new_message).ok()
}

/// `read`: `user` has read the conversation up to `seq`.
pub fn read(conversation: ConversationId, user: UserId, seq: u64) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        conversation_id: ConversationId,
        user_id: UserId,
        seq_id: u64,
    }
    envelope("read", Data { conversation_id: conversation, user_id: user, seq_id: seq }, None)
}

/// `typing`: `user` is typing in the conversation.
pub fn typing(conversation: ConversationId, user: UserId) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        conversation_id: ConversationId,
        user_id: UserId,
    }
    envelope("typing", Data { conversation_id: conversation, user_id: user }, None)
}

/// What happened to a user's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// They are in.
    Added,
    /// They are out.
    Removed,
}

/// `conversation-update`, to the user concerned.
pub fn conversation_update(conversation: ConversationId, change: Change) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        conversation_id: ConversationId,
        change: Change,
    }
    envelope("conversation-update", Data { conversation_id: conversation, change }, None)
}

/// `resync`: something may have been missed; `sync` after a random wait of up to `within_ms`.
pub fn resync(within_ms: u32) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        within_ms: u32,
    }
    envelope("resync", Data { within_ms }, None)
}

/// `pong`.
pub fn pong(server_time: UnixMs, trace_id: Option<&str>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        server_time: UnixMs,
    }
    envelope("pong", Data { server_time }, trace_id)
}

/// `error`.
pub fn error(
    code: ErrorCode,
    message: &str,
    temp_message_id: Option<&str>,
    trace_id: Option<&str>,
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data<'a> {
        code: ErrorCode,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        temp_message_id: Option<&'a str>,
        retryable: bool,
    }
    envelope("error", Data { code, message, temp_message_id, retryable: code.retryable() }, trace_id)
}

/// One conversation's part of a `sync-result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SyncPart<'a> {
    /// What was asked for, by seq.
    #[serde(rename_all = "camelCase")]
    Messages {
        /// Which conversation.
        conversation_id: ConversationId,
        /// Ascending by `seq_id`, without gaps.
        messages: Vec<Message<'a>>,
        /// The newest seq that the reader may see.
        last_seq: u64,
        /// Whether another `sync` from the last message here brings more.
        has_more: bool,
    },
    /// Why it can't be read.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// Which conversation.
        conversation_id: ConversationId,
        /// Why.
        code: ErrorCode,
    },
}

/// `sync-result`.
pub fn sync_result(conversations: &[SyncPart<'_>], trace_id: Option<&str>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Data<'a> {
        conversations: &'a [SyncPart<'a>],
    }
    envelope("sync-result", Data { conversations }, trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionRef;
    use serde_json::{Value, json};

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn message() -> Message<'static> {
        Message {
            message_id: MessageId(u64::MAX),
            client_msg_id: "c\"1",
            conversation_id: ConversationId::Single(UserId(1), UserId(2)),
            sender_id: UserId(1),
            content: "hé\n\u{1}",
            message_type: MessageType::Text,
            seq_id: 3,
            created_at: UnixMs(0),
            trace_id: "t",
        }
    }

    #[test]
    fn ids_are_strings_and_seqs_are_numbers() {
        let m = message();
        let wire = json!({
            "message_id": "18446744073709551615", "client_msg_id": "c\"1", "conversation_id": "single_1_2",
            "sender_id": "1", "content": "hé\n\u{1}", "message_type": "text", "seq_id": 3,
            "created_at": "1970-01-01T00:00:00.000Z", "trace_id": "t",
        });
        assert_eq!(read(&new_message(&m)), json!({"type": "new-message", "data": wire, "trace_id": "t"}));
        let ack = json!({
            "tempMessageId": "c\"1", "conversationId": "single_1_2", "status": "persisted",
            "messageId": "18446744073709551615", "seqId": 3, "createdAt": "1970-01-01T00:00:00.000Z",
        });
        assert_eq!(
            read(&ack_persisted(&m, "u")),
            json!({"type": "message-ack", "data": ack, "trace_id": "u"})
        );
    }

    #[test]
    fn a_message_is_written_as_it_is_serialized_whatever_it_holds() {
        let ascii: String = (0..0x80u8).map(char::from).collect();
        for text in ["", "plain", "\"", "\\", "\u{1f}", "\u{7f}", "\u{2028}", "é😀", "</script>", &ascii] {
            for r#type in MessageType::ALL {
                let (client_msg_id, content, trace_id) = (text, text, text);
                let message = Message { client_msg_id, content, trace_id, message_type: r#type, ..message() };
                let expected = envelope("new-message", &message, Some(text));
                assert_eq!(
                    String::from_utf8(new_message(&message)).unwrap(),
                    String::from_utf8(expected).unwrap()
                );
            }
        }
    }

    #[test]
    fn accepted_names_the_message_and_no_seq() {
        let data = json!({"tempMessageId": "c", "conversationId": "world", "status": "accepted"});
        assert_eq!(
            read(&ack_accepted("c", ConversationId::World, "t")),
            json!({"type": "message-ack", "data": data, "trace_id": "t"})
        );
    }

    #[test]
    fn connected_names_the_session() {
        let session = Origin {
            gateway: GatewayId::new("gw").unwrap(),
            boot_epoch: 255,
            session: SessionRef { shard: 1, slot: 2, generation: 3 },
        };
        let data = json!({"userId": "7", "sessionId": "gw.ff.1.2.3", "gatewayId": "gw", "shard": 1, "heartbeatSeconds": 30});
        let event = read(&connected(UserId(7), &session, Duration::from_secs(30)));
        assert_eq!(event, json!({"type": "connected", "data": data}));
    }

    #[test]
    fn an_error_says_whether_to_try_again() {
        let data = json!({"code": "BUSY", "message": "later", "tempMessageId": "c", "retryable": true});
        assert_eq!(
            read(&error(ErrorCode::Busy, "later", Some("c"), Some("t"))),
            json!({"type": "error", "data": data, "trace_id": "t"})
        );
        let data = json!({"code": "NOT_A_MEMBER", "message": "no", "retryable": false});
        assert_eq!(
            read(&error(ErrorCode::NotAMember, "no", None, None)),
            json!({"type": "error", "data": data})
        );
    }

    #[test]
    fn hints_name_the_conversation_and_the_user() {
        let at = ConversationId::Group(5);
        let data = json!({"conversationId": "group_5", "userId": "7", "seqId": 3});
        assert_eq!(read(&super::read(at, UserId(7), 3)), json!({"type": "read", "data": data}));
        let data = json!({"conversationId": "group_5", "userId": "7"});
        assert_eq!(read(&typing(at, UserId(7))), json!({"type": "typing", "data": data}));
        let data = json!({"conversationId": "group_5", "change": "removed"});
        let event = read(&conversation_update(at, Change::Removed));
        assert_eq!(event, json!({"type": "conversation-update", "data": data}));
        assert_eq!(read(&resync(500)), json!({"type": "resync", "data": {"withinMs": 500}}));
    }

    #[test]
    fn a_sync_result_has_messages_or_a_code_per_conversation() {
        let parts = [
            SyncPart::Messages {
                conversation_id: ConversationId::World,
                messages: vec![],
                last_seq: 9,
                has_more: true,
            },
            SyncPart::Refused { conversation_id: ConversationId::Group(5), code: ErrorCode::NotAMember },
        ];
        let data = json!({"conversations": [
            {"conversationId": "world", "messages": [], "lastSeq": 9, "hasMore": true},
            {"conversationId": "group_5", "code": "NOT_A_MEMBER"},
        ]});
        assert_eq!(
            read(&sync_result(&parts, Some("t"))),
            json!({"type": "sync-result", "data": data, "trace_id": "t"})
        );
    }

    #[test]
    fn a_new_message_names_its_trace_and_its_place() {
        let mut message = message();
        message.trace_id = "a\"b\\";
        message.content = r#"","trace_id":"no","seq_id":7,"conversation_id":"no"#;
        let text = new_message(&message);
        let about = about(&text).expect("a new message");
        assert_eq!(about.trace_id, message.trace_id);
        assert_eq!(about.data.conversation_id, message.conversation_id.to_string());
        assert_eq!(about.data.seq_id, message.seq_id);
        assert_eq!(super::about(&pong(UnixMs(0), Some("t"))), None);
    }
}
