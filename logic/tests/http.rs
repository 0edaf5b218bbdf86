//! The HTTP API of groups, over a real socket.

mod support;

use serde_json::json;
use support::{http, start};

#[test]
fn a_group_is_made_and_its_members_listed_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let (status, made) = http(&rig, 1, "POST", "/api/groups", r#"{"name":"friends","members":["3",2]}"#);
    assert_eq!((status, made), (201, json!({"groupId": "1", "conversationId": "group_1"})));
    let (status, page) = http(&rig, 2, "GET", "/api/groups/1/members?limit=2", "");
    assert_eq!((status, page["members"].as_array().unwrap().len(), &page["hasMore"]), (200, 2, &json!(true)));
    assert_eq!((&page["members"][0]["userId"], &page["members"][0]["role"]), (&json!("1"), &json!("owner")));
    let (_, page) = http(&rig, 2, "GET", "/api/groups/1/members?limit=2&after=2", "");
    assert_eq!((&page["members"][0]["userId"], &page["hasMore"]), (&json!("3"), &json!(false)));
    rig.stop();
}

#[test]
fn roles_say_who_may_do_what() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":[2,3,4]}"#);
    let call = |user, method: &str, path: &str, body: &str| http(&rig, user, method, path, body).0;
    assert_eq!(call(2, "DELETE", "/api/groups/1/members/3", ""), 403);
    assert_eq!(call(2, "PUT", "/api/groups/1/members/2", r#"{"role":"admin"}"#), 403);
    assert_eq!(call(1, "PUT", "/api/groups/1/members/2", r#"{"role":"admin"}"#), 204);
    assert_eq!(call(2, "DELETE", "/api/groups/1/members/3", ""), 204);
    assert_eq!(call(2, "DELETE", "/api/groups/1/members/1", ""), 403, "nobody removes the owner");
    assert_eq!(call(4, "DELETE", "/api/groups/1/members/4", ""), 204, "oneself may always leave");
    assert_eq!(call(1, "DELETE", "/api/groups/1/members/1", ""), 204);
    let (_, page) = http(&rig, 2, "GET", "/api/groups/1/members", "");
    assert_eq!(
        page["members"],
        json!([{"userId": "2", "role": "owner", "joinedAt": page["members"][0]["joinedAt"]}])
    );
    assert_eq!(call(1, "GET", "/api/groups/1/members", ""), 403, "who left does not see who is in");
    rig.stop();
}

#[test]
fn errors_are_problems_with_a_code() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let too_many = json!({"name": "g", "members": (0..1_001).collect::<Vec<_>>()}).to_string();
    for (method, path, body, status, code) in [
        ("GET", "/api/nothing", "", 404, "NOT_FOUND"),
        ("PATCH", "/api/groups", "", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/groups", "{", 400, "INVALID_REQUEST"),
        ("POST", "/api/groups", r#"{"name":"","members":[]}"#, 400, "INVALID_REQUEST"),
        ("POST", "/api/groups", r#"{"name":"g","members":[-1]}"#, 400, "INVALID_REQUEST"),
        ("POST", "/api/groups", &too_many, 400, "INVALID_REQUEST"),
        ("GET", "/api/groups/7/members", "", 404, "CONVERSATION_NOT_FOUND"),
        ("GET", "/api/groups/x/members", "", 400, "INVALID_REQUEST"),
    ] {
        let (got, problem) = http(&rig, 1, method, path, body);
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{method} {path} {body:.50}: {problem}");
        assert_eq!(problem["status"], status);
    }
    rig.stop();
}
