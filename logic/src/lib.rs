//! The worker pool: consume, decide, persist, distribute; and the HTTP API.
//!
//! - [`decide`]: what becomes of each record, a pure function;
//! - [`persist`]: a batch in one transaction, under the fence;
//! - [`distribute`]: after COMMIT, acks and messages to the shards of those who should see them;
//! - [`fanout`]: large groups, by bucket ranges;
//! - [`query`] answers `sync`, moves read marks, passes on who is typing;
//! - [`groups`] and [`http`]: who is in a group;
//! - [`store`]: the tables;
//! - [`failpoint`]: where a worker can be told to die, to see what becomes of its batch;
//! - [`worker`]: the threads of one worker.

mod clock;
pub mod decide;
pub mod distribute;
pub mod failpoint;
pub mod fanout;
pub mod groups;
pub mod handoff;
pub mod history;
pub mod http;
pub mod outbound;
pub mod persist;
pub mod progress;
pub mod query;
pub mod roads;
pub mod stats;
pub mod store;
pub mod sync;
pub mod worker;

pub use stats::Stats;
pub use worker::{StartError, Worker, WorkerConfig};
