//! Load on a Ringway by many clients that keep a ledger, and the judge of that ledger.
//!
//! `ringway load run` goes through a [`scenario`]: it sends by a schedule fixed beforehand, measures
//! from the time a message was to go out, writes down what every client saw, and has the [`judge`]
//! read that file; `ringway load verify` has it read again. The clients live on the engine's own
//! ring. `docs/load-testing.md` says what the figures and the lines mean.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clients measure with the clock and share counters; none of this runs on a gateway's shard"
)]

mod api;
mod client;
pub mod compare;
mod counters;
mod course;
mod dial;
pub mod distributed;
mod interval;
pub mod judge;
pub mod ledger;
mod measure;
mod options;
mod peer;
mod plan;
mod progress;
mod random;
mod ranges;
pub mod report;
mod run;
pub mod scenario;
mod server;
mod shard;
mod share;
mod socket;
mod speaker;
pub mod store;
mod tally;
mod threshold;

pub use api::host as api_host;
pub use dial::{SHARDS_MAX, Target, target};
pub use options::{Options, User, users_of_tokens};
pub use peer::{Language, Protocol, Shape};
pub use progress::{Progress, judging};
pub use run::{RunError, run};
pub use threshold::Threshold;
