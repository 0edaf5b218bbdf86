//! What the API answers when it can't do what it was asked: RFC 9457 problems with a `code`.

use crate::groups::GroupError;
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::ErrorCode;
use serde::Serialize;
use serde_json::json;

/// When a store that did not answer may be asked again, seconds.
const RETRY_AFTER_S: &str = "1";

/// Why a call was refused, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Code {
    InvalidRequest,
    Unauthorized,
    Forbidden,
    NotAMember,
    NotFound,
    ConversationNotFound,
    MethodNotAllowed,
    BodyTooLarge,
    UnsupportedMediaType,
    Internal,
}

impl Code {
    /// All of them, for the description.
    pub(super) const ALL: [Self; 10] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotAMember,
        Self::NotFound,
        Self::ConversationNotFound,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::Internal,
    ];
}

/// A refusal, or a failure of ours.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: Code,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidRequest, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail)
    }

    /// A conversation that is not open to the caller.
    pub(super) fn not_open(code: ErrorCode, detail: &str) -> Self {
        match code {
            ErrorCode::NotAMember => Self::new(StatusCode::FORBIDDEN, Code::NotAMember, detail),
            ErrorCode::ConversationNotFound => {
                Self::new(StatusCode::NOT_FOUND, Code::ConversationNotFound, detail)
            }
            _ => Self::invalid(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        let more = match self.status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER_S)),
            _ => None,
        };
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Self {
        let (status, code) = match &error {
            GroupError::NotFound(_) => (StatusCode::NOT_FOUND, Code::ConversationNotFound),
            GroupError::NoSuchMember(_) => (StatusCode::NOT_FOUND, Code::NotAMember),
            GroupError::Forbidden(_) => (StatusCode::FORBIDDEN, Code::Forbidden),
            GroupError::Invalid(_) => (StatusCode::BAD_REQUEST, Code::InvalidRequest),
            GroupError::Store(error) => return error.into(),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        tracing::error!(%error, "the HTTP API could not use the store");
        let detail = "the store can't answer now: try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Internal, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}
