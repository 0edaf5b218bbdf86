//! `GET /api/openapi.json`: the API's description, OpenAPI 3.1. Ranges and defaults come from
//! `protocol::limits`, paths and methods from the table that the router is made from.

pub(super) mod describe;
mod schemas;

use super::operations::OPERATIONS;
use super::problem::Code;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// The whole description.
fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = (operation.describe)();
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Ringway HTTP API",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Groups, conversations and histories beside the WebSocket",
            "description": "Ids of users, groups and messages are strings, since JavaScript loses integers \
                above 2^53. Times are RFC 3339 in UTC. Errors are RFC 9457 problems with a `code`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [
            {"name": "groups", "description": "Groups and their members"},
            {"name": "conversations", "description": "Lists, histories and read marks"},
            {"name": "client", "description": "What a client needs to begin with"},
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "responses": problems(),
            "schemas": schemas::all(),
        },
    })
}

/// Status, name and meaning of the problems that operations refer to.
const PROBLEMS: &[(u16, &str, &str)] = &[
    (400, "Invalid", "A parameter or the body is not valid; `detail` says what was expected and what came"),
    (401, "Unauthorized", "The token is missing, expired or not valid"),
    (403, "Forbidden", "The caller may not do this"),
    (404, "NotFound", "There is no such group, conversation or member"),
    (413, "TooLarge", "The body has too many bytes"),
    (415, "NotJson", "The body is called something else than JSON"),
    (503, "Unavailable", "The store can't answer now; the same call may be made again after Retry-After"),
];

fn problems() -> Value {
    let all = PROBLEMS.iter().map(|(status, name, description)| {
        let mut response = json!({
            "description": description,
            "content": {"application/problem+json": {"schema": reference("Problem")}},
        });
        match status {
            401 => response["headers"] = json!({"WWW-Authenticate": {"schema": {"const": "Bearer"}}}),
            503 => {
                response["headers"] = json!({"Retry-After": {"schema": {"type": "integer", "minimum": 0}}})
            }
            _ => {}
        }
        ((*name).to_owned(), response)
    });
    Value::Object(all.collect())
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn codes() -> Value {
    json!(Code::ALL)
}
