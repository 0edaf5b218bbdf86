//! What the JSON forms share: text that borrows where it can, and checks of fields.

use super::DecodeError;
use crate::ids::decimal;
use crate::limits::TRACE_ID_BYTES_MAX;
use crate::{ConversationId, Origin, UserId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A string of the record, borrowed unless it has escapes. (An `Option<Cow<str>>` always copies.)
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Reads JSON of at most `bytes_max`.
pub(super) fn read<'a, T: Deserialize<'a>>(value: &'a [u8], bytes_max: usize) -> Result<T, DecodeError> {
    if value.len() > bytes_max {
        return Err(DecodeError::TooLarge { got: value.len(), max: bytes_max });
    }
    let text = std::str::from_utf8(value).map_err(|_| DecodeError::NotUtf8)?;
    serde_json::from_str(text).map_err(|error| {
        let shown = cut(&error.to_string());
        if error.is_data() { DecodeError::BadShape(shown) } else { DecodeError::NotJson(shown) }
    })
}

/// Appends JSON to `out`.
pub(super) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("records hold only strings, numbers and lists");
}

/// What is shown of a text that somebody else wrote.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

pub(super) fn bad(field: &'static str, why: impl Into<String>) -> DecodeError {
    DecodeError::BadField { field, why: why.into() }
}

pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::MissingField(field))
}

pub(super) fn user(field: &'static str, value: Option<Text<'_>>) -> Result<UserId, DecodeError> {
    let text = required(field, value)?.0;
    decimal(&text).map(UserId).ok_or_else(|| bad(field, "expected a decimal u64"))
}

pub(super) fn conversation(value: Option<Text<'_>>) -> Result<ConversationId, DecodeError> {
    let text = required("conversation_id", value)?.0;
    ConversationId::parse(&text).map_err(|_| DecodeError::BadConversationId)
}

pub(super) fn session(value: Option<Text<'_>>) -> Result<Origin, DecodeError> {
    let text = required("session_id", value)?.0;
    Origin::parse(&text).map_err(|error| bad("session_id", error.to_string()))
}

pub(super) fn trace_id<'a>(value: Text<'a>) -> Result<Cow<'a, str>, DecodeError> {
    if value.0.len() > TRACE_ID_BYTES_MAX {
        let got = value.0.len();
        return Err(bad("trace_id", format!("expected at most {TRACE_ID_BYTES_MAX} bytes, got {got}")));
    }
    Ok(value.0)
}
