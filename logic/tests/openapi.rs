//! `GET /api/openapi.json` says what the server does: every operation is called, and what comes back
//! is held to what is described.

mod support;

use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::{Rig, call, http, start, token};

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

fn described(rig: &Rig) -> Value {
    let answer = call(rig, "GET", "/api/openapi.json", "", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

/// All operations: method, path, description.
fn operations(api: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = api["paths"].as_object().expect("paths").iter();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("a path").iter();
            methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
        .collect()
}

/// Follows a reference within the description.
fn resolve<'a>(api: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let pointer = reference.strip_prefix('#').expect("a reference within the description");
    api.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

/// A validator for a schema of the description, which takes no fields but those described.
fn validator(api: &Value, schema: &Value) -> Validator {
    let mut root = json!({"components": api["components"], "allOf": [schema]});
    close(&mut root);
    jsonschema::options().should_validate_formats(true).build(&root).expect("a valid schema")
}

/// A client must bear fields that are not described yet; the server must not send any.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.insert("additionalProperties".into(), false.into());
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn check(validator: &Validator, value: &Value, of: &str) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{of}: {errors:#?} in {value:#}");
}

/// A server with a group of 1 (owner), 2 and 3, and messages in it and between 1 and 2.
fn furnished(data: &std::path::Path) -> Rig {
    let mut rig = start(data);
    http(&rig, 1, "POST", "/api/groups", r#"{"name":"friends","members":["2",3]}"#);
    for (user, conversation, id) in [(1, "group_1", "a"), (2, "single_1_2", "b"), (1, "single_1_2", "c")] {
        rig.send(user, conversation, id, "hello");
        rig.acked(id);
    }
    rig
}

#[test]
fn every_operation_answers_as_described() {
    let data = tempfile::tempdir().unwrap();
    let rig = furnished(data.path());
    let api = described(&rig);
    let (members, member) = ("/api/groups/{groupId}/members", "/api/groups/{groupId}/members/{userId}");
    let (messages, mark) =
        ("/api/conversations/{conversationId}/messages", "/api/conversations/{conversationId}/read");
    let mut called = BTreeSet::new();
    // The user 0 is nobody.
    for (user, method, path, actual, body, status) in [
        (1, "post", "/api/groups", "/api/groups", r#"{"name":"more","members":[2]}"#, 201),
        (1, "post", "/api/groups", "/api/groups", r#"{"name":""}"#, 400),
        (0, "post", "/api/groups", "/api/groups", r#"{"name":"x","members":[]}"#, 401),
        (2, "get", members, "/api/groups/1/members?limit=2&after=1", "", 200),
        (2, "get", members, "/api/groups/1/members?limit=x", "", 400),
        (0, "get", members, "/api/groups/1/members", "", 401),
        (9, "get", members, "/api/groups/1/members", "", 403),
        (1, "get", members, "/api/groups/99/members", "", 404),
        (1, "post", members, "/api/groups/1/members", r#"{"userIds":["4","5"]}"#, 204),
        (2, "post", members, "/api/groups/1/members", r#"{"userIds":["6"]}"#, 403),
        (1, "post", members, "/api/groups/99/members", r#"{"userIds":["6"]}"#, 404),
        (1, "post", members, "/api/groups/1/members", "{}", 400),
        (1, "put", member, "/api/groups/1/members/2", r#"{"role":"admin"}"#, 204),
        (1, "put", member, "/api/groups/1/members/2", r#"{"role":"owner"}"#, 400),
        (1, "put", member, "/api/groups/1/members/1", r#"{"role":"admin"}"#, 400),
        (3, "put", member, "/api/groups/1/members/2", r#"{"role":"member"}"#, 403),
        (1, "put", member, "/api/groups/1/members/77", r#"{"role":"admin"}"#, 404),
        (2, "delete", member, "/api/groups/1/members/5", "", 204),
        (3, "delete", member, "/api/groups/1/members/4", "", 403),
        (2, "delete", member, "/api/groups/1/members/77", "", 404),
        (2, "delete", member, "/api/groups/1/members/x", "", 400),
        (1, "get", "/api/conversations", "/api/conversations?limit=1", "", 200),
        (1, "get", "/api/conversations", "/api/conversations", "", 200),
        (8, "get", "/api/conversations", "/api/conversations", "", 200),
        (1, "get", "/api/conversations", "/api/conversations?cursor=x", "", 400),
        (0, "get", "/api/conversations", "/api/conversations", "", 401),
        (1, "get", messages, "/api/conversations/single_1_2/messages", "", 200),
        (1, "get", messages, "/api/conversations/group_1/messages?after_seq=0&limit=1", "", 200),
        (1, "get", messages, "/api/conversations/world/messages?before_seq=9", "", 200),
        (1, "get", messages, "/api/conversations/single_2_1/messages", "", 400),
        (0, "get", messages, "/api/conversations/world/messages", "", 401),
        (3, "get", messages, "/api/conversations/single_1_2/messages", "", 403),
        (1, "get", messages, "/api/conversations/group_99/messages", "", 404),
        (1, "put", mark, "/api/conversations/single_1_2/read", r#"{"seqId":99}"#, 204),
        (1, "put", mark, "/api/conversations/single_1_2/read", r#"{"seqId":"x"}"#, 400),
        (3, "put", mark, "/api/conversations/single_1_2/read", r#"{"seqId":1}"#, 403),
        (1, "put", mark, "/api/conversations/group_99/read", r#"{"seqId":1}"#, 404),
        (0, "get", "/api/config", "/api/config", "", 200),
        (0, "post", "/api/dev/token", "/api/dev/token", r#"{"userId":"1"}"#, 200),
        (0, "post", "/api/dev/token", "/api/dev/token", r#"{"userId":"one"}"#, 400),
        (0, "get", "/api/openapi.json", "/api/openapi.json", "", 200),
    ] {
        let of = format!("{method} {actual} as {user}");
        let bearer = format!("Authorization: Bearer {}\r\n", token(user));
        let headers = if user == 0 { "" } else { &bearer };
        let answer = call(&rig, &method.to_uppercase(), actual, headers, body);
        assert_eq!(answer.status, status, "{of}: {answer:?}");
        let operation = &api["paths"][path][method];
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{of}: {status} is not described");
        match resolve(&api, response)["content"].as_object() {
            None => assert_eq!(answer.body, "", "{of}"),
            Some(content) => {
                let (kind, content) = content.iter().next().expect("a content");
                assert_eq!(answer.header("content-type"), Some(kind.as_str()), "{of}");
                check(&validator(&api, &content["schema"]), &answer.json(), &of);
            }
        }
        if status < 300 {
            if let Some(content) = operation["requestBody"]["content"].as_object() {
                let schema = &content["application/json"]["schema"];
                check(&validator(&api, schema), &serde_json::from_str(body).unwrap(), &of);
            }
            called.insert((method, path));
        }
    }
    let all: BTreeSet<_> = operations(&api).iter().map(|(method, path, _)| (*method, *path)).collect();
    assert_eq!(called, all, "each operation is called with success");
    rig.stop();
}

#[test]
fn the_router_takes_what_is_described_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let api = described(&rig);
    for (path, item) in api["paths"].as_object().unwrap() {
        let actual =
            path.replace("{groupId}", "1").replace("{userId}", "2").replace("{conversationId}", "single_1_2");
        for method in METHODS {
            let status = call(&rig, &method.to_uppercase(), &actual, "", "").status;
            let unknown = [404, 405].contains(&status);
            assert_eq!(item.get(method).is_none(), unknown, "{method} {path}: {status}");
        }
    }
    rig.stop();
}

#[test]
fn a_token_is_asked_for_where_that_is_described() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let api = described(&rig);
    assert_eq!(api["security"], json!([{"bearer": []}]));
    for (method, path, operation) in operations(&api) {
        let open = operation["security"] == json!([]);
        let status = call(&rig, &method.to_uppercase(), path, "", "").status;
        assert_eq!(open, status != 401, "{method} {path}: {status}");
        assert_eq!(open, operation["responses"]["401"].is_null(), "{method} {path}");
    }
    rig.stop();
}

#[test]
fn limits_are_where_they_are_described() {
    let data = tempfile::tempdir().unwrap();
    let rig = furnished(data.path());
    let api = described(&rig);
    let mut limited = 0;
    for (_, path, operation) in operations(&api) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["name"] == "limit") {
            limited += 1;
            let schema = &parameter["schema"];
            let bound = |which: &str| schema[which].as_u64().expect("a bound");
            let (min, max) = (bound("minimum"), bound("maximum"));
            assert!((min..=max).contains(&bound("default")));
            let actual = path.replace("{groupId}", "1").replace("{conversationId}", "group_1");
            for (limit, status) in [(min - 1, 400), (min, 200), (max, 200), (max + 1, 400)] {
                let (got, answer) = http(&rig, 1, "GET", &format!("{actual}?limit={limit}"), "");
                assert_eq!(got, status, "{path} limit={limit}: {answer}");
            }
        }
    }
    assert_eq!(limited, 3);
    let schemas = &api["components"]["schemas"];
    let name_max = schemas["NewGroup"]["properties"]["name"]["maxLength"].as_u64().unwrap() as usize;
    let members_max = schemas["NewGroup"]["properties"]["members"]["maxItems"].as_u64().unwrap();
    for (name, members, status) in
        [(name_max, members_max, 201), (name_max + 1, 0, 400), (1, members_max + 1, 400)]
    {
        let body = json!({"name": "é".repeat(name), "members": (1..=members).collect::<Vec<_>>()});
        assert_eq!(http(&rig, 1, "POST", "/api/groups", &body.to_string()).0, status, "{name} {members}");
    }
    rig.stop();
}

#[test]
fn the_description_hangs_together() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let api = described(&rig);
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&api) {
        assert!(METHODS.contains(&method), "{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().expect("an id")), "{method} {path}");
        assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
        let in_path: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let described = parameters.filter(|parameter| parameter["in"] == "path");
        let described: BTreeSet<_> = described.filter_map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(described, in_path, "{path}");
    }
    let mut used = BTreeSet::new();
    references(&api, &api, &mut used);
    for (kind, all) in api["components"].as_object().unwrap() {
        if kind == "securitySchemes" {
            continue;
        }
        for name in all.as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "nothing refers to {name}");
        }
    }
    rig.stop();
}

/// Collects every reference, each of which must lead somewhere.
fn references(api: &Value, value: &Value, used: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref") {
                resolve(api, value);
                used.insert(reference.as_str().expect("a reference").to_owned());
            }
            fields.values().for_each(|value| references(api, value, used));
        }
        Value::Array(items) => items.iter().for_each(|value| references(api, value, used)),
        _ => {}
    }
}

#[test]
fn the_page_on_the_protocol_lists_the_same_calls() {
    let data = tempfile::tempdir().unwrap();
    let rig = start(data.path());
    let api = described(&rig);
    let page = include_str!("../../docs/protocol.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let told: BTreeSet<_> =
        rows.map(|(call, _)| call.to_owned()).filter(|call| call.contains(" /api/")).collect();
    let all = operations(&api).into_iter();
    let all: BTreeSet<_> = all.map(|(method, path, _)| format!("{} {path}", method.to_uppercase())).collect();
    assert_eq!(told, all);
    rig.stop();
}
