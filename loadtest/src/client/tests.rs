//! The client's rules, one by one, without a server.

use super::{Client, Shared};
use crate::counters::Counters;
use crate::ledger::Record;
use crate::ledger::writer::Batch;
use crate::measure::Measure;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NAME: &str = "single_1_2";

fn client() -> Client {
    let shared = Shared {
        run: "r".into(),
        window: super::WINDOW_MAX,
        measured_from_us: AtomicU64::new(0),
        sessions: AtomicU64::new(0),
        own: None,
        counters: Counters::default(),
    };
    Client::new(1, Arc::new(shared), [(Arc::from(NAME), 2)].into_iter())
}

fn told(client: &mut Client) -> Vec<Record<'static>> {
    let mut batch = Batch::default();
    client.tell(&mut batch);
    batch.records
}

fn sent(client: &mut Client, now_us: u64) -> Vec<Value> {
    std::iter::from_fn(|| client.transmit(now_us)).map(|text| serde_json::from_str(&text).unwrap()).collect()
}

fn tell(client: &mut Client, kind: &str, data: Value, trace: Option<&str>, now_us: u64) {
    let text = json!({"type": kind, "data": data, "trace_id": trace}).to_string();
    client.receive(&text, now_us).unwrap();
}

fn connect(client: &mut Client, now_us: u64) {
    let data = json!({"userId": "1", "sessionId": "gw.1.0.0.0", "gatewayId": "gw", "shard": 0, "heartbeatSeconds": 30});
    tell(client, "connected", data, None, now_us);
}

fn message(seq: u64) -> Value {
    json!({"message_id": seq.to_string(), "client_msg_id": format!("r-2-{seq}"), "conversation_id": NAME,
           "sender_id": "2", "content": "0 2", "message_type": "text", "seq_id": seq})
}

/// Connected, with 10 messages from before the run.
fn ready() -> Client {
    let mut client = client();
    connect(&mut client, 0);
    let asked = sent(&mut client, 0);
    assert_eq!(asked[0]["data"], json!({"limit": 1, "conversations": [{"conversationId": NAME}]}));
    answer(&mut client, &asked[0], &[], 10, false, 0);
    assert_eq!(client.shared.counters.ready.load(Relaxed), 1);
    assert_eq!(sent(&mut client, 0), [] as [Value; 0]);
    client
}

fn answer(client: &mut Client, asked: &Value, seqs: &[u64], last: u64, more: bool, now_us: u64) {
    let messages: Vec<Value> = seqs.iter().map(|seq| message(*seq)).collect();
    let part = json!({"conversationId": NAME, "messages": messages, "lastSeq": last, "hasMore": more});
    tell(client, "sync-result", json!({"conversations": [part]}), asked["trace_id"].as_str(), now_us);
}

fn after_seq(asked: &Value) -> &Value {
    &asked["data"]["conversations"][0]["afterSeq"]
}

#[test]
fn a_hole_that_stays_open_for_500_ms_means_sync_and_one_that_closes_does_not() {
    let mut client = ready();
    tell(&mut client, "new-message", message(11), None, 0);
    tell(&mut client, "new-message", message(13), None, 1_000);
    assert_eq!(client.wake_us(), Some(501_000));
    assert!(sent(&mut client, 500_999).is_empty());
    let asked = sent(&mut client, 501_000);
    assert_eq!(after_seq(&asked[0]), &json!(11));
    answer(&mut client, &asked[0], &[12, 13], 13, false, 600_000);
    assert_eq!((client.wake_us(), client.shared.counters.holes.load(Relaxed)), (None, 1));

    tell(&mut client, "new-message", message(15), None, 700_000);
    tell(&mut client, "new-message", message(14), None, 800_000);
    assert_eq!(client.wake_us(), None);
    assert_eq!(client.shared.counters.delivered.load(Relaxed), 5, "repeats are dropped");
}

#[test]
fn after_a_reconnect_it_syncs_page_by_page_and_resends_in_order_before_anything_new() {
    let mut client = ready();
    tell(&mut client, "new-message", message(11), None, 0);
    client.submit(0, 5, 40);
    client.submit(0, 6, 40);
    let ids = |texts: &[Value]| {
        texts
            .iter()
            .filter_map(|text| Some(text["data"]["tempMessageId"].as_str()?.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&sent(&mut client, 10)), ["r-1-1", "r-1-2"]);
    client.lost_connection("gone", false, 20);
    client.submit(0, 30, 40);
    assert!(sent(&mut client, 30).is_empty() && client.wake_us().is_none());
    connect(&mut client, 40);
    let texts = sent(&mut client, 40);
    assert_eq!(after_seq(&texts[0]), &json!(11));
    assert_eq!(ids(&texts), ["r-1-1", "r-1-2", "r-1-3"]);
    answer(&mut client, &texts[0], &[12, 13], 14, true, 50);
    let next = sent(&mut client, 50);
    assert_eq!(after_seq(&next[0]), &json!(13));
    answer(&mut client, &next[0], &[14], 14, false, 60);
    assert_eq!(client.wake_us(), None);
    let records = told(&mut client);
    let again = records.iter().filter(|record| matches!(record, Record::Again { .. })).count();
    let first = records.iter().filter(|record| matches!(record, Record::Sent { .. })).count();
    assert_eq!((again, first), (2, 3));
}

#[test]
fn what_is_acknowledged_after_it_was_read_back_is_read_back_again() {
    let mut client = ready();
    let ack = |id: &str, seq: u64| json!({"tempMessageId": id, "conversationId": NAME, "status": "persisted", "messageId": "7", "seqId": seq});
    let begun = |client: &mut Client| {
        let records = told(client);
        records.iter().filter(|record| matches!(record, Record::ReadBack { .. })).count()
    };
    client.submit(0, 0, 40);
    client.submit(0, 0, 40);
    sent(&mut client, 0);
    client.read_back(0, 1);
    let first = sent(&mut client, 1);
    assert_eq!((after_seq(&first[0]), begun(&mut client)), (&json!(10), 1));
    // While the answer is on its way, and once it has come.
    tell(&mut client, "message-ack", ack("r-1-1", 11), None, 2);
    answer(&mut client, &first[0], &[], 10, false, 3);
    let second = sent(&mut client, 3);
    assert_eq!((after_seq(&second[0]), begun(&mut client)), (&json!(10), 1));
    assert_eq!(client.shared.counters.read_back.load(Relaxed), 0);
    answer(&mut client, &second[0], &[11], 11, false, 4);
    assert_eq!(client.shared.counters.read_back.load(Relaxed), 1);
    tell(&mut client, "message-ack", ack("r-1-2", 12), None, 5);
    assert_eq!(client.shared.counters.read_back.load(Relaxed), 0);
    let third = sent(&mut client, 5);
    assert_eq!((after_seq(&third[0]), begun(&mut client)), (&json!(11), 1));
    answer(&mut client, &third[0], &[12], 12, false, 6);
    assert_eq!(client.shared.counters.read_back.load(Relaxed), 1);
    assert_eq!(sent(&mut client, 7), [] as [Value; 0]);
}

#[test]
fn latency_counts_from_when_a_message_was_due() {
    let mut client = ready();
    client.submit(0, 1_000, 40);
    sent(&mut client, 50_000);
    told(&mut client);
    let ack = json!({"tempMessageId": "r-1-1", "conversationId": NAME, "status": "persisted", "messageId": "7", "seqId": 11});
    tell(&mut client, "message-ack", ack.clone(), None, 61_000);
    tell(&mut client, "message-ack", ack, None, 99_000);
    let mut batch = Batch::default();
    client.tell(&mut batch);
    let [sample] = batch.samples[..] else { panic!("a repeat is not measured: {:?}", batch.samples) };
    assert_eq!((sample.measure, sample.due_us, sample.begun_us), (Measure::Persisted, 60_000, 11_000));
    assert_eq!(client.shared.counters.persisted.load(Relaxed), 1);
}

#[test]
fn busy_and_final_errors_are_told_apart() {
    let mut client = ready();
    client.submit(0, 0, 40);
    client.submit(0, 0, 40);
    sent(&mut client, 0);
    let error = |id: &str, retryable: bool| json!({"code": "BUSY", "message": "m", "tempMessageId": id, "retryable": retryable});
    tell(&mut client, "error", error("r-1-1", true), None, 0);
    tell(&mut client, "error", error("r-1-2", false), None, 0);
    assert!(sent(&mut client, 1).is_empty());
    let wake = client.wake_us().unwrap();
    assert_eq!(sent(&mut client, wake)[0]["data"]["tempMessageId"], "r-1-1");
    let counters = &client.shared.counters;
    assert_eq!((counters.put_off.load(Relaxed), counters.refused.load(Relaxed)), (1, 1));
}

#[test]
fn a_refused_or_unanswered_sync_is_asked_again() {
    let mut client = client();
    connect(&mut client, 0);
    let asked = sent(&mut client, 0);
    let busy = json!({"code": "BUSY", "message": "m", "retryable": true});
    tell(&mut client, "error", busy, asked[0]["trace_id"].as_str(), 0);
    let wake = client.wake_us().unwrap();
    assert!(wake > 0 && sent(&mut client, wake - 1).is_empty());
    assert_eq!(sent(&mut client, wake).len(), 1);
    let deadline = client.wake_us().unwrap();
    assert!(sent(&mut client, deadline).is_empty());
    let wake = client.wake_us().unwrap();
    let asked = sent(&mut client, wake);
    answer(&mut client, &asked[0], &[], 0, false, wake);
    assert_eq!(client.shared.counters.ready.load(Relaxed), 1);
}

#[test]
fn at_the_end_everything_since_the_base_is_read_back() {
    let mut client = ready();
    tell(&mut client, "new-message", message(11), None, 0);
    client.read_back(1_000, 1);
    let asked = sent(&mut client, 1_000);
    assert_eq!(after_seq(&asked[0]), &json!(10));
    answer(&mut client, &asked[0], &[11, 12], 12, false, 2_000);
    assert_eq!(client.shared.counters.read_back.load(Relaxed), 1);
    assert_eq!(client.shared.counters.delivered.load(Relaxed), 1, "what is read back is no delivery");
    assert!(matches!(told(&mut client).last().unwrap(), Record::Stored { seq: 12, .. }));
}

#[test]
fn resync_asks_for_everything_within_the_time_named() {
    let mut client = ready();
    tell(&mut client, "resync", json!({"withinMs": 100}), None, 0);
    let wake = client.wake_us().unwrap();
    assert!(wake <= 100_000);
    assert_eq!(sent(&mut client, wake).len(), 1);
}
