//! The texts that a client sends and reads. Written from the protocol's page, not with the server's
//! own code, so that both can't be wrong in the same way.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

/// An event of the server.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Connected(Connected<'a>),
    Ack(Ack<'a>),
    Message(Message<'a>),
    Synced { parts: Vec<Part<'a>>, trace: Option<Cow<'a, str>> },
    Resync { within_ms: u64 },
    Error { error: ErrorEvent<'a>, trace: Option<Cow<'a, str>> },
    Typing,
    Read,
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    trace_id: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connected<'a> {
    #[serde(borrow)]
    pub(super) user_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) session_id: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ack<'a> {
    #[serde(borrow)]
    pub(super) temp_message_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) conversation_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message_id: Option<Cow<'a, str>>,
    pub(super) seq_id: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) message_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) client_msg_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) conversation_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sender_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) content: Cow<'a, str>,
    pub(super) seq_id: u64,
}

/// One conversation of a `sync-result`: messages, or a code.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub(super) conversation_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) messages: Vec<Message<'a>>,
    #[serde(default)]
    pub(super) last_seq: u64,
    #[serde(default)]
    pub(super) has_more: bool,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorEvent<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) temp_message_id: Option<Cow<'a, str>>,
    pub(super) retryable: bool,
}

/// The wait that the server names, in an error or in a reason for closing.
pub(crate) fn told_wait(text: &str) -> Option<Duration> {
    let (_, number) = text.split_once("retry_ms=")?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).map_or(number, |end| &number[..end]);
    digits.parse().ok().map(Duration::from_millis)
}

/// Reads an event; what this client has no use for is `Other`.
pub(super) fn read(text: &str) -> serde_json::Result<Event<'_>> {
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        conversations: Vec<Part<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Within {
        within_ms: u64,
    }
    let envelope: Envelope<'_> = serde_json::from_str(text)?;
    let data = envelope.data.get();
    Ok(match &*envelope.r#type {
        "new-message" => Event::Message(serde_json::from_str(data)?),
        "message-ack" => Event::Ack(serde_json::from_str(data)?),
        "sync-result" => {
            let parts: Parts<'_> = serde_json::from_str(data)?;
            Event::Synced { parts: parts.conversations, trace: envelope.trace_id }
        }
        "connected" => Event::Connected(serde_json::from_str(data)?),
        "error" => Event::Error { error: serde_json::from_str(data)?, trace: envelope.trace_id },
        "resync" => Event::Resync { within_ms: serde_json::from_str::<Within>(data)?.within_ms },
        "typing" => Event::Typing,
        "read" => Event::Read,
        _ => Event::Other,
    })
}

/// `send-message`; none of the three holds a character that JSON escapes.
pub(super) fn send_message(id: &str, conversation: &str, content: &str) -> String {
    format!(
        r#"{{"type":"send-message","data":{{"tempMessageId":"{id}","conversationId":"{conversation}","content":"{content}","messageType":"text"}}}}"#
    )
}

/// `sync` of conversations, each from after a seq or just for its last.
pub(super) fn sync<'a>(
    trace: &str,
    limit: u32,
    wanted: impl Iterator<Item = (&'a str, Option<u64>)>,
) -> String {
    let mut text =
        format!(r#"{{"type":"sync","trace_id":"{trace}","data":{{"limit":{limit},"conversations":["#);
    for (index, (conversation, after)) in wanted.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let after = after.map(|seq| format!(r#","afterSeq":{seq}"#)).unwrap_or_default();
        write!(text, r#"{comma}{{"conversationId":"{conversation}"{after}}}"#)
            .expect("a String takes everything");
    }
    text.push_str("]}}");
    text
}

/// `typing`.
pub(super) fn typing(conversation: &str) -> String {
    format!(r#"{{"type":"typing","data":{{"conversationId":"{conversation}"}}}}"#)
}

/// `mark-read` up to a seq.
pub(super) fn mark_read(conversation: &str, seq: u64) -> String {
    format!(r#"{{"type":"mark-read","data":{{"conversationId":"{conversation}","seqId":{seq}}}}}"#)
}

/// The text of a user's message: when it was due and when it went out, then filling up to `len`
/// characters that differs from message to message.
pub(super) fn content(user: u64, number: u64, due_us: u64, begun_us: u64, len: usize) -> String {
    let mut text = format!("{due_us} {begun_us} {user} {number} ");
    while text.len() < len {
        text.push(char::from(b'a' + ((text.len() as u64 + number) % 26) as u8));
    }
    text
}

/// When a message was due, and when it went out, from its content.
pub(super) fn times_of(content: &str) -> Option<(u64, u64)> {
    let mut words = content.splitn(3, ' ').map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}
