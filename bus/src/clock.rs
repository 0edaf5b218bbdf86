//! The clocks of this crate's own threads. None of them is a shard, and none runs in the simulator.

use protocol::UnixMs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock.
#[allow(clippy::disallowed_methods, reason = "threads of the road are no shards")]
pub(crate) fn unix() -> UnixMs {
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// For deadlines.
#[allow(clippy::disallowed_methods, reason = "threads of the road are no shards")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
