//! What the text of one message costs: its command parsed, and each event that comes of it written.
//!
//! `cargo bench -p ringway-protocol`; where time is too noisy, `valgrind --tool=callgrind` on the binary
//! that it names, with `--rounds 1000`.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use protocol::command::{MessageType, Parser};
use protocol::event::{self, Message};
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use std::hint::black_box;
use std::time::Instant;

const TRACE_ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const CONTENT: &str = "A message of 128 bytes, as the goals have it: long enough to say something, short \
                       enough that most are like it. And so on.";

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds").skip(1);
    let rounds: u32 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(500_000);
    let conversation_id = ConversationId::Single(UserId(1_000_001), UserId(1_000_002));
    let message = Message {
        message_id: MessageId::new(1, 7, 1_234_567),
        client_msg_id: "run-0001-000123",
        conversation_id,
        sender_id: UserId(1_000_001),
        content: CONTENT,
        message_type: MessageType::Text,
        seq_id: 4_711,
        created_at: UnixMs(1_795_000_000_123),
        trace_id: TRACE_ID,
    };
    let command = format!(
        r#"{{"type":"send-message","data":{{"tempMessageId":"run-0001-000123","conversationId":"{conversation_id}","content":"{CONTENT}","messageType":"text"}},"trace_id":"{TRACE_ID}"}}"#
    );
    let (mut parser, mut text) = (Parser::new(), Vec::new());
    measure("send-message parsed", rounds, || {
        text.clear();
        text.extend_from_slice(black_box(command.as_bytes()));
        parser.parse(&mut text).is_ok()
    });
    measure("new-message written", rounds, || event::new_message(black_box(&message)));
    measure("persisted written", rounds, || event::ack_persisted(black_box(&message), TRACE_ID));
    measure("accepted written", rounds, || {
        event::ack_accepted("run-0001-000123", black_box(conversation_id), TRACE_ID)
    });
    measure("partition of a conversation", rounds, || black_box(conversation_id).partition(64));
}

fn measure<T>(what: &str, rounds: u32, mut work: impl FnMut() -> T) {
    let begun = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    println!("{what:<28} {:>7.0} ns", begun.elapsed().as_nanos() as f64 / f64::from(rounds));
}
