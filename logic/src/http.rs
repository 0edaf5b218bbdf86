//! The HTTP API: groups and their members, behind a bearer token. Errors are RFC 9457 problems.

use crate::clock;
use crate::groups::{GroupError, Groups, Role};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use protocol::ids::decimal;
use protocol::limits::{GROUP_MEMBERS_PER_CALL_MAX, GROUP_NAME_CHARS_MAX};
use protocol::token::{self, Keys};
use protocol::{ConversationId, UnixMs, UserId};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A request's body, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Members in one answer.
const MEMBERS_LIMIT_MAX: u32 = 1_000;
const MEMBERS_LIMIT_DEFAULT: u32 = 100;
/// How long a development token from the API is valid.
const DEV_TOKEN_TTL_MS: u64 = 24 * 3_600_000;

/// What the API needs.
#[derive(Clone)]
pub struct Api {
    /// The groups.
    pub groups: Arc<Mutex<Groups>>,
    /// The keys of tokens.
    pub keys: Keys,
    /// The key that signs development tokens; none outside `dev`.
    pub dev_key: Option<Arc<[u8]>>,
}

/// The routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/api/groups", post(create_group))
        .route("/api/groups/{id}/members", get(list_members).post(add_members))
        .route("/api/groups/{id}/members/{user}", delete(remove_member).put(set_role))
        .route("/api/dev/token", post(dev_token))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "nothing is here: the API is at /api")
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "this path does not take that method",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({"type": "about:blank", "title": title, "status": self.status.as_u16(), "code": self.code, "detail": self.detail});
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Self {
        let (status, code) = match &error {
            GroupError::NotFound(_) => (StatusCode::NOT_FOUND, "CONVERSATION_NOT_FOUND"),
            GroupError::NoSuchMember(_) => (StatusCode::NOT_FOUND, "NOT_A_MEMBER"),
            GroupError::Forbidden(_) => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            GroupError::Invalid(_) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            GroupError::Store(error) => {
                tracing::error!(%error, "the HTTP API could not use the store");
                let detail = "the store can't answer now: try again in a moment";
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "INTERNAL", detail);
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl Api {
    fn caller(&self, headers: &HeaderMap) -> Result<UserId, Problem> {
        let unauthorized = |detail: String| Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", detail);
        let field = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            field.and_then(|field| field.strip_prefix("Bearer ").or_else(|| field.strip_prefix("bearer ")));
        let token =
            token.ok_or_else(|| unauthorized("send a token as: Authorization: Bearer <token>".into()))?;
        let claims =
            self.keys.verify(token.trim(), clock::now()).map_err(|error| unauthorized(error.to_string()))?;
        Ok(claims.user)
    }
}

/// A user id: a string of digits, or an integer.
struct User(UserId);

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let id = value.as_u64().or_else(|| decimal(value.as_str()?));
        let wrong = || {
            serde::de::Error::custom(format!("a user id is a string of digits or an integer, got {value}"))
        };
        id.map(UserId).map(User).ok_or_else(wrong)
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::invalid(format!("the body is not what is expected: {error}")))
}

fn users(users: Vec<User>, field: &str) -> Result<Vec<UserId>, Problem> {
    if users.len() > GROUP_MEMBERS_PER_CALL_MAX {
        let got = users.len();
        return Err(Problem::invalid(format!(
            "{field} may name at most {GROUP_MEMBERS_PER_CALL_MAX} users a call, got {got}"
        )));
    }
    Ok(users.into_iter().map(|user| user.0).collect())
}

fn id(text: &str, what: &str) -> Result<u64, Problem> {
    decimal(text).ok_or_else(|| Problem::invalid(format!("{what} must be digits, got {text:?}")))
}

async fn create_group(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Create {
        name: String,
        members: Vec<User>,
    }
    let caller = api.caller(&headers)?;
    let Create { name, members } = read(&body)?;
    let chars = name.chars().count();
    if !(1..=GROUP_NAME_CHARS_MAX).contains(&chars) {
        let detail = format!("name must be between 1 and {GROUP_NAME_CHARS_MAX} characters, got {chars}");
        return Err(Problem::invalid(detail));
    }
    let members = users(members, "members")?;
    let group = api.groups.lock().await.create(caller, &name, &members).await?;
    let conversation = ConversationId::Group(group);
    let answer = json!({"groupId": group.to_string(), "conversationId": conversation});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

#[derive(Deserialize)]
struct Page {
    after: Option<String>,
    limit: Option<u32>,
}

async fn list_members(
    State(api): State<Api>,
    Path(group): Path<String>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = api.caller(&headers)?;
    let group = id(&group, "the group's id")?;
    let Query(page) = page.map_err(|error| Problem::invalid(error.body_text()))?;
    let after = page.after.map(|after| id(&after, "after").map(UserId)).transpose()?;
    let limit = page.limit.unwrap_or(MEMBERS_LIMIT_DEFAULT);
    if !(1..=MEMBERS_LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid(format!(
            "limit must be between 1 and {MEMBERS_LIMIT_MAX}, got {limit}"
        )));
    }
    let (members, has_more) = api.groups.lock().await.members(group, caller, after, limit).await?;
    let members: Vec<_> = members
        .iter()
        .map(|m| json!({"userId": m.user, "role": m.role.as_str(), "joinedAt": UnixMs(m.joined_at_ms)}))
        .collect();
    Ok(Json(json!({"members": members, "hasMore": has_more})).into_response())
}

async fn add_members(
    State(api): State<Api>,
    Path(group): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Add {
        user_ids: Vec<User>,
    }
    let caller = api.caller(&headers)?;
    let group = id(&group, "the group's id")?;
    let Add { user_ids } = read(&body)?;
    let added = users(user_ids, "userIds")?;
    api.groups.lock().await.add(group, caller, &added).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_member(
    State(api): State<Api>,
    Path((group, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let caller = api.caller(&headers)?;
    let (group, user) = (id(&group, "the group's id")?, id(&user, "the user's id")?);
    api.groups.lock().await.remove(group, caller, UserId(user)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_role(
    State(api): State<Api>,
    Path((group, user)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    #[derive(Deserialize)]
    struct Set {
        role: String,
    }
    let caller = api.caller(&headers)?;
    let (group, user) = (id(&group, "the group's id")?, id(&user, "the user's id")?);
    let role = match read::<Set>(&body)?.role.as_str() {
        "admin" => Role::Admin,
        "member" => Role::Member,
        other => return Err(Problem::invalid(format!("role must be admin or member, got {other:?}"))),
    };
    api.groups.lock().await.set_role(group, caller, UserId(user), role).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn dev_token(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ask {
        user_id: User,
    }
    let key = api.dev_key.filter(|_| peer.ip().to_canonical().is_loopback()).ok_or_else(|| {
        let detail = "development tokens are given out by `ringway dev` only, and to this machine only";
        Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail)
    })?;
    let Ask { user_id } = read(&body)?;
    let expires_at = UnixMs(clock::now().0 + DEV_TOKEN_TTL_MS);
    let token = token::mint_hs256(&key, user_id.0, None, expires_at);
    Ok(Json(json!({"token": token, "expiresAt": expires_at})).into_response())
}
