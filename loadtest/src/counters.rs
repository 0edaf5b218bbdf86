//! What all clients count together, for the progress line and to know when a run has settled.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counted by clients, read by the one who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Clients that are connected.
    pub(crate) online: AtomicU64,
    /// Clients that know the last seq of each of their conversations.
    pub(crate) ready: AtomicU64,
    /// Clients that have read everything back.
    pub(crate) read_back: AtomicU64,
    /// Clients that have given up.
    pub(crate) gone: AtomicU64,
    /// Messages handed to clients.
    pub(crate) scheduled: AtomicU64,
    /// Messages that went out.
    pub(crate) sent: AtomicU64,
    /// Messages acknowledged as persisted.
    pub(crate) persisted: AtomicU64,
    /// Messages refused for good.
    pub(crate) refused: AtomicU64,
    /// Refusals after which the message goes out again.
    pub(crate) put_off: AtomicU64,
    /// Deliveries that what was persisted calls for.
    pub(crate) expected: AtomicU64,
    /// Deliveries to recipients, each counted once.
    pub(crate) delivered: AtomicU64,
    /// Sessions after a client's first.
    pub(crate) reconnects: AtomicU64,
    /// Sessions that ended before the run did.
    pub(crate) dropped: AtomicU64,
    /// Holes that had not closed by themselves.
    pub(crate) holes: AtomicU64,
    /// Times that the server said `resync`.
    pub(crate) resyncs: AtomicU64,
    /// The first reason why a session ended.
    pub(crate) first_drop: OnceLock<String>,
    /// The first refusal for good, or other error that names no message.
    pub(crate) first_error: OnceLock<String>,
    /// Why the run can't go on.
    pub(crate) fatal: OnceLock<String>,
}

impl Counters {
    /// Whether everything that was handed out is persisted or refused, and everything persisted is
    /// delivered.
    pub(crate) fn have_settled(&self) -> bool {
        self.persisted.load(Relaxed) + self.refused.load(Relaxed) >= self.scheduled.load(Relaxed)
            && self.delivered.load(Relaxed) >= self.expected.load(Relaxed)
    }

    /// Grows with whatever the server has to say of messages.
    pub(crate) fn heard(&self) -> u64 {
        let all = [&self.persisted, &self.refused, &self.put_off, &self.delivered];
        all.iter().map(|counter| counter.load(Relaxed)).sum()
    }
}
