//! What a worker makes of messages, over a real store.

mod support;

use protocol::UserId;
use protocol::record::{EntryKind, Targets};
use serde_json::json;
use support::{http, origin, seqs, start};

#[test]
fn seqs_are_dense_in_the_order_of_sending() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    for n in 0..1_000 {
        rig.put(1, "single_1_2", &format!("a{n}"), "x");
        rig.put(2, "world", &format!("b{n}"), "x");
    }
    rig.uplink_flush();
    let (mut single, mut world) = (0, 0);
    for _ in 0..2_000 {
        let ack = rig.next(EntryKind::Ack).event["data"].take();
        let next = if ack["conversationId"] == "world" { &mut world } else { &mut single };
        *next += 1;
        assert_eq!(ack["seqId"], *next);
    }
    rig.stop();
}

#[test]
fn a_repeat_gets_its_first_ids_in_the_same_batch_later_and_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    rig.put(1, "single_1_2", "a", "hello");
    rig.put(1, "single_1_2", "a", "hello");
    rig.uplink_flush();
    let first = rig.acked("a");
    assert_eq!(rig.acked("a"), first);
    rig.send(1, "single_1_2", "b", "more");
    assert_eq!(rig.acked("b").0, 2);
    rig.send(1, "single_1_2", "a", "hello");
    assert_eq!(rig.acked("a"), first);
    rig.stop();
    let mut rig = start(data.path());
    rig.send(1, "single_1_2", "a", "hello");
    assert_eq!(rig.acked("a"), first);
    rig.send(1, "single_1_2", "c", "new");
    assert_eq!(rig.acked("c").0, 3);
    assert_eq!(rig.worker.stats().duplicates_looked_up.get(), 1, "the cold repeat was found by its key");
    rig.stop();
}

#[test]
fn a_client_id_is_the_senders_own_and_stands_for_one_content() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    rig.send(1, "single_1_2", "a", "hello");
    rig.acked("a");
    rig.send(1, "single_1_2", "a", "other");
    assert_eq!(rig.refused("a"), "ID_REUSED");
    rig.send(2, "single_1_2", "a", "mine");
    assert_eq!(rig.acked("a").0, 2);
    rig.send(1, "world", "a", "elsewhere");
    assert_eq!(rig.acked("a").0, 1);
    rig.stop();
}

#[test]
fn only_members_send() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    rig.send(3, "single_1_2", "a", "x");
    assert_eq!(rig.refused("a"), "NOT_A_MEMBER");
    rig.send(3, "group_1", "b", "x");
    assert_eq!(rig.refused("b"), "CONVERSATION_NOT_FOUND");
    assert_eq!(http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":["2",4]}"#).0, 201);
    rig.send(3, "group_1", "b", "x");
    assert_eq!(rig.refused("b"), "NOT_A_MEMBER", "the group that was made meanwhile is seen");
    rig.send(4, "group_1", "b", "x");
    assert_eq!(rig.acked("b").0, 1);
    rig.stop();
}

#[test]
fn a_change_of_membership_counts_from_the_next_message_on() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    assert_eq!(http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":[2]}"#).0, 201);
    rig.send(2, "group_1", "a", "x");
    rig.acked("a");
    assert_eq!(http(&rig, 1, "DELETE", "/api/groups/1/members/2", "").0, 204);
    rig.send(2, "group_1", "b", "x");
    assert_eq!(rig.refused("b"), "NOT_A_MEMBER");
    rig.send(1, "group_1", "c", "x");
    rig.acked("c");
    assert_eq!(http(&rig, 1, "POST", "/api/groups/1/members", r#"{"userIds":["3"]}"#).0, 204);
    rig.send(3, "group_1", "d", "x");
    assert_eq!(rig.acked("d").0, 3);
    assert_eq!(seqs(&rig.sync(2, "group_1", Some(0), 50)), [1], "who left reads up to their leaving");
    assert_eq!(seqs(&rig.sync(3, "group_1", Some(0), 50)), [3], "who came reads from their coming");
    assert_eq!(http(&rig, 1, "POST", "/api/groups/1/members", r#"{"userIds":["2"]}"#).0, 204);
    rig.send(1, "group_1", "e", "x");
    rig.acked("e");
    assert_eq!(seqs(&rig.sync(2, "group_1", Some(0), 50)), [4], "coming back replaces the window");
    assert!(rig.worker.stats().fence_lost.get() >= 2);
    rig.stop();
}

#[test]
fn a_message_goes_to_everybody_online_in_one_record_and_not_to_the_session_it_came_from() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    assert_eq!(http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":[2,3,4]}"#).0, 201);
    for user in [1, 2, 3] {
        rig.connect(user);
    }
    let before = rig.worker.stats().downstream_records.get();
    rig.send(1, "group_1", "a", "x");
    rig.acked("a");
    let message = rig.next(EntryKind::Message);
    assert_eq!(message.targets, Targets::Users(vec![UserId(1), UserId(2), UserId(3)]), "4 is offline");
    assert_eq!(message.exclude, Some(origin(1).session));
    assert_eq!((&message.event["data"]["content"], &message.event["trace_id"]), (&"x".into(), &"t-a".into()));
    assert_eq!(rig.worker.stats().downstream_records.get(), before + 1);
    rig.send(2, "world", "b", "x");
    assert_eq!(rig.next(EntryKind::Message).targets, Targets::All);
    rig.stop();
}

#[test]
fn world_takes_so_much_of_each_user_and_tells_who_sends_more() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    // This rig's world takes one a second of each user, and 2,000 at once.
    for n in 0..2_001 {
        rig.put(1, "world", &n.to_string(), "x");
    }
    rig.put(2, "world", "other", "x");
    rig.uplink_flush();
    for n in 0..2_000 {
        rig.acked(&n.to_string());
    }
    let refused = rig.next(EntryKind::Error).event["data"].take();
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("RATE_LIMITED"), &json!(true)));
    assert!(
        refused["message"].as_str().unwrap().contains("1 a second, 2000 at once of each user"),
        "{refused}"
    );
    assert_eq!(rig.acked("other").0, 2_001, "others are not concerned, and no seq is lost");
    rig.send(1, "world", "1999", "x");
    assert_eq!(rig.acked("1999").0, 2_000, "a repeat needs no room");
    rig.send_at(1, "world", "2000", "x", 2_000);
    assert_eq!(rig.acked("2000").0, 2_002, "later there is room again");
    rig.stop();
}

#[test]
fn what_was_taken_is_persisted_when_the_road_closes() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    for n in 0..3_000 {
        rig.put(1, "single_1_2", &format!("a{n}"), "x");
    }
    rig.stop();
    let mut rig = start(data.path());
    assert_eq!(rig.sync(1, "single_1_2", None, 1)["lastSeq"], 3_000);
    rig.stop();
}
