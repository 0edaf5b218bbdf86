//! Records as they are in Kafka: what is written reads back, and nothing else gets through.

use proptest::prelude::*;
use protocol::command::{MessageType, SyncRequest};
use protocol::limits::{DOWNSTREAM_RECORD_BYTES_MAX, UPSTREAM_RECORD_BYTES_MAX};
use protocol::record::{
    DownstreamBatch, DownstreamEntry, EntryKind, FanoutTask, Query, QueryRecord, Targets, UpstreamRecord,
};
use protocol::wire::{
    DecodeError, decode_downstream, decode_fanout, decode_query, decode_upstream, encode_downstream,
    encode_fanout, encode_query, encode_upstream,
};
use protocol::{ConversationId, GatewayId, Origin, SessionRef, UnixMs, UserId};
use serde_json::{Value, json};

const V1: Option<&[u8]> = Some(b"1");
const PARTITIONS: u16 = 64;

fn origin() -> Origin {
    let session = SessionRef { shard: 1, slot: 2, generation: 3 };
    Origin { gateway: GatewayId::new("gw").unwrap(), boot_epoch: 255, session }
}

fn message(content: &str) -> UpstreamRecord {
    UpstreamRecord {
        origin: origin(),
        sender: UserId(u64::MAX),
        conversation: ConversationId::Single(UserId(3), UserId(9)),
        client_msg_id: "c\"1".into(),
        content: content.into(),
        message_type: MessageType::Text,
        received_at: UnixMs(7),
        trace_id: "t".into(),
    }
}

fn written(record: &UpstreamRecord) -> Vec<u8> {
    let mut out = vec![];
    encode_upstream(record.into(), &mut out);
    out
}

fn read(value: &[u8]) -> Result<UpstreamRecord, DecodeError> {
    let partition = ConversationId::Single(UserId(3), UserId(9)).partition(PARTITIONS);
    decode_upstream(V1, Some(value), partition.into(), PARTITIONS)
}

/// A good record with one field changed; null takes the field away.
fn changed(field: &str, to: Value) -> Result<UpstreamRecord, DecodeError> {
    let mut value: Value = serde_json::from_slice(&written(&message("x"))).unwrap();
    if to.is_null() {
        value.as_object_mut().unwrap().remove(field).unwrap();
    } else {
        value[field] = to;
    }
    read(&serde_json::to_vec(&value).unwrap())
}

#[test]
fn an_upstream_record_names_its_session_in_full() {
    let value: Value = serde_json::from_slice(&written(&message("hé\n"))).unwrap();
    let expected = json!({
        "sender_id": "18446744073709551615", "session_id": "gw.ff.1.2.3", "gateway_id": "gw", "shard": 1,
        "conversation_id": "single_3_9", "client_msg_id": "c\"1", "content": "hé\n", "message_type": "text",
        "received_at_ms": 7, "trace_id": "t",
    });
    assert_eq!(value, expected);
}

#[test]
fn the_longest_content_fits_a_record() {
    for content in ["\u{1}".repeat(5_000), "𝄞".repeat(5_000)] {
        let record = message(&content);
        let value = written(&record);
        assert!(value.len() <= UPSTREAM_RECORD_BYTES_MAX, "{}", value.len());
        assert_eq!(read(&value).unwrap(), record);
    }
}

#[test]
fn what_is_wrong_with_an_upstream_record_is_said() {
    let good = written(&message("x"));
    let at = |version, value, partition| decode_upstream(version, value, partition, PARTITIONS).unwrap_err();
    assert!(matches!(at(None, Some(&good), 0), DecodeError::UnknownVersion(got) if got == "none"));
    assert!(matches!(at(Some(b"2"), Some(&good), 0), DecodeError::UnknownVersion(got) if got == "\"2\""));
    assert_eq!(at(V1, None, 0), DecodeError::Empty);
    let expected = message("x").conversation.partition(PARTITIONS);
    let other = i32::from(expected + 1) % 64;
    assert_eq!(at(V1, Some(&good), other), DecodeError::WrongPartition { expected, got: other });
    assert_eq!(read(b"\xff{}").unwrap_err(), DecodeError::NotUtf8);
    assert!(matches!(read(b"{").unwrap_err(), DecodeError::NotJson(_)));
    assert!(matches!(read(b"[]").unwrap_err(), DecodeError::BadShape(_)));
    let long = vec![b' '; UPSTREAM_RECORD_BYTES_MAX + 1];
    let (got, max) = (UPSTREAM_RECORD_BYTES_MAX + 1, UPSTREAM_RECORD_BYTES_MAX);
    assert_eq!(read(&long).unwrap_err(), DecodeError::TooLarge { got, max });
    for field in [
        "sender_id",
        "session_id",
        "gateway_id",
        "shard",
        "conversation_id",
        "client_msg_id",
        "content",
        "message_type",
        "received_at_ms",
        "trace_id",
    ] {
        assert_eq!(changed(field, Value::Null).unwrap_err(), DecodeError::MissingField(field));
    }
    assert_eq!(changed("conversation_id", json!("single_9_3")).unwrap_err(), DecodeError::BadConversationId);
}

#[test]
fn every_bound_of_a_command_holds_for_a_record_too() {
    for (field, value) in [
        ("sender_id", json!("-1")),
        ("session_id", json!("gw.1.2")),
        ("gateway_id", json!("other")),
        ("shard", json!(7)),
        ("client_msg_id", json!("")),
        ("client_msg_id", json!("x".repeat(65))),
        ("content", json!("")),
        ("content", json!("é".repeat(5_001))),
        ("message_type", json!("sms")),
        ("trace_id", json!("x".repeat(65))),
    ] {
        let error = changed(field, value.clone()).unwrap_err();
        assert!(matches!(error, DecodeError::BadField { field: at, .. } if at == field), "{error} {value}");
    }
    assert!(matches!(changed("received_at_ms", json!("soon")), Err(DecodeError::BadShape(_))));
}

#[test]
fn queries_read_back() {
    let conversation = ConversationId::Group(5);
    let parts = vec![
        SyncRequest { conversation, after_seq: Some(7) },
        SyncRequest { conversation: ConversationId::World, after_seq: None },
    ];
    for query in [
        Query::Sync { conversations: parts, limit: 50 },
        Query::MarkRead { conversation, seq: u64::MAX },
        Query::Typing { conversation, at: UnixMs(9) },
    ] {
        for trace_id in [None, Some("é\"".into())] {
            let record = QueryRecord { origin: origin(), user: UserId(7), query: query.clone(), trace_id };
            let mut value = vec![];
            encode_query(&record, &mut value);
            assert_eq!(decode_query(V1, Some(&value)).unwrap(), record);
        }
    }
    let many = vec![SyncRequest { conversation, after_seq: None }; 101];
    let query = Query::Sync { conversations: many, limit: 50 };
    let mut value = vec![];
    encode_query(&QueryRecord { origin: origin(), user: UserId(7), query, trace_id: None }, &mut value);
    let error = decode_query(V1, Some(&value)).unwrap_err();
    assert_eq!(error.to_string(), "bad field conversations: expected 1 to 100, got 101");
}

#[test]
fn tasks_read_back_and_are_for_groups() {
    let task =
        |conversation| FanoutTask { conversation, seq: 9, range: 3, from: origin(), trace_id: "t".into() };
    let through = |task: &FanoutTask| {
        let mut value = vec![];
        encode_fanout(task, &mut value);
        decode_fanout(V1, Some(&value))
    };
    let group = task(ConversationId::Group(1));
    assert_eq!(through(&group).unwrap(), group);
    assert!(through(&task(ConversationId::World)).is_err());
    assert!(through(&FanoutTask { range: 4, ..group }).is_err());
}

fn session() -> impl Strategy<Value = SessionRef> {
    (any::<u16>(), any::<u32>(), any::<u32>()).prop_map(|(shard, slot, generation)| SessionRef {
        shard,
        slot,
        generation,
    })
}

fn entry() -> impl Strategy<Value = DownstreamEntry> {
    let kind =
        prop::sample::select(vec![EntryKind::Ack, EntryKind::Message, EntryKind::Resync, EntryKind::Kick]);
    let targets = prop_oneof![
        session().prop_map(Targets::Session),
        prop::collection::vec(any::<u64>().prop_map(UserId), 0..9).prop_map(Targets::Users),
        Just(Targets::All),
    ];
    (kind, targets, prop::option::of(session()), "\\PC{0,30}").prop_map(|(kind, targets, exclude, text)| {
        DownstreamEntry { kind, targets, exclude, payload: text.into_bytes().into() }
    })
}

#[test]
fn a_batch_that_announces_more_than_it_holds_makes_no_room_for_it() {
    let value = [[0; 8].as_slice(), &u32::MAX.to_le_bytes()].concat();
    let error = decode_downstream(V1, Some(&value)).unwrap_err();
    assert_eq!(error, DecodeError::BadBinary { at: 12, why: "more is announced than follows" });
    let long = vec![0; DOWNSTREAM_RECORD_BYTES_MAX + 1];
    assert!(matches!(decode_downstream(V1, Some(&long)), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn a_payload_that_no_text_frame_may_hold_is_refused() {
    let payload = Box::from(*b"\xff");
    let entry = DownstreamEntry { kind: EntryKind::Ack, targets: Targets::All, exclude: None, payload };
    let mut value = vec![];
    encode_downstream(&DownstreamBatch { entries: vec![entry], sent_at: UnixMs(0) }, &mut value);
    assert!(decode_downstream(V1, Some(&value)).unwrap_err().to_string().contains("not UTF-8"));
}

proptest! {
    #[test]
    fn upstream_records_read_back(content in "\\PC{1,200}|[\u{0}-\u{1f}]{1,9}", id in "\\PC{1,16}", trace in "\\PC{0,16}") {
        let record = UpstreamRecord { client_msg_id: id.into(), trace_id: trace.into(), ..message(&content) };
        prop_assert_eq!(read(&written(&record)), Ok(record));
    }

    #[test]
    fn downstream_batches_read_back_within_their_count(entries in prop::collection::vec(entry(), 0..9), sent_at in any::<u64>()) {
        let batch = DownstreamBatch { entries, sent_at: UnixMs(sent_at) };
        let mut value = vec![];
        encode_downstream(&batch, &mut value);
        let counted: usize = batch.entries.iter().map(DownstreamEntry::bytes).sum();
        prop_assert!(batch.entries.is_empty() || value.len() <= counted);
        prop_assert_eq!(decode_downstream(V1, Some(&value)), Ok(batch));
    }

    #[test]
    fn no_bytes_make_decoding_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), entries in prop::collection::vec(entry(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for value in [&bytes, &written(&message("x"))] {
            let _ = (read(value), decode_query(V1, Some(value)), decode_fanout(V1, Some(value)));
            let _ = decode_downstream(V1, Some(value));
        }
        bytes.clear();
        encode_downstream(&DownstreamBatch { entries, sent_at: UnixMs(0) }, &mut bytes);
        let at = at.index(bytes.len());
        let _ = decode_downstream(V1, Some(&bytes[..at]));
        bytes[at] = byte;
        let _ = decode_downstream(V1, Some(&bytes));
    }
}
