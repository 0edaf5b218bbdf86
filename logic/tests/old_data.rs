//! Data that older builds have written opens, is brought up to date, and keeps everything.

mod support;

use serde_json::{Value, json};
use support::{Rig, http, seqs, start};

/// What the commit named in `data/README.md` has written, byte for byte.
const BEFORE_LISTS: &[u8] = include_bytes!("data/before-lists.db");
const LARGEST: u64 = u64::MAX;

fn opened(data: &tempfile::TempDir) -> Rig {
    let path = data.path().join("test.db");
    if !path.exists() {
        std::fs::write(path, BEFORE_LISTS).unwrap();
    }
    start(data.path())
}

/// Content, sender, client id, message id and time of each message.
fn messages(part: &Value) -> Vec<[&str; 5]> {
    let fields = ["content", "sender_id", "client_msg_id", "message_id", "created_at"];
    part["messages"]
        .as_array()
        .unwrap_or_else(|| panic!("{part}"))
        .iter()
        .map(|message| fields.map(|name| message[name].as_str().unwrap()))
        .collect()
}

#[test]
fn every_message_is_there_as_it_was_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = opened(&data);
    let single = rig.sync(1, "single_1_2", Some(0), 300);
    assert_eq!(
        messages(&single),
        [
            ["first of a single", "1", "s-1", "72057594037927936", "2026-11-24T23:49:08.870Z"],
            [
                "answer: ä漢😀 \"quoted\"\nsecond line",
                "2",
                "s-2",
                "72057594037927937",
                "2026-11-24T23:49:08.885Z"
            ],
            ["picture.png", "1", "s-3", "72057594037927938", "2026-11-24T23:49:08.886Z"],
        ]
    );
    assert_eq!((&single["messages"][2]["message_type"], &single["lastSeq"]), (&json!("image"), &json!(3)));
    assert_eq!(single["messages"][0]["trace_id"], "t-s-1");
    let group = rig.sync(2, "group_1", Some(0), 300);
    assert_eq!(
        messages(&group),
        [
            ["one", "1", "g-1", "72058693549555712", "2026-11-24T23:49:08.904Z"],
            ["two, of one who leaves", "3", "g-2", "72058693549555713", "2026-11-24T23:49:08.908Z"],
            ["three, after 3 left", "2", "g-3", "72058693549555714", "2026-11-24T23:49:08.916Z"],
            ["four, which 4 may read", "1", "g-4", "72058693549555715", "2026-11-24T23:49:08.931Z"],
        ]
    );
    assert_eq!(
        messages(&rig.sync(9, "world", Some(0), 300)),
        [
            ["hello world", "3", "w-1", "72057594037927939", "2026-11-24T23:49:08.932Z"],
            ["hello", "1", "w-2", "72057594037927940", "2026-11-24T23:49:08.936Z"],
        ]
    );
    assert_eq!(
        messages(&rig.sync(LARGEST, "single_3_18446744073709551615", Some(0), 300)),
        [["to the largest id", "3", "s-1", "72061992084439040", "2026-11-24T23:49:08.938Z"]]
    );
    rig.stop();
}

#[test]
fn groups_keep_their_members_roles_and_windows() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = opened(&data);
    let (status, page) = http(&rig, 1, "GET", "/api/groups/1/members", "");
    assert_eq!(status, 200);
    let members: Vec<_> =
        page["members"].as_array().unwrap().iter().map(|m| json!([m["userId"], m["role"]])).collect();
    assert_eq!(json!(members), json!([["1", "owner"], ["2", "admin"], ["4", "member"]]));
    let windows = [(1, vec![1, 2, 3, 4]), (3, vec![1, 2]), (4, vec![4])];
    for (user, expected) in windows {
        assert_eq!(seqs(&rig.sync(user, "group_1", Some(0), 300)), expected, "user {user}");
    }
    rig.send(3, "group_1", "gone", "I have left");
    assert_eq!(rig.refused("gone"), "NOT_A_MEMBER");
    let (_, made) = http(&rig, 1, "POST", "/api/groups", r#"{"name":"new","members":[2]}"#);
    assert_eq!(made["conversationId"], "group_2", "ids of groups go on");
    rig.stop();
}

#[test]
fn the_list_that_there_was_not_yet_has_every_conversation() {
    let data = tempfile::tempdir().unwrap();
    let rig = opened(&data);
    let list = |user| {
        let (status, list) = http(&rig, user, "GET", "/api/conversations", "");
        assert_eq!(status, 200, "{list}");
        let list = list["conversations"].as_array().unwrap().clone();
        let line = |c: &Value| json!([c["conversationId"], c["name"], c["lastSeq"], c["unreadCount"]]);
        json!(list.iter().map(line).collect::<Vec<_>>())
    };
    assert_eq!(list(1), json!([["group_1", "old friends", 4, 2], ["single_1_2", null, 3, 1]]));
    assert_eq!(list(2), json!([["group_1", "old friends", 4, 3], ["single_1_2", null, 3, 2]]));
    assert_eq!(list(3), json!([["single_3_18446744073709551615", null, 1, 0]]), "who left has no group");
    assert_eq!(list(4), json!([["group_1", "old friends", 4, 1]]));
    assert_eq!(list(LARGEST), json!([["single_3_18446744073709551615", null, 1, 1]]));
    rig.stop();
}

#[test]
fn new_messages_go_on_where_the_old_ones_ended_and_old_ids_get_their_first_answers() {
    let data = tempfile::tempdir().unwrap();
    for (round, next) in [("a", 4), ("b", 5)] {
        let mut rig = opened(&data);
        rig.send(2, "single_1_2", "s-2", "answer: ä漢😀 \"quoted\"\nsecond line");
        assert_eq!(rig.acked("s-2"), (2, "72057594037927937".to_owned()));
        rig.send(3, "single_3_18446744073709551615", "s-1", "to the largest id");
        assert_eq!(rig.acked("s-1"), (1, "72061992084439040".to_owned()));
        rig.send(1, "single_1_2", "s-1", "something else");
        assert_eq!(rig.refused("s-1"), "ID_REUSED");
        rig.send(1, "single_1_2", round, "new");
        let (seq, id) = rig.acked(round);
        assert_eq!(seq, next);
        assert!(id.parse::<u64>().unwrap() > 72057594037927940, "{id} may not be one that was given out");
        rig.send(2, "group_1", round, "new");
        assert_eq!(rig.acked(round).0, next + 1);
        rig.send(7, "world", round, "new");
        assert_eq!(rig.acked(round).0, next - 1);
        let all = rig.sync(1, "single_1_2", Some(0), 300);
        assert_eq!(seqs(&all), (1..=next).collect::<Vec<_>>());
        rig.stop();
    }
}
