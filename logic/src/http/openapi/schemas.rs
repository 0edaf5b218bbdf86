//! What goes in and comes out, as JSON Schema 2020-12.

use super::{codes, reference};
use protocol::command::MessageType;
use protocol::limits::{
    CLIENT_MSG_ID_BYTES_MAX, CONTENT_CHARS_MAX, CONVERSATION_ID_BYTES_MAX, GROUP_MEMBERS_PER_CALL_MAX,
    GROUP_NAME_CHARS_MAX, TRACE_ID_BYTES_MAX, UNREAD_MAX,
};
use serde_json::{Value, json};

/// Every schema by its name.
pub(super) fn all() -> Value {
    let mut all = basics();
    for part in [groups(), conversations(), client()] {
        for (name, schema) in part.as_object().into_iter().flatten() {
            all[name] = schema.clone();
        }
    }
    all
}

/// An object of which all fields but the `optional` ones are always there.
fn object(fields: Value, optional: &[&str]) -> Value {
    let names = fields.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let required: Vec<_> = names.filter(|name| !optional.contains(name)).collect();
    json!({"type": "object", "required": required, "properties": fields})
}

fn list(schema: &str) -> Value {
    json!({"type": "array", "items": reference(schema)})
}

fn basics() -> Value {
    json!({
        "Id": {
            "type": "string",
            "pattern": "^(0|[1-9][0-9]{0,19})$",
            "description": "An unsigned 64-bit integer as digits",
        },
        "UserIdIn": {
            "description": "A user id, as digits or as an integer",
            "oneOf": [reference("Id"), {"type": "integer", "minimum": 0}],
        },
        "ConversationId": {
            "type": "string",
            "maxLength": CONVERSATION_ID_BYTES_MAX,
            "pattern": "^(single_[0-9]+_[0-9]+|group_[0-9]+|world)$",
            "description": "`single_{a}_{b}` with a < b, `group_{id}`, or `world`",
        },
        "Seq": {
            "type": "integer",
            "minimum": 0,
            "description": "The place of a message in its conversation: 1, 2, 3 … without gaps",
        },
        "Time": {"type": "string", "format": "date-time"},
        "Problem": object(json!({
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {"enum": codes(), "description": "For programs"},
            "detail": {"type": "string", "description": "For people"},
        }), &[]),
    })
}

fn groups() -> Value {
    let users = |what: &str| {
        json!({
            "type": "array",
            "items": reference("UserIdIn"),
            "maxItems": GROUP_MEMBERS_PER_CALL_MAX,
            "description": what,
        })
    };
    json!({
        "NewGroup": object(json!({
            "name": {"type": "string", "minLength": 1, "maxLength": GROUP_NAME_CHARS_MAX},
            "members": users("Who is in beside the caller; more can be added later"),
        }), &[]),
        "Group": object(json!({
            "groupId": reference("Id"),
            "conversationId": reference("ConversationId"),
        }), &[]),
        "NewMembers": object(json!({"userIds": users("Those who are in already stay as they are")}), &[]),
        "NewRole": object(json!({"role": {"enum": ["admin", "member"]}}), &[]),
        "Member": object(json!({
            "userId": reference("Id"),
            "role": {"enum": ["owner", "admin", "member"]},
            "joinedAt": reference("Time"),
        }), &[]),
        "MemberPage": object(json!({
            "members": list("Member"),
            "hasMore": {"type": "boolean", "description": "Go on with `after` = the last user's id"},
        }), &[]),
    })
}

fn conversations() -> Value {
    let types: Vec<_> = MessageType::ALL.iter().map(|kind| kind.as_str()).collect();
    json!({
        "Message": object(json!({
            "message_id": reference("Id"),
            "client_msg_id": {"type": "string", "minLength": 1, "maxLength": CLIENT_MSG_ID_BYTES_MAX},
            "conversation_id": reference("ConversationId"),
            "sender_id": reference("Id"),
            "content": {"type": "string", "minLength": 1, "maxLength": CONTENT_CHARS_MAX},
            "message_type": {"enum": types},
            "seq_id": reference("Seq"),
            "created_at": reference("Time"),
            "trace_id": {"type": "string", "maxLength": TRACE_ID_BYTES_MAX},
        }), &[]),
        "MessagePage": object(json!({
            "messages": {
                "type": "array",
                "items": reference("Message"),
                "description": "Ascending by `seq_id`, without gaps",
            },
            "lastSeq": reference("Seq"),
            "hasMore": {"type": "boolean", "description": "Whether there are more in the direction asked for"},
        }), &[]),
        "Conversation": object(json!({
            "conversationId": reference("ConversationId"),
            "type": {"enum": ["single", "group"]},
            "name": {"type": "string", "description": "A group's"},
            "lastSeq": reference("Seq"),
            "readSeq": reference("Seq"),
            "peerReadSeq": {
                "allOf": [reference("Seq")],
                "description": "How far the other of a single conversation has read",
            },
            "unreadCount": {
                "type": "integer",
                "minimum": 0,
                "maximum": UNREAD_MAX,
                "description": "Messages of others after the read mark; the maximum stands for more",
            },
            "lastMessage": {"oneOf": [reference("Message"), {"type": "null"}]},
        }), &["name", "peerReadSeq"]),
        "ConversationPage": object(json!({
            "conversations": list("Conversation"),
            "cursor": {"type": "string", "description": "Where the next page goes on; none on the last"},
        }), &["cursor"]),
        "ReadMark": object(json!({"seqId": reference("Seq")}), &[]),
    })
}

fn client() -> Value {
    json!({
        "Config": object(json!({
            "socketUrl": {"type": "string", "format": "uri"},
            "dev": {"type": "boolean", "description": "Whether development tokens are given out"},
        }), &[]),
        "TokenRequest": object(json!({"userId": reference("UserIdIn")}), &[]),
        "DevToken": object(json!({"token": {"type": "string"}, "expiresAt": reference("Time")}), &[]),
    })
}
