//! What a user has of each conversation, and what to ask the server for by `sync`.

use crate::ranges::Ranges;
use std::sync::Arc;

/// How long a hole may stay open before the client asks: the protocol's rule.
const HOLE_US: u64 = 500_000;
/// How long an answer to `sync` may take before it is asked again.
const ANSWER_US: u64 = 10_000_000;
const BACKOFF_US_MIN: u64 = 20_000;
const BACKOFF_US_MAX: u64 = 2_000_000;
/// Conversations in one `sync`, and messages of each.
const CONVERSATIONS_MAX: usize = 100;
const MESSAGES_MAX: u32 = 300;

/// What a `sync` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// To learn the last seq before the run.
    Base,
    /// To get what was missed.
    Catch,
    /// To learn what is stored after the run.
    Final,
}

/// One conversation of the user.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) name: Arc<str>,
    /// Users in it.
    pub(super) members: u32,
    /// Its last seq before the run, once known.
    pub(super) base: Option<u64>,
    have: Ranges,
    hole_since_us: Option<u64>,
    /// Whether the hole that is open has been counted.
    hole_counted: bool,
    wanted: bool,
    /// How far the last `sync` of the run has come.
    read_back: u64,
    /// Whether it is to be read back, and was not asked for since that was known.
    unread: bool,
}

#[derive(Debug)]
struct Asked {
    trace: String,
    deadline_us: u64,
    why: Why,
    due_us: u64,
    begun_us: u64,
}

/// An answer that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) why: Why,
    /// When the question was due, and when it went out.
    pub(super) due_us: u64,
    pub(super) begun_us: u64,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) tracked: Vec<Tracked>,
    why: Why,
    asked: Option<Asked>,
    asks: u64,
    /// When the next question is due that somebody wants asked beyond the client's rules.
    due_us: Option<u64>,
    not_before_us: u64,
    failures: u32,
    /// Conversations whose reading back begins with the `sync` that was made last.
    begun: Vec<Arc<str>>,
}

impl Inbox {
    pub(super) fn new(conversations: impl Iterator<Item = (Arc<str>, u32)>) -> Self {
        let tracked = conversations
            .map(|(name, members)| Tracked {
                name,
                members,
                base: None,
                have: Ranges::default(),
                hole_since_us: None,
                hole_counted: false,
                wanted: true,
                read_back: 0,
                unread: false,
            })
            .collect();
        Self {
            tracked,
            why: Why::Base,
            asked: None,
            asks: 0,
            due_us: None,
            not_before_us: 0,
            failures: 0,
            begun: vec![],
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.tracked.iter().position(|tracked| &*tracked.name == name)
    }

    /// Notes a message as had; whether that is new.
    pub(super) fn take(&mut self, at: usize, seq: u64, now_us: u64) -> bool {
        let tracked = &mut self.tracked[at];
        let new = tracked.base.is_some() && tracked.have.insert(seq);
        if !tracked.have.has_hole() {
            tracked.hole_since_us = None;
            tracked.hole_counted = false;
        } else if tracked.hole_since_us.is_none() {
            tracked.hole_since_us = Some(now_us);
        }
        new
    }

    /// A new session: whatever was asked won't be answered, and everything is asked anew.
    pub(super) fn connected(&mut self) {
        (self.asked, self.not_before_us, self.failures) = (None, 0, 0);
        if self.why == Why::Catch {
            self.want_all();
        }
    }

    pub(super) fn want_all(&mut self) {
        self.tracked.iter_mut().for_each(|tracked| tracked.wanted = true);
    }

    /// Asks for what is new in a conversation, though the rules call for nothing; `false` if a question
    /// is under way.
    pub(super) fn ask(&mut self, at: usize, due_us: u64) -> bool {
        if self.asked.is_some() || self.why != Why::Catch {
            return false;
        }
        self.tracked[at].wanted = true;
        self.due_us.get_or_insert(due_us);
        true
    }

    /// Up to which seq nothing is missing.
    pub(super) fn contiguous(&self, at: usize) -> u64 {
        self.tracked[at].have.contiguous()
    }

    /// Reads everything from the base on, once more, from `at_us` on.
    pub(super) fn read_back(&mut self, at_us: u64) {
        self.why = Why::Final;
        self.asked = None;
        self.not_before_us = at_us;
        for tracked in &mut self.tracked {
            tracked.read_back = tracked.base.unwrap_or(0);
            (tracked.wanted, tracked.unread) = (true, true);
        }
    }

    /// Has what came too late for the last `sync` read back too; whether all had been read back.
    pub(super) fn read_again(&mut self, at: usize, seq: u64) -> bool {
        let tracked = &mut self.tracked[at];
        if seq <= tracked.read_back || tracked.unread {
            return false;
        }
        (tracked.wanted, tracked.unread) = (true, true);
        std::mem::replace(&mut self.why, Why::Final) == Why::Catch
    }

    /// Conversations whose reading back begins with the `sync` that was made last.
    pub(super) fn take_begun(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.begun)
    }

    /// Whether the purpose at hand is served.
    pub(super) fn is_done(&self, why: Why) -> bool {
        self.why == why && self.asked.is_none() && self.tracked.iter().all(|tracked| !tracked.wanted)
    }

    /// From now on, what is missed is caught up with.
    pub(super) fn based(&mut self) {
        self.why = Why::Catch;
    }

    pub(super) fn wake_us(&self) -> Option<u64> {
        if let Some(asked) = &self.asked {
            return Some(asked.deadline_us);
        }
        let wanted = self.tracked.iter().any(|tracked| tracked.wanted).then_some(self.not_before_us);
        let holes = self.tracked.iter().filter_map(|tracked| tracked.hole_since_us);
        let hole = (self.why == Why::Catch).then(|| holes.min().map(|since| since + HOLE_US)).flatten();
        [wanted, hole.map(|at| at.max(self.not_before_us))].into_iter().flatten().min()
    }

    /// The next `sync` to send, if one is due; and how many holes led to it.
    pub(super) fn next(&mut self, now_us: u64) -> Option<(String, u64)> {
        if self.asked.as_ref().is_some_and(|asked| asked.deadline_us <= now_us) {
            self.retry(now_us);
        }
        if self.asked.is_some() || now_us < self.not_before_us {
            return None;
        }
        let mut holes = 0;
        for tracked in &mut self.tracked {
            let due = tracked.hole_since_us.is_some_and(|since| since + HOLE_US <= now_us);
            if due && self.why == Why::Catch {
                // One that a sync is to fill anyway, as after a reconnect, is not held against the server.
                holes += u64::from(!tracked.wanted && !tracked.hole_counted);
                tracked.hole_counted = true;
                tracked.wanted = true;
                tracked.hole_since_us = Some(now_us);
            }
        }
        self.asks += 1;
        let why = self.why;
        let after = |tracked: &Tracked| match why {
            Why::Base => None,
            Why::Catch => Some(tracked.have.contiguous()),
            Why::Final => Some(tracked.read_back),
        };
        let wanted: Vec<_> =
            self.tracked.iter_mut().filter(|tracked| tracked.wanted).take(CONVERSATIONS_MAX).collect();
        if wanted.is_empty() {
            return None;
        }
        let trace = format!("sync-{}", self.asks);
        let limit = if why == Why::Base { 1 } else { MESSAGES_MAX };
        let text =
            super::wire::sync(&trace, limit, wanted.iter().map(|tracked| (&*tracked.name, after(tracked))));
        if why == Why::Final {
            for tracked in wanted {
                if std::mem::take(&mut tracked.unread) {
                    self.begun.push(Arc::clone(&tracked.name));
                }
            }
        }
        let due_us = self.due_us.take().unwrap_or(now_us);
        self.asked = Some(Asked { trace, deadline_us: now_us + ANSWER_US, why, due_us, begun_us: now_us });
        Some((text, holes))
    }

    /// Whether this is the answer that is waited for, and to what.
    pub(super) fn answered(&mut self, trace: Option<&str>) -> Option<Answered> {
        let asked = self.asked.take_if(|asked| Some(asked.trace.as_str()) == trace)?;
        self.failures = 0;
        Some(Answered { why: asked.why, due_us: asked.due_us, begun_us: asked.begun_us })
    }

    /// A part of an answer: how far it came, and whether there is more.
    pub(super) fn part(&mut self, at: usize, why: Why, last_message: Option<u64>, last_seq: u64, more: bool) {
        let tracked = &mut self.tracked[at];
        match why {
            Why::Base => {
                tracked.base = Some(last_seq);
                tracked.have.reset_to(last_seq);
                tracked.wanted = false;
            }
            Why::Catch => tracked.wanted = more || tracked.unread,
            Why::Final => {
                tracked.read_back = last_message.unwrap_or(tracked.read_back);
                tracked.wanted = more || tracked.unread;
            }
        }
    }

    /// A conversation that may not be read isn't asked for again.
    pub(super) fn give_up(&mut self, at: usize) {
        (self.tracked[at].wanted, self.tracked[at].unread) = (false, false);
        self.tracked[at].hole_since_us = None;
    }

    /// Whether an error with that trace is about the `sync` under way.
    pub(super) fn is_asked(&self, trace: Option<&str>) -> bool {
        self.asked.as_ref().is_some_and(|asked| Some(asked.trace.as_str()) == trace)
    }

    /// Asks again, after a while that grows from time to time.
    pub(super) fn retry(&mut self, now_us: u64) {
        self.asked = None;
        self.failures = (self.failures + 1).min(16);
        self.not_before_us = now_us + (BACKOFF_US_MIN << self.failures).min(BACKOFF_US_MAX);
    }

    /// Asks nothing for a while: the server has said how long.
    pub(super) fn hold(&mut self, until_us: u64) {
        self.not_before_us = self.not_before_us.max(until_us);
    }

    /// Asks for everything at a later time: the server said `resync`.
    pub(super) fn resync(&mut self, at_us: u64) {
        self.want_all();
        self.not_before_us = self.not_before_us.max(at_us);
    }
}
