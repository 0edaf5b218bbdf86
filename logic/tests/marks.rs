//! Read marks, unread counts, the list of conversations, and who is typing.

mod support;

use protocol::record::{EntryKind, Query, Targets};
use protocol::{ConversationId, UnixMs, UserId};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Rig, http, start};

fn list(rig: &Rig, user: u64) -> Vec<Value> {
    let (status, list) = http(rig, user, "GET", "/api/conversations", "");
    assert_eq!(status, 200, "{list}");
    list["conversations"].as_array().unwrap().clone()
}

fn mark(rig: &mut Rig, user: u64, conversation: &str, seq: u64) {
    let conversation = ConversationId::parse(conversation).unwrap();
    rig.ask(user, Query::MarkRead { conversation, seq });
}

#[test]
fn unread_is_what_others_have_written_after_the_mark() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    for id in ["a", "b", "c"] {
        rig.send(1, "single_1_2", id, id);
        rig.acked(id);
    }
    rig.send(2, "single_1_2", "d", "answer");
    rig.acked("d");
    let of_two = list(&rig, 2);
    assert_eq!((&of_two[0]["unreadCount"], &of_two[0]["lastSeq"]), (&json!(3), &json!(4)));
    assert_eq!(of_two[0]["lastMessage"]["content"], "answer");
    assert_eq!((&list(&rig, 1)[0]["unreadCount"], &of_two[0]["type"]), (&json!(1), &json!("single")));

    rig.connect(1);
    mark(&mut rig, 2, "single_1_2", 2);
    let read = rig.next(EntryKind::Read);
    let data_of = json!({"conversationId": "single_1_2", "userId": "2", "seqId": 2});
    assert_eq!((&read.event["data"], read.targets), (&data_of, Targets::Users(vec![UserId(1)])));
    assert_eq!(list(&rig, 2)[0]["unreadCount"], 1);

    // Back is no way, and beyond the newest there is nothing.
    mark(&mut rig, 2, "single_1_2", 1);
    mark(&mut rig, 2, "single_1_2", 99);
    assert_eq!(rig.next(EntryKind::Read).event["data"]["seqId"], 4);
    assert_eq!(list(&rig, 2)[0]["readSeq"], 4);
    mark(&mut rig, 3, "single_1_2", 1);
    assert_eq!(rig.next(EntryKind::Error).event["data"]["code"], "NOT_A_MEMBER");
    mark(&mut rig, 3, "world", 1);
    assert_eq!(rig.next(EntryKind::Error).event["data"]["code"], "INVALID_MESSAGE");
    assert_eq!(http(&rig, 1, "PUT", "/api/conversations/single_1_2/read", r#"{"seqId":4}"#).0, 204);
    assert_eq!(list(&rig, 1)[0]["unreadCount"], 0);
    rig.stop();
}

#[test]
fn the_list_has_the_latest_first_and_goes_on_by_cursor() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    for other in 2..=6 {
        rig.send_at(1, &format!("single_1_{other}"), "x", "hello", 1_000 + other);
        rig.acked("x");
    }
    let mut cursor = String::new();
    let mut seen = vec![];
    loop {
        let (status, page) = http(&rig, 1, "GET", &format!("/api/conversations?limit=2{cursor}"), "");
        assert_eq!(status, 200, "{page}");
        let part = page["conversations"].as_array().unwrap();
        assert!(part.len() <= 2);
        seen.extend(part.iter().map(|line| line["conversationId"].as_str().unwrap().to_owned()));
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["single_1_6", "single_1_5", "single_1_4", "single_1_3", "single_1_2"]);
    assert_eq!(http(&rig, 1, "GET", "/api/conversations?cursor=x", "").0, 400);
    rig.stop();
}

#[test]
fn a_history_is_read_in_pages_both_ways_within_the_window() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":[2]}"#);
    for n in 1..=10 {
        rig.send(1, "group_1", &n.to_string(), "x");
        rig.acked(&n.to_string());
        if n == 4 {
            assert_eq!(http(&rig, 1, "POST", "/api/groups/1/members", r#"{"userIds":[3]}"#).0, 204);
        }
    }
    let page = |user, query: &str| {
        let path = format!("/api/conversations/group_1/messages{query}");
        let (status, page) = http(&rig, user, "GET", &path, "");
        assert_eq!(status, 200, "{page}");
        (support::seqs(&page), page["hasMore"].as_bool().unwrap())
    };
    assert_eq!(page(2, "?limit=3"), (vec![8, 9, 10], true));
    assert_eq!(page(2, "?limit=3&before_seq=8"), (vec![5, 6, 7], true));
    assert_eq!(page(2, "?limit=30&before_seq=5"), (vec![1, 2, 3, 4], false));
    assert_eq!(page(2, "?limit=4&after_seq=7"), (vec![8, 9, 10], false));
    assert_eq!(page(3, ""), ((5..=10).collect(), false), "who came later sees what came after");
    assert_eq!(page(3, "?after_seq=0&limit=2"), (vec![5, 6], true));
    for beyond in [10, 11, 1 << 63, u64::MAX] {
        assert_eq!(page(3, &format!("?after_seq={beyond}")), (vec![], false), "after {beyond}");
    }
    assert_eq!(page(3, &format!("?before_seq={}&limit=2", u64::MAX)), (vec![9, 10], true));
    assert_eq!(page(3, "?before_seq=0"), (vec![], false));
    assert_eq!(http(&rig, 9, "GET", "/api/conversations/group_1/messages", "").0, 403);
    assert_eq!(http(&rig, 9, "GET", "/api/conversations/group_9/messages", "").0, 404);
    assert_eq!(http(&rig, 9, "GET", "/api/conversations/nonsense/messages", "").0, 400);
    assert_eq!(http(&rig, 1, "GET", "/api/conversations/group_1/messages?limit=301", "").0, 400);
    rig.stop();
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a hint's age is measured by the wall clock")]
fn typing_goes_to_the_others_who_are_online_and_not_late() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    for user in [1, 2] {
        rig.connect(user);
    }
    let now = UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64);
    let conversation = ConversationId::parse("single_1_2").unwrap();
    rig.ask(1, Query::Typing { conversation, at: UnixMs(now.0 - 10_000) });
    rig.ask(2, Query::Typing { conversation, at: now });
    let typing = rig.next(EntryKind::Typing);
    assert_eq!(typing.event["data"], json!({"conversationId": "single_1_2", "userId": "2"}));
    assert_eq!(typing.targets, Targets::Users(vec![UserId(1)]), "the late one of user 1 was dropped");
    rig.ask(3, Query::Typing { conversation, at: now });
    assert_eq!(rig.next(EntryKind::Error).event["data"]["code"], "NOT_A_MEMBER");
    rig.stop();
}

#[test]
fn whoever_is_added_or_removed_is_told() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    for user in [1, 2, 3] {
        rig.connect(user);
    }
    http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":[2]}"#);
    let update = rig.next(EntryKind::Update);
    assert_eq!(update.targets, Targets::Users(vec![UserId(1), UserId(2)]));
    assert_eq!(update.event["data"], json!({"conversationId": "group_1", "change": "added"}));
    http(&rig, 1, "POST", "/api/groups/1/members", r#"{"userIds":[2,3]}"#);
    assert_eq!(rig.next(EntryKind::Update).targets, Targets::Users(vec![UserId(3)]), "only who is new");
    http(&rig, 1, "DELETE", "/api/groups/1/members/2", "");
    let update = rig.next(EntryKind::Update);
    assert_eq!(
        (&update.event["data"]["change"], update.targets),
        (&json!("removed"), Targets::Users(vec![UserId(2)]))
    );
    rig.stop();
}
