//! What all clients count together, for the progress line and to know when a run has settled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Counted by clients, read by the one who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// The server acknowledges nothing: a message is over when it was delivered.
    pub(crate) unacknowledged: bool,
    /// Clients that are connected.
    pub(crate) online: AtomicU64,
    /// Clients that know the last seq of each of their conversations.
    pub(crate) ready: AtomicU64,
    /// Clients that have read everything back.
    pub(crate) read_back: AtomicU64,
    /// Clients that have given up.
    pub(crate) gone: AtomicU64,
    /// Shards that hand out nothing any more.
    pub(crate) finished: AtomicU64,
    /// Messages handed to clients.
    pub(crate) scheduled: AtomicU64,
    /// Messages that went out.
    pub(crate) sent: AtomicU64,
    /// Messages acknowledged as accepted.
    pub(crate) accepted: AtomicU64,
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
    /// Of these, those that another process sent: their latency is not measured.
    pub(crate) across: AtomicU64,
    /// `typing` that went out, and that came in.
    pub(crate) typing: AtomicU64,
    pub(crate) typing_heard: AtomicU64,
    /// `mark-read` that went out, and `read` that came in.
    pub(crate) marks: AtomicU64,
    pub(crate) marks_heard: AtomicU64,
    /// `sync` that the mix called for.
    pub(crate) syncs: AtomicU64,
    /// `typing`, `mark-read` and `sync` left out: their client was away, or asking already.
    pub(crate) left_out: AtomicU64,
    /// Connections that the scenario broke.
    pub(crate) broken: AtomicU64,
    /// Clients of these that are back and have caught up.
    pub(crate) back: AtomicU64,
    /// Sessions after a client's first.
    pub(crate) reconnects: AtomicU64,
    /// Sessions that ended before the run did.
    pub(crate) dropped: AtomicU64,
    /// Holes that had not closed by themselves.
    pub(crate) holes: AtomicU64,
    /// Times that the server said `resync`.
    pub(crate) resyncs: AtomicU64,
    /// How often a shard had to wait for the ledger.
    pub(crate) ledger_waits: AtomicU64,
    /// The first reason why a session ended.
    pub(crate) first_drop: OnceLock<String>,
    /// The first refusal for good, or other error that names no message.
    pub(crate) first_error: OnceLock<String>,
    /// Errors that the server told, by code.
    pub(crate) errors: Mutex<BTreeMap<String, u64>>,
    /// Why the run can't go on.
    pub(crate) fatal: OnceLock<String>,
}

impl Counters {
    /// Counts an error that the server told.
    pub(crate) fn error(&self, code: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(errors.insert(code.to_owned(), 1)),
        }
    }

    /// Errors that the server told, by code.
    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A session is over; `planned` if the scenario broke it.
    pub(crate) fn session_over(&self, why: &str, planned: bool) {
        self.online.fetch_sub(1, Relaxed);
        if planned {
            self.broken.fetch_add(1, Relaxed);
        } else {
            self.dropped.fetch_add(1, Relaxed);
            let _ = self.first_drop.set(why.to_owned());
        }
    }

    /// Messages that went out and have no last answer yet; where there are none, deliveries to come.
    pub(crate) fn in_flight(&self) -> u64 {
        if self.unacknowledged {
            return self.expected.load(Relaxed).saturating_sub(self.delivered.load(Relaxed));
        }
        let answered = self.persisted.load(Relaxed) + self.refused.load(Relaxed);
        self.sent.load(Relaxed).saturating_sub(answered)
    }

    /// Whether everything that was handed out is persisted (by a peer: sent) or refused, and everything
    /// persisted is delivered.
    pub(crate) fn have_settled(&self) -> bool {
        let answers = if self.unacknowledged { &self.sent } else { &self.persisted };
        answers.load(Relaxed) + self.refused.load(Relaxed) >= self.scheduled.load(Relaxed)
            && self.delivered.load(Relaxed) >= self.expected.load(Relaxed)
    }

    /// Grows with whatever the server has to say of messages.
    pub(crate) fn heard(&self) -> u64 {
        let all = [&self.persisted, &self.refused, &self.put_off, &self.delivered];
        all.iter().map(|counter| counter.load(Relaxed)).sum()
    }
}
