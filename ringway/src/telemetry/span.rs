//! One event of a hop as one span.

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::{Debug, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};

/// What an event of a hop says.
#[derive(Debug, Default)]
pub(super) struct Fields {
    hop: String,
    trace_id: String,
    started_ms: Option<u64>,
    ended_ms: Option<u64>,
    conversation: String,
    seq: Option<u64>,
}

impl Fields {
    fn text(&mut self, field: &Field) -> Option<&mut String> {
        match field.name() {
            "hop" => Some(&mut self.hop),
            "trace_id" => Some(&mut self.trace_id),
            "conversation" => Some(&mut self.conversation),
            _ => None,
        }
    }

    /// A span that ended at `now` unless the event says when; none of an event without a trace.
    pub(super) fn span(self, now: SystemTime, scope: &InstrumentationScope) -> Option<SpanData> {
        let time = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
        let start_time = time(self.started_ms?);
        if self.trace_id.is_empty() || self.hop.is_empty() {
            return None;
        }
        let trace_id = trace_id(&self.trace_id);
        let span_id = RandomIdGenerator::default().new_span_id();
        let mut attributes = vec![KeyValue::new("ringway.trace_id", self.trace_id)];
        if !self.conversation.is_empty() {
            attributes.push(KeyValue::new("ringway.conversation", self.conversation));
        }
        if let Some(seq) = self.seq {
            attributes.push(KeyValue::new("ringway.seq", seq as i64));
        }
        Some(SpanData {
            span_context: SpanContext::new(
                trace_id,
                span_id,
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            // A client may use one trace for many messages, and processes don't know each other's
            // spans: what they share is the trace.
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Owned(self.hop),
            start_time,
            // Clocks of two machines differ: no span ends before it starts.
            end_time: self.ended_ms.map_or(now, time).max(start_time),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope.clone(),
        })
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "started_ms" => self.started_ms = Some(value),
            "ended_ms" => self.ended_ms = Some(value),
            "seq" => self.seq = Some(value),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(text) = self.text(field) {
            value.clone_into(text);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if let Some(text) = self.text(field) {
            text.clear();
            write!(text, "{value:?}").expect("a String takes everything");
        }
    }
}

/// A trace id of 32 hexadecimal digits is what OpenTelemetry calls one; for every other text all
/// processes agree on the beginning of its SHA-256.
fn trace_id(text: &str) -> TraceId {
    let hexadecimal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let own = TraceId::from_hex(text).ok().filter(|id| hexadecimal && *id != TraceId::INVALID);
    own.unwrap_or_else(|| {
        let hash: [u8; 32] = Sha256::digest(text).into();
        TraceId::from_bytes(*hash.first_chunk().expect("it is longer"))
    })
}

#[cfg(test)]
mod tests {
    use super::{Fields, trace_id};
    use opentelemetry::InstrumentationScope;
    use std::time::{Duration, UNIX_EPOCH};

    fn span(started_ms: u64, ended_ms: Option<u64>, now_ms: u64) -> (u64, u64) {
        let fields = Fields {
            hop: "publish".into(),
            trace_id: "t".into(),
            started_ms: Some(started_ms),
            ended_ms,
            ..Fields::default()
        };
        let now = UNIX_EPOCH + Duration::from_millis(now_ms);
        let span = fields.span(now, &InstrumentationScope::default()).expect("a span");
        let ms = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        (ms(span.start_time), ms(span.end_time))
    }

    #[test]
    fn a_span_starts_and_ends_when_its_event_says() {
        assert_eq!(span(10, None, 15), (10, 15));
        assert_eq!(span(10, Some(12), 15), (10, 12));
        assert_eq!(span(10, Some(7), 15), (10, 10), "another machine's clock is ahead");
    }

    #[test]
    fn an_event_without_a_trace_is_no_span() {
        let fields = Fields { hop: "publish".into(), started_ms: Some(1), ..Fields::default() };
        assert_eq!(fields.span(UNIX_EPOCH, &InstrumentationScope::default()), None);
    }

    #[test]
    fn an_opentelemetry_trace_id_stands_and_every_other_text_has_one() {
        let own = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(own).to_string(), own);
        // printf %s order-1 | sha256sum
        assert_eq!(trace_id("order-1").to_string(), "0bafe22156d2698c143b86040446d366");
        let zero = "0".repeat(32);
        assert_ne!(trace_id(&zero).to_string(), zero, "it stands for none");
        assert_ne!(trace_id("+bf92f3577b34da6a3ce929d0e0e4736").to_string(), own);
    }
}
