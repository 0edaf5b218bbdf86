//! What each operation takes and answers.

use super::{PROBLEMS, reference};
use protocol::limits::{
    CONVERSATIONS_PAGE_DEFAULT, CONVERSATIONS_PAGE_MAX, HTTP_BODY_BYTES_MAX, MEMBERS_PAGE_DEFAULT,
    MEMBERS_PAGE_MAX, SYNC_LIMIT_DEFAULT, SYNC_LIMIT_MAX,
};
use serde_json::{Value, json};

/// Problems of a body that is not what it should be.
const BODY: [u16; 3] = [400, 413, 415];
/// Problems of whatever goes to the store on somebody's behalf.
const CALLER: [u16; 2] = [401, 503];

pub(in crate::http) fn create_group() -> Value {
    json!({
        "operationId": "createGroup",
        "tags": ["groups"],
        "summary": "Makes a group; the caller is its owner",
        "requestBody": body("NewGroup"),
        "responses": answers(201, "The group", Some("Group"), &[&BODY, &CALLER]),
    })
}

pub(in crate::http) fn list_members() -> Value {
    json!({
        "operationId": "listMembers",
        "tags": ["groups"],
        "summary": "Lists who is in a group, by user id; for its members",
        "parameters": [
            in_path("groupId", "Id"),
            in_query("after", reference("Id"), "Only user ids above this one"),
            limit(MEMBERS_PAGE_DEFAULT, MEMBERS_PAGE_MAX),
        ],
        "responses": answers(200, "A page of members", Some("MemberPage"), &[&[400, 403, 404], &CALLER]),
    })
}

pub(in crate::http) fn add_members() -> Value {
    json!({
        "operationId": "addMembers",
        "tags": ["groups"],
        "summary": "Adds users to a group; for its owner and admins",
        "description": "Whoever comes back sees what is written from now on, and no longer what came before.",
        "parameters": [in_path("groupId", "Id")],
        "requestBody": body("NewMembers"),
        "responses": answers(204, "They are in", None, &[&BODY, &[403, 404], &CALLER]),
    })
}

pub(in crate::http) fn remove_member() -> Value {
    json!({
        "operationId": "removeMember",
        "tags": ["groups"],
        "summary": "Removes a user from a group; for its owner and admins, and for oneself to leave",
        "description": "An owner who leaves is followed by the longest-standing admin, else member.",
        "parameters": [in_path("groupId", "Id"), in_path("userId", "Id")],
        "responses": answers(204, "They are out", None, &[&[400, 403, 404], &CALLER]),
    })
}

pub(in crate::http) fn set_role() -> Value {
    json!({
        "operationId": "setRole",
        "tags": ["groups"],
        "summary": "Makes a member an admin, or an admin a member; for the owner",
        "parameters": [in_path("groupId", "Id"), in_path("userId", "Id")],
        "requestBody": body("NewRole"),
        "responses": answers(204, "They have that role", None, &[&BODY, &[403, 404], &CALLER]),
    })
}

pub(in crate::http) fn list_conversations() -> Value {
    json!({
        "operationId": "listConversations",
        "tags": ["conversations"],
        "summary": "Lists the conversations that the caller is in, the latest first",
        "description": "`world` is not among them: everybody is in it, and it has no read marks.",
        "parameters": [
            in_query("cursor", json!({"type": "string"}), "The `cursor` of the page before"),
            limit(CONVERSATIONS_PAGE_DEFAULT, CONVERSATIONS_PAGE_MAX),
        ],
        "responses":
            answers(200, "A page of conversations", Some("ConversationPage"), &[&[400], &CALLER]),
    })
}

pub(in crate::http) fn list_messages() -> Value {
    json!({
        "operationId": "listMessages",
        "tags": ["conversations"],
        "summary": "Reads a conversation's messages, as far as the caller was a member",
        "description":
            "After a seq, before a seq, or the newest if neither is given; both are refused.",
        "parameters": [
            in_path("conversationId", "ConversationId"),
            in_query("after_seq", reference("Seq"), "Only messages above this seq, the oldest of them"),
            in_query("before_seq", reference("Seq"), "Only messages below this seq, the newest of them"),
            limit(SYNC_LIMIT_DEFAULT, SYNC_LIMIT_MAX),
        ],
        "responses": answers(200, "A page of messages", Some("MessagePage"), &[&[400, 403, 404], &CALLER]),
    })
}

pub(in crate::http) fn mark_read() -> Value {
    json!({
        "operationId": "markRead",
        "tags": ["conversations"],
        "summary": "Moves the caller's read mark",
        "description": "Only ever forward, and at most to the last message that the caller may see.",
        "parameters": [in_path("conversationId", "ConversationId")],
        "requestBody": body("ReadMark"),
        "responses":
            answers(204, "The mark is there or beyond", None, &[&BODY, &[403, 404], &CALLER]),
    })
}

pub(in crate::http) fn config() -> Value {
    json!({
        "operationId": "getConfig",
        "tags": ["client"],
        "summary": "Says where the WebSocket is",
        "security": [],
        "responses": answers(200, "Where it is", Some("Config"), &[]),
    })
}

pub(in crate::http) fn dev_token() -> Value {
    json!({
        "operationId": "createDevToken",
        "tags": ["client"],
        "summary": "Gives out a token; with `ringway dev` only, and to its own machine only",
        "security": [],
        "requestBody": body("TokenRequest"),
        "responses": answers(200, "A token", Some("DevToken"), &[&BODY, &[403]]),
    })
}

pub(in crate::http) fn openapi() -> Value {
    let any = json!({"application/json": {"schema": {"type": "object"}}});
    json!({
        "operationId": "getDescription",
        "tags": ["client"],
        "summary": "This description",
        "security": [],
        "responses": {"200": {"description": "OpenAPI 3.1", "content": any}},
    })
}

fn body(schema: &str) -> Value {
    json!({
        "required": true,
        "description": format!("At most {HTTP_BODY_BYTES_MAX} bytes; without a Content-Type it is taken for JSON"),
        "content": {"application/json": {"schema": reference(schema)}},
    })
}

fn in_path(name: &str, schema: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": reference(schema)})
}

fn in_query(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "schema": schema, "description": description})
}

fn limit(default: u32, max: u32) -> Value {
    let schema = json!({"type": "integer", "minimum": 1, "maximum": max, "default": default});
    in_query("limit", schema, "How many at most")
}

/// What it answers when all is well, and the problems that it may answer with.
fn answers(status: u16, what: &str, schema: Option<&str>, problems: &[&[u16]]) -> Value {
    let mut good = json!({"description": what});
    if let Some(schema) = schema {
        good["content"] = json!({"application/json": {"schema": reference(schema)}});
    }
    let mut answers = json!({});
    answers[status.to_string()] = good;
    for problem in problems.iter().copied().flatten() {
        let (_, name, _) = PROBLEMS.iter().find(|(status, ..)| status == problem).expect("a problem we have");
        answers[problem.to_string()] = json!({"$ref": format!("#/components/responses/{name}")});
    }
    answers
}
