//! Load on a Ringway by many clients that keep a ledger, and the judge of that ledger.
//!
//! `ringway load quick` sends by a schedule fixed beforehand, measures from the time a message was
//! to go out, writes down what every client saw, and has the [`judge`] read that file; `ringway load
//! verify` has it read again. `docs/load-testing.md` says what the figures and the lines mean.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clients measure with the clock and share counters; none of this runs on a shard"
)]

mod api;
mod client;
mod counters;
mod dial;
pub mod judge;
pub mod ledger;
mod options;
mod progress;
mod random;
mod ranges;
pub mod report;
mod run;
mod schedule;
mod setup;

pub use api::host as api_host;
pub use dial::{Target, target};
pub use options::{Options, User, users_of_tokens};
pub use run::{RunError, quick};
