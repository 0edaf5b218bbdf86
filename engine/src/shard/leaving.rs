//! How sessions end: with a close frame, or, before they are open, with an HTTP error.

use super::connection::{State, flag};
use super::hub::{Hub, RETRY_MS_MIN, RETRY_MS_SPREAD};
use super::stats::Count;
use crate::session::{Refusal, frame};
use protocol::CloseCode;

impl Hub {
    /// Ends the session in `slot` with a close frame, after which only the peer's is awaited.
    pub(super) fn close(&mut self, slot: u32, code: CloseCode, reason: &str) {
        if self.connections[slot as usize].state != State::Open {
            return;
        }
        self.closed_with(code).add(1);
        if matches!(code, CloseCode::SlowConsumer | CloseCode::TryAgainLater) {
            self.clear_egress(slot);
        }
        let mut bytes = Vec::new();
        frame::close(code.number(), reason, &mut bytes);
        self.leave(slot, &bytes);
        let session = &mut self.connections[slot as usize].session;
        match code {
            // What it holds is let go at once: only the grace time is waited for.
            CloseCode::TryAgainLater => session.abandon(),
            _ => session.close_sent(),
        }
    }

    /// Answers the peer's close frame, if it is to be answered, and lets the session go.
    pub(super) fn close_received(&mut self, slot: u32, reply: Option<u16>) {
        if self.connections[slot as usize].state == State::Open {
            self.stats.closed_by_peer.add(1);
            let mut bytes = Vec::new();
            match reply {
                Some(code) => frame::close(code, "", &mut bytes),
                None => frame::close_without_code(&mut bytes),
            }
            self.leave(slot, &bytes);
        }
        self.connections[slot as usize].flags |= flag::PEER_DONE;
        self.mark_dirty(slot);
    }

    /// Answers an upgrade with an HTTP error.
    pub(super) fn refuse(&mut self, slot: u32, refusal: &Refusal) {
        let stats = &self.stats;
        let count = match refusal.status() {
            401 => &stats.refused_token,
            408 => &stats.refused_timeout,
            429 => &stats.refused_rate,
            503 => &stats.refused_overload,
            _ => &stats.refused_request,
        };
        count.add(1);
        self.connections[slot as usize].flags |= flag::REFUSED;
        self.leave(slot, &refusal.response());
    }

    /// Goodbye with a hint when to come back.
    pub(super) fn close_for_drain(&mut self, slot: u32) {
        let spread = slot.wrapping_mul(0x9e37_79b9) % RETRY_MS_SPREAD;
        self.close(slot, CloseCode::GoingAway, &format!("retry_ms={}", RETRY_MS_MIN + spread));
    }

    fn leave(&mut self, slot: u32, last_bytes: &[u8]) {
        self.leave_open(slot);
        self.connections[slot as usize].state = State::Closing;
        self.enqueue(slot, last_bytes.into());
        self.timers.set(slot, self.now.after(self.limits.close_grace));
    }

    /// Takes the session out of all counts and tables if it was open.
    pub(super) fn leave_open(&mut self, slot: u32) {
        if self.connections[slot as usize].state == State::Open {
            self.open -= 1;
            self.unregister(slot);
        }
    }

    fn closed_with(&self, code: CloseCode) -> &Count {
        let stats = &self.stats;
        match code {
            CloseCode::Normal => &stats.closed_by_peer,
            CloseCode::GoingAway => &stats.closed_1001,
            CloseCode::Protocol => &stats.closed_1002,
            CloseCode::Unsupported => &stats.closed_1003,
            CloseCode::InvalidPayload => &stats.closed_1007,
            CloseCode::TooBig => &stats.closed_1009,
            CloseCode::TryAgainLater => &stats.closed_1013,
            CloseCode::AuthExpired => &stats.closed_4001,
            CloseCode::Replaced => &stats.closed_4002,
            CloseCode::SlowConsumer => &stats.closed_4003,
            CloseCode::RateLimited => &stats.closed_4004,
            CloseCode::HeartbeatLost => &stats.closed_4005,
        }
    }
}
