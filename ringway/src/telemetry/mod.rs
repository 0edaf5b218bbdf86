//! A message's hops as spans of OpenTelemetry, if the environment asks for them: `OTEL_*` as the
//! specification has it, by OTLP over HTTP. `docs/metrics.md` says which variables.
//!
//! Spans are exported by a thread of the library's, behind a bounded queue that drops what does not
//! fit; it logs the first drop, and at the end how many there were.

mod asked;
mod span;

use asked::{Asked, asked};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};
use protocol::hop;
use span::Fields;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer};

/// How long the end of the process waits for the last spans; the collector may be away.
const END_WAIT: Duration = Duration::from_secs(2);

/// Turns events of the target [`hop::TARGET`] into spans.
pub(crate) struct Hops {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
}

/// Exports what is left when it is dropped.
pub(crate) struct Telemetry(Arc<BatchSpanProcessor>);

/// What the environment asks for: nothing, or a layer and its guard; or why that can't be had, for
/// the log: no process fails to start for want of its spans.
pub(crate) fn start(service: &'static str) -> Result<Option<(Hops, Telemetry)>, String> {
    match asked(|name| std::env::var(name).ok()) {
        Asked::Nothing => Ok(None),
        Asked::Unknown(why) => Err(why),
        Asked::Otlp { named } => {
            let exporter = SpanExporter::builder().with_http();
            // What the builder reads by itself is everything but the protocol.
            let exporter = exporter.with_protocol(opentelemetry_otlp::Protocol::HttpBinary).build();
            let exporter = exporter.map_err(|error| error.to_string())?;
            // The resource reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES by itself.
            let mut resource = Resource::builder();
            if !named {
                resource = resource.with_service_name(service);
            }
            let resource =
                resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
            Ok(Some(Hops::new(exporter, &resource.build())))
        }
    }
}

impl Hops {
    fn new(exporter: SpanExporter, resource: &Resource) -> (Self, Telemetry) {
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(resource);
        let processor = Arc::new(processor);
        let scope = InstrumentationScope::builder("ringway").with_version(env!("CARGO_PKG_VERSION")).build();
        (Self { processor: Arc::clone(&processor), scope }, Telemetry(processor))
    }

    /// What the layer wants to see. Without the layer, and at the log's default level, the events'
    /// callsites are off.
    pub(crate) fn filter() -> Targets {
        Targets::new().with_target(hop::TARGET, LevelFilter::DEBUG)
    }
}

impl<S: Subscriber> Layer<S> for Hops {
    #[allow(clippy::disallowed_methods, reason = "a span ends when it is told; nothing is decided by it")]
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(span) = fields.span(SystemTime::now(), &self.scope) {
            self.processor.on_end(span);
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(END_WAIT) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hops;
    use protocol::hop;
    use tracing::Level;
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::{EnvFilter, fmt, registry};

    #[test]
    fn hops_are_told_to_nobody_unless_a_log_or_a_collector_wants_them() {
        for (log, expected) in [("info", false), ("info,ringway::hop=debug", true)] {
            let log = fmt::layer().with_writer(std::io::sink).with_filter(EnvFilter::new(log));
            let without: Option<Hops> = None;
            let without = without.map(|hops| hops.with_filter(Hops::filter()));
            tracing::subscriber::with_default(registry().with(log).with(without), || {
                assert_eq!(tracing::enabled!(target: hop::TARGET, Level::DEBUG), expected);
            });
        }
    }
}
