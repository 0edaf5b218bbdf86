//! From the bytes of a message to a checked command, by simd-json.
//!
//! The parser writes a flat tape of nodes; depth and size are counted there before anything is
//! read. Of a repeated key the last one counts.

use super::{Command, MessageType, Parsed, Refusal, SendMessage, SyncRequest};
use crate::codes::ErrorCode;
use crate::ids::{ConversationId, decimal};
use crate::limits::{
    CLIENT_MSG_ID_BYTES_MAX, CONTENT_CHARS_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX, SYNC_CONVERSATIONS_MAX,
    SYNC_LIMIT_DEFAULT, SYNC_LIMIT_MAX, TRACE_ID_BYTES_MAX,
};
use simd_json::{Buffers, Node, StaticNode, Tape};

/// What is echoed of a bad value, characters.
const ECHO_CHARS_MAX: usize = 64;

/// Reads commands, reusing its buffers from one to the next.
pub struct Parser {
    buffers: Buffers,
    tape: Option<Tape<'static>>,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// A parser; one per shard.
    pub fn new() -> Self {
        Self { buffers: Buffers::default(), tape: None }
    }

    /// Reads one command. `text` is written to, whether the command is good or not.
    pub fn parse<'t>(&mut self, text: &'t mut [u8]) -> Result<Parsed<'t>, Refusal> {
        let mut tape: Tape<'t> = self.tape.take().unwrap_or_else(Tape::null).reset();
        let filled = simd_json::fill_tape(text, &mut self.buffers, &mut tape);
        let result = match filled {
            Ok(()) => read(&tape.0),
            Err(error) if matches!(error.error(), simd_json::ErrorType::DepthLimitExceeded) => {
                Err(bad(format!("nesting must be at most {JSON_DEPTH_MAX} deep, it is deeper")))
            }
            Err(_) => Err(Refusal { not_json: true, ..bad("invalid message format: not valid JSON") }),
        };
        self.tape = Some(tape.reset());
        result
    }
}

/// A refusal of class INVALID_MESSAGE.
fn bad(message: impl Into<String>) -> Refusal {
    let code = ErrorCode::InvalidMessage;
    Refusal { code, message: message.into(), temp_message_id: None, trace_id: None, not_json: false }
}

fn cut(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

fn read<'t>(nodes: &[Node<'t>]) -> Result<Parsed<'t>, Refusal> {
    check_size(nodes)?;
    let Some(envelope) = Object::at(nodes) else {
        return Err(bad(format!("invalid message format: expected an object, got {}", kind(nodes))));
    };
    let [name, data, trace_id] = envelope.pick([&["type"], &["data"], &["trace_id"]]);
    let trace_id = read_trace_id(trace_id)?;
    read_command(name, data).map(|command| Parsed { trace_id, command }).map_err(|refusal| {
        let data = data.and_then(Object::at);
        let id = data.and_then(|data| data.first_text(&CLIENT_MSG_ID));
        let id = id.filter(|id| id.len() <= CLIENT_MSG_ID_BYTES_MAX).map(str::to_owned);
        Refusal { temp_message_id: id, trace_id: trace_id.map(str::to_owned), ..refusal }
    })
}

fn check_size(nodes: &[Node<'_>]) -> Result<(), Refusal> {
    if nodes.len() > JSON_VALUES_MAX {
        return Err(bad(format!("a message holds at most {JSON_VALUES_MAX} values, got {}", nodes.len())));
    }
    let mut ends = [0; JSON_DEPTH_MAX];
    let mut depth = 0;
    for (at, node) in nodes.iter().enumerate() {
        while depth > 0 && ends[depth - 1] <= at {
            depth -= 1;
        }
        if let Node::Object { count, .. } | Node::Array { count, .. } = node {
            if depth == JSON_DEPTH_MAX {
                return Err(bad(format!("nesting must be at most {JSON_DEPTH_MAX} deep, it is deeper")));
            }
            ends[depth] = at + 1 + count;
            depth += 1;
        }
    }
    Ok(())
}

const CLIENT_MSG_ID: [&str; 3] = ["tempMessageId", "clientMsgId", "client_msg_id"];
const CONVERSATION_ID: [&str; 2] = ["conversationId", "conversation_id"];
const CONTENT: [&str; 1] = ["content"];
const MESSAGE_TYPE: [&str; 2] = ["messageType", "message_type"];

fn read_trace_id<'t>(value: Value<'_, 't>) -> Result<Option<&'t str>, Refusal> {
    match value.map(|value| &value[0]) {
        None => Ok(None),
        Some(Node::String(text)) if text.len() <= TRACE_ID_BYTES_MAX => Ok(Some(text)),
        Some(Node::String(text)) => {
            Err(bad(format!("trace_id must be at most {TRACE_ID_BYTES_MAX} bytes, got {}", text.len())))
        }
        Some(_) => Err(bad("trace_id must be a string")),
    }
}

fn read_command<'t>(name: Value<'_, 't>, data: Value<'_, 't>) -> Result<Command<'t>, Refusal> {
    let data = match data {
        None => None,
        Some(value) => Some(Object::at(value).ok_or_else(|| {
            bad(format!("invalid message data format: expected an object, got {}", kind(value)))
        })?),
    };
    let data = || data.ok_or_else(|| bad("missing required field: data"));
    match text("type", name)? {
        "send-message" => read_send_message(&data()?).map(Command::SendMessage),
        "sync" => read_sync(&data()?),
        "mark-read" => {
            let data = data()?;
            data.required(&["seqId"])?;
            let seq = data.number("seqId")?.ok_or_else(|| bad("seqId must be a whole number, got null"))?;
            Ok(Command::MarkRead { conversation: data.conversation()?, seq })
        }
        "typing" => Ok(Command::Typing { conversation: data()?.conversation()? }),
        "ping" => Ok(Command::Ping),
        other => {
            let message = format!("unknown message type: {}", cut(other));
            Err(Refusal { code: ErrorCode::UnknownType, ..bad(message) })
        }
    }
}

fn read_send_message<'t>(data: &Object<'_, 't>) -> Result<SendMessage<'t>, Refusal> {
    let fields = [&CLIENT_MSG_ID[..], &CONVERSATION_ID, &CONTENT, &MESSAGE_TYPE];
    let values = data.pick(fields);
    // All fields must be there before any is looked at, as clients are used to.
    if let Some(at) = values.iter().position(Option::is_none) {
        return Err(missing(fields[at][0]));
    }
    let [client_msg_id, conversation, content, message_type] = values;
    let client_msg_id = text(CLIENT_MSG_ID[0], client_msg_id)?;
    if !(1..=CLIENT_MSG_ID_BYTES_MAX).contains(&client_msg_id.len()) {
        let got = client_msg_id.len();
        return Err(bad(format!(
            "tempMessageId length must be between 1 and {CLIENT_MSG_ID_BYTES_MAX} bytes, got {got}"
        )));
    }
    let content = text(CONTENT[0], content)?;
    // Bytes first: counting characters is only needed where bytes alone don't tell.
    let chars = if content.len() <= CONTENT_CHARS_MAX { content.len() } else { content.chars().count() };
    if !(1..=CONTENT_CHARS_MAX).contains(&chars) {
        return Err(bad(format!(
            "content length must be between 1 and {CONTENT_CHARS_MAX} characters, got {chars}"
        )));
    }
    let message_type = text(MESSAGE_TYPE[0], message_type)?;
    let message_type = MessageType::parse(message_type)
        .ok_or_else(|| bad(format!("invalid message type: {}", cut(message_type))))?;
    Ok(SendMessage { client_msg_id, conversation: read_conversation(conversation)?, content, message_type })
}

fn read_sync<'t>(data: &Object<'_, 't>) -> Result<Command<'t>, Refusal> {
    let limit = match data.number("limit")? {
        None => SYNC_LIMIT_DEFAULT,
        Some(limit) => u32::try_from(limit)
            .ok()
            .filter(|limit| (1..=SYNC_LIMIT_MAX).contains(limit))
            .ok_or_else(|| bad(format!("limit must be between 1 and {SYNC_LIMIT_MAX}, got {limit}")))?,
    };
    let value = data.required(&["conversations"])?;
    let Some(Node::Array { len, .. }) = value.first() else {
        return Err(bad(format!("conversations must be an array, got {}", kind(value))));
    };
    if !(1..=SYNC_CONVERSATIONS_MAX).contains(len) {
        return Err(bad(format!("conversations must be between 1 and {SYNC_CONVERSATIONS_MAX}, got {len}")));
    }
    let mut conversations = Vec::with_capacity(*len);
    let mut rest = &value[1..];
    for _ in 0..*len {
        let (item, after) = rest.split_at(size(rest));
        rest = after;
        let item = Object::at(item)
            .ok_or_else(|| bad(format!("each of conversations must be an object, got {}", kind(item))))?;
        conversations
            .push(SyncRequest { conversation: item.conversation()?, after_seq: item.number("afterSeq")? });
    }
    Ok(Command::Sync { conversations, limit })
}

/// How many nodes the value at the start of `nodes` takes.
fn size(nodes: &[Node<'_>]) -> usize {
    match nodes[0] {
        Node::Object { count, .. } | Node::Array { count, .. } => 1 + count,
        Node::String(_) | Node::Static(_) => 1,
    }
}

fn missing(name: &str) -> Refusal {
    bad(format!("missing required field: {name}"))
}

fn text<'t>(name: &str, value: Value<'_, 't>) -> Result<&'t str, Refusal> {
    match value.ok_or_else(|| missing(name))?[0] {
        Node::String(text) => Ok(text),
        _ => Err(bad(format!("{name} must be a string"))),
    }
}

fn read_conversation(value: Value<'_, '_>) -> Result<ConversationId, Refusal> {
    let text = text(CONVERSATION_ID[0], value)?;
    ConversationId::parse(text)
        .map_err(|why| bad(format!("invalid conversation ID format: {} ({why})", cut(text))))
}

fn kind(value: &[Node<'_>]) -> &'static str {
    match value[0] {
        Node::Object { .. } => "an object",
        Node::Array { .. } => "an array",
        Node::String(_) => "a string",
        Node::Static(StaticNode::Null) => "null",
        Node::Static(StaticNode::Bool(_)) => "a boolean",
        Node::Static(_) => "a number",
    }
}

/// The nodes of a value that may be missing.
type Value<'n, 't> = Option<&'n [Node<'t>]>;

/// An object on the tape: its keys and values, alternating.
#[derive(Clone, Copy)]
struct Object<'n, 't> {
    nodes: &'n [Node<'t>],
}

impl<'n, 't> Object<'n, 't> {
    fn at(nodes: &'n [Node<'t>]) -> Option<Self> {
        let Node::Object { count, .. } = nodes.first()? else { return None };
        Some(Self { nodes: &nodes[1..=*count] })
    }

    /// The value of each field, all in one pass: that of the first of its names that is there.
    fn pick<const N: usize>(&self, fields: [&[&str]; N]) -> [Value<'n, 't>; N] {
        let mut best: [Option<(usize, &'n [Node<'t>])>; N] = [None; N];
        let mut rest = self.nodes;
        while let Some((Node::String(key), after)) = rest.split_first() {
            let (value, next) = after.split_at(size(after));
            for (best, names) in best.iter_mut().zip(fields) {
                if let Some(rank) = names.iter().position(|name| name == key) {
                    if best.is_none_or(|(held, _)| rank <= held) {
                        *best = Some((rank, value));
                    }
                    break;
                }
            }
            rest = next;
        }
        best.map(|best| best.map(|(_, value)| value))
    }

    /// The value of the first of `names` that is there.
    fn first(&self, names: &[&str]) -> Value<'n, 't> {
        let [value] = self.pick([names]);
        value
    }

    fn required(&self, names: &[&str]) -> Result<&'n [Node<'t>], Refusal> {
        self.first(names).ok_or_else(|| missing(names[0]))
    }

    fn first_text(&self, names: &[&str]) -> Option<&'t str> {
        match self.first(names)?[0] {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// A number, or a string of digits.
    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = match self.first(&[name]).map(|value| &value[0]) {
            None | Some(Node::Static(StaticNode::Null)) => return Ok(None),
            Some(Node::Static(StaticNode::U64(number))) => Some(*number),
            Some(Node::Static(StaticNode::I64(number))) => u64::try_from(*number).ok(),
            Some(Node::String(text)) => decimal(text),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| bad(format!("{name} must be a whole number that is not negative")))
    }

    fn conversation(&self) -> Result<ConversationId, Refusal> {
        read_conversation(self.first(&CONVERSATION_ID))
    }
}
