//! What a client may say, and what it is told when it says something else.

use proptest::prelude::*;
use protocol::command::{Command, Parser};
use protocol::{ConversationId, ErrorCode};
use serde_json::json;

fn refusal(text: &str) -> (ErrorCode, String) {
    let mut bytes = text.as_bytes().to_vec();
    let refusal = Parser::new().parse(&mut bytes).expect_err(text);
    (refusal.code, refusal.message)
}

fn send(changes: serde_json::Value) -> String {
    let mut data =
        json!({"tempMessageId": "t", "conversationId": "world", "content": "x", "messageType": "text"});
    for (key, value) in changes.as_object().expect("an object") {
        data[key] = value.clone();
    }
    json!({"type": "send-message", "data": data}).to_string()
}

#[test]
fn a_refusal_names_the_field_the_bound_and_what_came() {
    let long = "x".repeat(5_001);
    for (text, message) in [
        ("", "invalid message format: not valid JSON"),
        ("[]", "invalid message format: expected an object, got an array"),
        ("3", "invalid message format: expected an object, got a number"),
        ("{}", "missing required field: type"),
        (r#"{"type":1}"#, "type must be a string"),
        (r#"{"type":"send-message"}"#, "missing required field: data"),
        (
            r#"{"type":"send-message","data":[]}"#,
            "invalid message data format: expected an object, got an array",
        ),
        (r#"{"type":"send-message","data":{}}"#, "missing required field: tempMessageId"),
        (r#"{"type":"ping","trace_id":7}"#, "trace_id must be a string"),
        (&send(json!({"content": 7})), "content must be a string"),
        (&send(json!({"content": ""})), "content length must be between 1 and 5000 characters, got 0"),
        (&send(json!({"content": long})), "content length must be between 1 and 5000 characters, got 5001"),
        (&send(json!({"tempMessageId": ""})), "tempMessageId length must be between 1 and 64 bytes, got 0"),
        (&send(json!({"messageType": "sms"})), "invalid message type: sms"),
        (r#"{"type":"sync","data":{"conversations":{}}}"#, "conversations must be an array, got an object"),
        (r#"{"type":"sync","data":{"conversations":[]}}"#, "conversations must be between 1 and 100, got 0"),
        (
            r#"{"type":"sync","data":{"conversations":[1]}}"#,
            "each of conversations must be an object, got a number",
        ),
        (
            r#"{"type":"sync","data":{"conversations":[],"limit":301}}"#,
            "limit must be between 1 and 300, got 301",
        ),
        (r#"{"type":"sync","data":{"limit":"x"}}"#, "limit must be a whole number that is not negative"),
    ] {
        assert_eq!(refusal(text), (ErrorCode::InvalidMessage, message.to_owned()), "{text:.80}");
    }
    let (code, message) = refusal(&send(json!({"conversationId": "single_2_1"})));
    assert!(
        code == ErrorCode::InvalidMessage
            && message.starts_with("invalid conversation ID format: single_2_1")
    );
    assert_eq!(
        refusal(r#"{"type":"dance"}"#),
        (ErrorCode::UnknownType, "unknown message type: dance".into())
    );
}

#[test]
fn five_thousand_characters_of_four_bytes_are_taken() {
    let mut text = send(json!({"content": "𝄞".repeat(5_000)})).into_bytes();
    let mut parser = Parser::new();
    let Command::SendMessage(message) = parser.parse(&mut text).unwrap().command else {
        panic!("no message")
    };
    assert_eq!(message.content.chars().count(), 5_000);
}

#[test]
fn a_refusal_carries_the_ids_that_could_be_read() {
    let mut text =
        br#"{"type":"send-message","trace_id":"tr","data":{"tempMessageId":"t7","content":"x"}}"#.to_vec();
    let refusal = Parser::new().parse(&mut text).unwrap_err();
    assert_eq!((refusal.temp_message_id.as_deref(), refusal.trace_id.as_deref()), (Some("t7"), Some("tr")));
}

#[test]
fn seqs_and_limits_may_come_as_strings_and_aliases_are_taken() {
    let text = r#"{"type":"sync","data":{"limit":"7","conversations":[{"conversation_id":"group_3","afterSeq":"12"},{"conversationId":"world"}]}}"#;
    let mut bytes = text.as_bytes().to_vec();
    let mut parser = Parser::new();
    let Command::Sync { conversations, limit } = parser.parse(&mut bytes).unwrap().command else {
        panic!("no sync")
    };
    assert_eq!(limit, 7);
    assert_eq!(conversations[0].conversation, ConversationId::Group(3));
    assert_eq!((conversations[0].after_seq, conversations[1].after_seq), (Some(12), None));
}

#[test]
fn deep_and_wide_json_is_refused_by_its_bound() {
    let nested =
        |depth: usize| format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let mut parser = Parser::new();
    assert!(parser.parse(&mut nested(15).into_bytes()).is_ok());
    for depth in [16, 500, 2_000, 100_000] {
        let refusal = parser.parse(&mut nested(depth).into_bytes()).unwrap_err().message;
        assert_eq!(refusal, "nesting must be at most 16 deep, it is deeper", "{depth}");
    }
    let wide = format!(r#"{{"type":"ping","x":[{}0]}}"#, "0,".repeat(2_000));
    assert!(refusal(&wide).1.starts_with("a message holds at most 1024 values"));
}

proptest! {
    #[test]
    fn a_valid_message_reads_back(id in "\\PC{1,16}", content in "\\PC{1,200}", trace in proptest::option::of("\\PC{0,16}")) {
        let mut envelope = json!({"data": {"content": content, "messageType": "file", "conversationId": "single_3_9", "tempMessageId": id}, "type": "send-message"});
        if let Some(trace) = &trace {
            envelope["trace_id"] = json!(trace);
        }
        let mut text = serde_json::to_vec_pretty(&envelope).unwrap();
        let mut parser = Parser::new();
        let parsed = parser.parse(&mut text).unwrap();
        prop_assert_eq!(parsed.trace_id, trace.as_deref());
        let Command::SendMessage(message) = parsed.command else { panic!("no message") };
        prop_assert_eq!((message.client_msg_id, message.content), (&*id, &*content));
    }

    #[test]
    fn nothing_makes_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut parser = Parser::new();
        let _ = parser.parse(&mut bytes);
        let mut text = send(json!({"content": "hé\n"})).into_bytes();
        let at = cut.index(text.len());
        text[at] = byte;
        let _ = parser.parse(&mut text.clone());
        text.truncate(at);
        let _ = parser.parse(&mut text);
    }
}
