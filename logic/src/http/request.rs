//! What is taken from a request: the caller, the path, the query, the body. Whatever is wrong with
//! one of them is a problem like any other.

use super::Api;
use super::problem::{Code, Problem};
use crate::clock;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use protocol::UserId;
use protocol::ids::decimal;
use protocol::limits::HTTP_BODY_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// Who calls, by their token. Comes first in a handler: a stranger learns nothing else.
pub(super) struct Caller(pub(super) UserId);

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let field = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = field.and_then(|field| field.split_once(' ')).filter(|(scheme, _)| {
            // RFC 9110 section 11.1: the scheme's case does not matter.
            scheme.eq_ignore_ascii_case("bearer")
        });
        let (_, token) =
            token.ok_or_else(|| Problem::unauthorized("send a token as: Authorization: Bearer <token>"))?;
        let claims = api.keys.borrow().verify(token.trim(), clock::now());
        claims.map(|claims| Self(claims.user)).map_err(|error| Problem::unauthorized(error.to_string()))
    }
}

/// The path's parameters.
pub(super) struct InPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|error| Problem::invalid(error.body_text()))
    }
}

/// The query's parameters.
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| Problem::invalid(error.body_text()))
    }
}

/// The body, which is JSON; without a Content-Type it is taken for that.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if let Some(kind) = not_json(request.headers()) {
            let detail = format!("the body must be application/json, got {kind:?}");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::UnsupportedMediaType, detail));
        }
        let body = Bytes::from_request(request, state).await.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("a body may have at most {HTTP_BODY_BYTES_MAX} bytes");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge, detail)
            }
            _ => Problem::invalid(format!("the body could not be read: {error}")),
        })?;
        let wrong = |error| Problem::invalid(format!("the body is not what is expected: {error}"));
        serde_json::from_slice(&body).map(Self).map_err(wrong)
    }
}

/// The Content-Type, if it is there and is not JSON's.
fn not_json(headers: &HeaderMap) -> Option<String> {
    let kind = String::from_utf8_lossy(headers.get(header::CONTENT_TYPE)?.as_bytes()).into_owned();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    (!essence.eq_ignore_ascii_case("application/json")).then_some(kind)
}

/// A user id: a string of digits, or an integer.
#[derive(Debug, Clone, Copy)]
pub(super) struct User(pub(super) UserId);

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

/// An id in a path or a query.
pub(super) fn id(text: &str, what: &str) -> Result<u64, Problem> {
    decimal(text).ok_or_else(|| Problem::invalid(format!("{what} must be digits, got {text:?}")))
}

/// How many were asked for.
pub(super) fn limit(asked: Option<u32>, default: u32, max: u32) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(default);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid(format!("limit must be between 1 and {max}, got {limit}")))
}

#[cfg(test)]
mod tests {
    use super::not_json;
    use axum::http::{HeaderMap, HeaderValue, header};

    #[test]
    fn a_body_is_json_unless_it_is_called_otherwise() {
        let with = |kind| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        assert_eq!(not_json(&HeaderMap::new()), None);
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(not_json(&with(kind)), None, "{kind}");
        }
        for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
            assert_eq!(not_json(&with(kind)).as_deref(), Some(kind));
        }
    }
}
