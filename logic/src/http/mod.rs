//! The HTTP API: groups and their members, behind a bearer token. Errors are RFC 9457 problems.

mod conversations;
mod groups;
mod page;
mod session;

use crate::clock;
use crate::groups::{GroupError, Groups};
use crate::outbound::Tell;
use crate::store::{Marks, Reader, StoreError};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use protocol::event::{self, Change};
use protocol::ids::decimal;
use protocol::record::EntryKind;
use protocol::token::Keys;
use protocol::{ConversationId, UserId};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// A request's body, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What the API needs.
#[derive(Clone)]
pub struct Api {
    /// The groups.
    pub groups: Arc<Mutex<Groups>>,
    /// Reads histories and lists.
    pub reader: Arc<Mutex<Box<dyn Reader>>>,
    /// Moves read marks.
    pub marks: Arc<Mutex<Box<dyn Marks>>>,
    /// Tells sessions what has changed.
    pub tell: Arc<dyn Tell>,
    /// The keys of tokens, as they are now.
    pub keys: watch::Receiver<Keys>,
    /// The key that signs development tokens; none outside `dev`.
    pub dev_key: Option<Arc<[u8]>>,
    /// Where the socket is; `{host}` stands for the host that the client asked for.
    pub socket_url: Arc<str>,
    /// Pages of other origins that may use the API.
    pub origins: Arc<[String]>,
}

/// The routes.
pub fn router(api: Api) -> Router {
    let cors = cors(&api.origins);
    let routes = Router::new()
        .route("/api/groups", post(groups::create_group))
        .route("/api/groups/{id}/members", get(groups::list_members).post(groups::add_members))
        .route("/api/groups/{id}/members/{user}", delete(groups::remove_member).put(groups::set_role))
        .route("/api/conversations", get(conversations::list))
        .route("/api/conversations/{id}/messages", get(conversations::messages))
        .route("/api/conversations/{id}/read", put(conversations::mark_read))
        .route("/api/config", get(session::config))
        .route("/api/dev/token", post(session::dev_token));
    page::routes(routes)
        .fallback(async || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "nothing is here: the page is at /, the API at /api",
            )
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "this path does not take that method",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(cors)
        .with_state(api)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
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
            GroupError::Store(error) => return error.into(),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        tracing::error!(%error, "the HTTP API could not use the store");
        let detail = "the store can't answer now: try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "INTERNAL", detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
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
        let claims = self
            .keys
            .borrow()
            .verify(token.trim(), clock::now())
            .map_err(|error| unauthorized(error.to_string()))?;
        Ok(claims.user)
    }

    /// Tells users what became of their membership.
    async fn tell_change(&self, conversation: ConversationId, change: Change, users: Vec<UserId>) {
        self.tell(EntryKind::Update, users, event::conversation_update(conversation, change)).await;
    }

    async fn tell(&self, kind: EntryKind, users: Vec<UserId>, payload: Vec<u8>) {
        let tell = Arc::clone(&self.tell);
        // It waits while a shard is behind, which must not hold up other calls.
        let told = tokio::task::spawn_blocking(move || tell.tell(kind, &users, &payload)).await;
        if told.is_err() {
            tracing::error!("telling sessions about a change panicked");
        }
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

fn id(text: &str, what: &str) -> Result<u64, Problem> {
    decimal(text).ok_or_else(|| Problem::invalid(format!("{what} must be digits, got {text:?}")))
}

fn limit(asked: Option<u32>, default: u32, max: u32) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(default);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid(format!("limit must be between 1 and {max}, got {limit}")))
}
