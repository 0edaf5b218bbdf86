//! The HTTP API over a real socket: groups, problems, other origins.

mod support;

use serde_json::json;
use support::{call, http, start, token};

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

#[test]
fn whatever_is_wrong_with_a_request_is_a_problem() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let bearer = format!("Authorization: Bearer {}\r\n", token(1));
    let text = format!("{bearer}Content-Type: text/plain\r\n");
    let (group, large) = (r#"{"name":"g","members":[]}"#, " ".repeat((64 << 10) + 1));
    for (method, path, headers, body, status, code) in [
        ("GET", "/api/conversations", "", "", 401, "UNAUTHORIZED"),
        ("GET", "/api/conversations", "Authorization: Basic YTpi\r\n", "", 401, "UNAUTHORIZED"),
        ("GET", "/api/conversations", "Authorization: Bearer x\r\n", "", 401, "UNAUTHORIZED"),
        ("POST", "/api/groups", "", &large, 401, "UNAUTHORIZED"),
        ("GET", "/api/conversations?limit=many", &bearer, "", 400, "INVALID_REQUEST"),
        ("GET", "/api/conversations?limit=0", &bearer, "", 400, "INVALID_REQUEST"),
        ("GET", "/api/conversations?limit=101", &bearer, "", 400, "INVALID_REQUEST"),
        ("GET", "/api/conversations/%ff/messages", &bearer, "", 400, "INVALID_REQUEST"),
        ("GET", "/api/conversations/world/messages?after_seq=-1", &bearer, "", 400, "INVALID_REQUEST"),
        (
            "GET",
            "/api/conversations/world/messages?after_seq=1&before_seq=2",
            &bearer,
            "",
            400,
            "INVALID_REQUEST",
        ),
        ("PUT", "/api/conversations/world/read", &bearer, r#"{"seqId":1}"#, 400, "INVALID_REQUEST"),
        ("GET", "/api/groups/1/members?after=x", &bearer, "", 400, "INVALID_REQUEST"),
        ("GET", "/api/groups/1/members?limit=1001", &bearer, "", 400, "INVALID_REQUEST"),
        ("POST", "/api/groups", &bearer, &large, 413, "BODY_TOO_LARGE"),
        ("POST", "/api/groups", &text, group, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ] {
        let answer = call(&rig, method, path, headers, body);
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (status, &json!(code)), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
    }
    let json =
        format!("{}Content-Type: application/json; charset=utf-8\r\n", bearer.replace("Bearer", "bearer"));
    assert_eq!(call(&rig, "POST", "/api/groups", &json, group).status, 201);
    let answer = call(&rig, "PATCH", "/api/groups/1/members", &bearer, "");
    let mut allowed: Vec<_> = answer.header("allow").unwrap_or_default().split(',').collect();
    allowed.sort_unstable();
    assert_eq!((answer.status, allowed), (405, vec!["GET", "HEAD", "POST"]));
    rig.stop();
}

#[test]
fn pages_of_listed_origins_may_use_the_api_and_no_others() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let from = |origin: &str, method: &str, headers: &str| {
        call(&rig, method, "/api/config", &format!("Origin: {origin}\r\n{headers}"), "")
    };
    let allowed = |answer: &support::Answer| answer.header("access-control-allow-origin").map(str::to_owned);
    assert_eq!(allowed(&from("https://chat.example", "GET", "")).as_deref(), Some("https://chat.example"));
    assert_eq!(allowed(&from("https://evil.example", "GET", "")), None);
    let ask = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization,content-type\r\n";
    let answer = from("https://chat.example", "OPTIONS", ask);
    assert_eq!((answer.status, allowed(&answer).as_deref()), (200, Some("https://chat.example")));
    let methods = answer.header("access-control-allow-methods").unwrap_or_default();
    assert!(["GET", "POST", "PUT", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    let headers = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    assert_eq!(allowed(&from("https://evil.example", "OPTIONS", ask)), None);
    // A page has to see what went wrong, too.
    let problem = call(&rig, "GET", "/api/conversations", "Origin: https://chat.example\r\n", "");
    assert_eq!((problem.status, allowed(&problem).as_deref()), (401, Some("https://chat.example")));
    rig.stop();
}
