//! The clocks of a worker, read in one place.

use protocol::UnixMs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock.
#[allow(
    clippy::disallowed_methods,
    reason = "workers are no shards; this is the one place that reads the clocks"
)]
pub(crate) fn now() -> UnixMs {
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
}

/// For how long something takes.
#[allow(
    clippy::disallowed_methods,
    reason = "workers are no shards; this is the one place that reads the clocks"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
