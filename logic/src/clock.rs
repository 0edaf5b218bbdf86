//! The wall clock, read in one place.

use protocol::UnixMs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now.
#[allow(
    clippy::disallowed_methods,
    reason = "workers are no shards; this is the one place that reads the clock"
)]
pub(crate) fn now() -> UnixMs {
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
}
