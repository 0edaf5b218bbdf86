//! What all clients share: their logs, their errors, and headers.

use crate::clock;
use protocol::UnixMs;
use protocol::wire::{HEADER_VERSION, VERSION};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;

/// How soon a partition without a leader is asked for again.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// Each of a process's clients says at each attempt that no broker is there, a dozen times a second: one
/// line in this time is enough.
const DOWN_EVERY: Duration = Duration::from_secs(10);
static DOWN: Rarely = Rarely(AtomicU64::new(0));

/// Why the road could not be started, or a call on it failed.
#[derive(Debug, Error)]
pub enum KafkaRoadError {
    /// Nobody is there.
    #[error(
        "no Kafka broker answers at {brokers} within {waited:?} ({source}): is it up, and is the address right?"
    )]
    NoBroker {
        /// Where.
        brokers: String,
        /// How long.
        waited: Duration,
        /// What the client says.
        #[source]
        source: KafkaError,
    },
    /// A topic whose partitions can't be changed has another number of them.
    #[error(
        "topic {topic} has {found} partitions, but {expected} are configured: set upstream_partitions to {found}; \
         to change the number, drain, delete the topic and run `ringway logic new-epoch` with the new one configured \
         (docs/operations.md, Growing)"
    )]
    PartitionCount {
        /// Which.
        topic: String,
        /// In Kafka.
        found: usize,
        /// In the settings.
        expected: usize,
    },
    /// A topic could not be made, or grown.
    #[error("topic {topic} can't be made with {partitions} partitions and {replication} copies: {why}")]
    Topic {
        /// Which.
        topic: String,
        /// How many were asked for.
        partitions: usize,
        /// Copies asked for.
        replication: i32,
        /// What Kafka says.
        why: String,
    },
    /// A topic was made but did not become ready.
    #[error("topic {topic} has no leader for each of {partitions} partitions after {waited:?}")]
    NotReady {
        /// Which.
        topic: String,
        /// How many are needed.
        partitions: usize,
        /// How long.
        waited: Duration,
    },
    /// A setting that the client does not take, or a call that failed.
    #[error("Kafka client: {0}")]
    Client(#[from] KafkaError),
    /// No thread.
    #[error("cannot start the road's thread: {0}")]
    Thread(#[source] io::Error),
}

/// Ends a source from another thread: what was polled stands, and nothing follows.
#[derive(Debug, Clone, Default)]
pub struct KafkaCloser(Arc<AtomicBool>);

impl KafkaCloser {
    /// The next poll says that the road is closed.
    pub fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Logs as `tracing` events.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Logged {}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, "Kafka client: {message}"),
        RDKafkaLogLevel::Warning => tracing::warn!(facility, "Kafka client: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(facility, "Kafka client: {message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(facility, "Kafka client: {message}"),
    }
}

/// What a client reports goes on by itself (a broker that is away, for example).
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    let down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
    if !down || DOWN.is_time(clock::unix(), DOWN_EVERY) {
        tracing::warn!(%error, "Kafka client: {reason}");
    }
}

/// When something was last told, ms since 1970.
struct Rarely(AtomicU64);

impl Rarely {
    /// Whether it is told now; `false` if it was within `every`.
    fn is_time(&self, now: UnixMs, every: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        // A clock that was set back must not silence it.
        let due = u128::from(now.0.abs_diff(last)) >= every.as_millis();
        due && self.0.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Headers that begin with the version.
pub(super) fn headers(more: &[(&str, &str)]) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(1 + more.len())
        .insert(Header { key: HEADER_VERSION, value: Some(VERSION) });
    more.iter().fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }))
}

/// The value of a record's first header of that name.
pub(super) fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    message.headers()?.iter().find(|header| header.key == name)?.value
}

/// The oldest offset that a partition's log holds, and the one that is written next. A topic that was
/// just made may still be looking for the leaders of its partitions: it is asked again until `wait` is
/// over.
pub(super) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
    wait: Duration,
) -> Result<(i64, i64), KafkaError> {
    let until = clock::now() + wait;
    loop {
        match client.fetch_watermarks(topic, partition, wait) {
            Ok(marks) => return Ok(marks),
            Err(error) if clock::now() > until => return Err(error),
            Err(_) => std::thread::sleep(LEADER_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rarely, UnixMs};
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    #[test]
    fn what_goes_on_is_told_once_in_its_time() {
        let (rarely, every) = (Rarely(AtomicU64::new(0)), Duration::from_secs(10));
        let told = [5_000_000, 5_000_001, 5_009_999, 5_010_000, 5_010_001, 4_000_000, 4_000_001];
        let told = told.map(|ms| rarely.is_time(UnixMs(ms), every));
        assert_eq!(told, [true, false, false, true, false, true, false]);
    }
}
