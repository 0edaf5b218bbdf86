//! What a user has to send: in order, and again until it is persisted.

use protocol::limits::RATE_STRIKES_MAX;
use std::collections::VecDeque;

/// Messages under way at once; the rest waits here, and its latency counts from when it was due.
/// So many refusals may be on their way before the first is heard of.
pub(crate) const WINDOW_MAX: usize = RATE_STRIKES_MAX as usize;
const WINDOW_MIN: usize = 4;
/// After a lost connection: a backlog that goes out in one go may be more than the server lets pass,
/// and then its acks are lost with the next connection.
const WINDOW_RESTART: usize = 16;
const BACKOFF_US_MIN: u64 = 20_000;
const BACKOFF_US_MAX: u64 = 2_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be sent; `true` if it was before.
    Waiting(bool),
    UnderWay,
}

/// A message that is not persisted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Number among its sender's, from 1.
    pub(super) number: u64,
    /// Index among the sender's conversations.
    pub(super) conversation: u32,
    pub(super) due_us: u64,
    /// When it went out for the first time, once it has: its text must stay the same.
    pub(super) begun_us: u64,
    /// Characters of its content, about.
    pub(super) payload: u16,
    /// Whether it was said to be accepted.
    accepted: bool,
    state: State,
}

#[derive(Debug)]
pub(super) struct Outbox {
    pending: VecDeque<Pending>,
    made: u64,
    under_way: usize,
    /// How many may be under way: halved by refusals, so that a full server isn't asked in vain all
    /// the time, and grown back by answers.
    window: usize,
    /// How far that may grow.
    window_max: usize,
    /// Nothing goes out before that time: what comes later must not pass what was refused.
    held_until_us: u64,
    refusals: u32,
}

impl Outbox {
    /// Nothing to send; at most `window_max` messages will be under way.
    pub(super) fn new(window_max: usize) -> Self {
        Self {
            pending: VecDeque::new(),
            made: 0,
            under_way: 0,
            window: window_max,
            window_max,
            held_until_us: 0,
            refusals: 0,
        }
    }

    pub(super) fn push(&mut self, conversation: u32, due_us: u64, payload: u16) {
        self.made += 1;
        let (number, state) = (self.made, State::Waiting(false));
        let pending = Pending { number, conversation, due_us, begun_us: 0, payload, accepted: false, state };
        self.pending.push_back(pending);
    }

    /// The next message to send, and whether it went out before.
    pub(super) fn next(&mut self, now_us: u64) -> Option<(Pending, bool)> {
        if now_us < self.held_until_us
            || self.under_way >= self.window
            || self.under_way == self.pending.len()
        {
            return None;
        }
        let message = self.pending.iter_mut().find(|message| message.state != State::UnderWay)?;
        let again = message.state == State::Waiting(true);
        message.state = State::UnderWay;
        if !again {
            message.begun_us = now_us;
        }
        self.under_way += 1;
        Some((*message, again))
    }

    /// When [`Outbox::next`] is worth another try, if only time keeps it back.
    pub(super) fn wake_us(&self) -> Option<u64> {
        (self.under_way < self.pending.len().min(self.window)).then_some(self.held_until_us)
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.pending.binary_search_by_key(&number, |message| message.number).ok()
    }

    fn land(&mut self, at: usize) {
        if self.pending[at].state == State::UnderWay {
            self.under_way -= 1;
        }
    }

    /// It is accepted; `None` if that was known, or more than that.
    pub(super) fn accept(&mut self, number: u64) -> Option<Pending> {
        let at = self.place(number)?;
        let known = std::mem::replace(&mut self.pending[at].accepted, true);
        (!known).then_some(self.pending[at])
    }

    /// It is persisted, or refused for good; `None` if that was known.
    pub(super) fn settle(&mut self, number: u64) -> Option<Pending> {
        let at = self.place(number)?;
        self.land(at);
        self.refusals = 0;
        self.window = (self.window + 1).min(self.window_max);
        self.pending.remove(at)
    }

    /// Nothing goes out for a while: the server has said how long.
    pub(super) fn hold(&mut self, until_us: u64) {
        self.held_until_us = self.held_until_us.max(until_us);
    }

    /// It is to be sent again, after a while that grows from refusal to refusal; `None` if it is
    /// settled.
    pub(super) fn refuse(&mut self, number: u64, now_us: u64) -> Option<Pending> {
        let at = self.place(number)?;
        self.land(at);
        self.pending[at].state = State::Waiting(true);
        if now_us >= self.held_until_us {
            self.refusals = (self.refusals + 1).min(16);
            self.window = (self.window / 2).max(WINDOW_MIN).min(self.window_max);
            let wait = (BACKOFF_US_MIN << self.refusals).min(BACKOFF_US_MAX);
            self.held_until_us = now_us + wait;
        }
        Some(self.pending[at])
    }

    /// The connection is gone: whatever was under way is to be sent again, in order.
    pub(super) fn lost_connection(&mut self) {
        for message in &mut self.pending {
            if message.state == State::UnderWay {
                message.state = State::Waiting(true);
            }
        }
        (self.under_way, self.held_until_us, self.refusals) = (0, 0, 0);
        self.window = self.window.min(WINDOW_RESTART);
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;

    fn numbers(outbox: &mut Outbox, now_us: u64) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| outbox.next(now_us)).map(|(message, again)| (message.number, again)).collect()
    }

    #[test]
    fn after_a_lost_connection_everything_goes_again_before_anything_new() {
        let mut outbox = Outbox::new(super::WINDOW_MAX);
        (0..3).for_each(|due| outbox.push(0, due, 40));
        assert_eq!(numbers(&mut outbox, 0), [(1, false), (2, false), (3, false)]);
        assert!(outbox.settle(2).is_some() && outbox.settle(2).is_none());
        outbox.lost_connection();
        outbox.push(0, 9, 40);
        assert_eq!(numbers(&mut outbox, 0), [(1, true), (3, true), (4, false)]);
    }

    #[test]
    fn nothing_passes_a_refused_message() {
        let mut outbox = Outbox::new(super::WINDOW_MAX);
        (0..2).for_each(|due| outbox.push(0, due, 40));
        numbers(&mut outbox, 0);
        outbox.refuse(1, 1_000);
        outbox.push(0, 5, 40);
        assert_eq!(numbers(&mut outbox, 1_001), []);
        let wake = outbox.wake_us().unwrap();
        assert!(wake > 1_001);
        outbox.refuse(2, 1_002);
        assert_eq!(outbox.wake_us(), Some(wake), "refusals in one wait do not lengthen it");
        assert_eq!(numbers(&mut outbox, wake), [(1, true), (2, true), (3, false)]);
    }

    #[test]
    fn nothing_goes_out_before_the_time_that_was_told() {
        let mut outbox = Outbox::new(super::WINDOW_MAX);
        (0..2).for_each(|due| outbox.push(0, due, 40));
        numbers(&mut outbox, 0);
        for (number, until_us) in [(1, 2_000_000), (2, 4_000_000)] {
            outbox.refuse(number, 1_000);
            outbox.hold(until_us);
        }
        assert_eq!(outbox.wake_us(), Some(4_000_000));
        assert_eq!(numbers(&mut outbox, 3_999_999), []);
        assert_eq!(numbers(&mut outbox, 4_000_000), [(1, true), (2, true)]);
    }

    #[test]
    fn the_window_is_bounded() {
        let mut outbox = Outbox::new(super::WINDOW_MAX);
        (0..1_000).for_each(|due| outbox.push(0, due, 40));
        assert_eq!(numbers(&mut outbox, 0).len(), super::WINDOW_MAX);
        assert_eq!(outbox.wake_us(), None);
        outbox.settle(7);
        assert_eq!(numbers(&mut outbox, 0), [(super::WINDOW_MAX as u64 + 1, false)]);
    }
}
