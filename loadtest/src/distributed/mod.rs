//! Several processes that make one run: a coordinator leads, workers hold the clients.
//!
//! Every worker has the whole plan and goes through the whole schedule, of which it sends what its
//! [`share`](crate::share) of the users is to send. So the schedule is that of one process. The
//! coordinator leads as it would lead clients of its own ([`crate::run::Field`]): its course goes out to
//! the workers, their counters and histograms come back and are added up.

mod clock;
mod collect;
mod coordinator;
mod crowd;
mod frame;
mod gather;
mod line;
mod link;
mod message;
mod pack;
mod secret;
mod setup;
mod worker;
mod workers;

pub use coordinator::{Coordinator, coordinate};
pub use secret::{SECRET_BYTES_MIN, Secret};
pub use worker::{Worked, Worker, work};

use std::time::Duration;

/// The version of what the two say to each other.
const PROTOCOL: u32 = 1;
/// The version of the program: both sides have the same, since they draw one schedule.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of a frame at most until the other side is known.
const HELLO_BYTES_MAX: usize = 4 << 10;
/// Bytes of a frame at most after that: 15 histograms at their largest, in base64, are 4 MB.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// Bytes of users, members or ledger that go into one frame, about.
const CHUNK_BYTES: usize = 1 << 20;
/// How long the first frames of a connection may take.
const HELLO: Duration = Duration::from_secs(5);
/// Connections that may be at their first frames at a time; one more is closed.
const HELLOS_MAX: usize = 16;
/// How often each side says that it lives, and after how long without a word it counts as gone.
const ALIVE: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(10);
/// How long the other side may take to read what is sent to it.
const SEND: Duration = Duration::from_secs(10);
/// How long workers may take to get ready: to make rings and a ledger, and to be told of all users.
const READY: Duration = Duration::from_secs(120);
/// How long they may take to leave, and to write what is left of their ledgers: on two busy cores the kernel
/// took 40 s to close 200,000 ends of connections. One that is dead shows by its silence.
const LEAVE: Duration = Duration::from_secs(300);
/// From the word to start until the start.
const START_IN: Duration = Duration::from_millis(500);
/// How often a worker reports, in the time of the run, microseconds: whole multiples, so that the
/// reports of all can be added up moment by moment.
const REPORT_US: u64 = 250_000;
/// How long after a word of the coordinator a worker's clients have heard of it.
const FOLLOW: Duration = Duration::from_millis(100);
/// How long a worker looks for its coordinator, and how often.
const JOIN: Duration = Duration::from_secs(30);
const JOIN_EVERY: Duration = Duration::from_millis(200);
/// Reports of one worker that wait for those of others.
const REPORTS_MAX: usize = 128;
/// Events of all workers that wait to be looked at; who meets a full queue waits.
const EVENTS_MAX: usize = 64;
/// Bytes of a ledger at most that are taken over the connection.
const LEDGER_BYTES_MAX: u64 = 64 << 30;
