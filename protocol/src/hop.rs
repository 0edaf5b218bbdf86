//! The hops of a message's way as they are told: each is one event of `tracing`, at debug level, so
//! that one trace id can be followed through the logs of every process, or as spans.
//!
//! Fields: `hop` its name, `trace_id`, `started_ms` when it began (ms since 1970), `ended_ms` when
//! it ended if that was not just now, and `conversation` and `seq` where they are known.

/// Target of all of these events. Nothing else has it.
pub const TARGET: &str = "ringway::hop";

/// A shard took the message and put it onto the road.
pub const PUBLISH: &str = "publish";
/// Kafka has confirmed it.
pub const ACCEPTED: &str = "accepted";
/// A worker has committed it.
pub const PERSIST: &str = "persist";
/// A worker has given it to the road, for the shards of its recipients.
pub const DISTRIBUTE: &str = "distribute";
/// A shard has queued it for its recipients' sockets.
pub const DELIVER: &str = "deliver";
