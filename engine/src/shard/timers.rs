//! One timer wheel per shard, with at most one deadline per slot.
//!
//! Handshake, heartbeat, token expiry and linger share it: a session always waits for the nearest
//! of its deadlines. Setting and cancelling are O(1); a slot costs 12 bytes whether armed or not.

use crate::ring::Mono;

/// Resolution of the wheel, milliseconds: a deadline fires at most this late.
pub(super) const TICK_MS: u64 = 16;
const BUCKETS: usize = 4_096;
const NONE: u32 = u32::MAX;
const UNARMED: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    bucket: u32,
}

/// The wheel. A deadline further away than one turn (65 s) fires at the end of the turn; whoever
/// set it looks at its own clock and sets it again.
pub(super) struct Timers {
    heads: Box<[u32; BUCKETS]>,
    occupied: [u64; BUCKETS / 64],
    links: Vec<Link>,
    /// The tick up to which everything has fired.
    fired: u64,
}

impl Timers {
    pub(super) fn new(slots: usize, now: Mono) -> Self {
        Self {
            heads: Box::new([NONE; BUCKETS]),
            occupied: [0; BUCKETS / 64],
            links: vec![Link { next: NONE, previous: NONE, bucket: UNARMED }; slots],
            fired: now.0 / TICK_MS,
        }
    }

    /// Arms `slot` for `at`, replacing its deadline.
    pub(super) fn set(&mut self, slot: u32, at: Mono) {
        self.cancel(slot);
        let tick = at.0.div_ceil(TICK_MS).clamp(self.fired + 1, self.fired + BUCKETS as u64 - 1);
        let bucket = (tick % BUCKETS as u64) as usize;
        let head = std::mem::replace(&mut self.heads[bucket], slot);
        self.links[slot as usize] = Link { next: head, previous: NONE, bucket: bucket as u32 };
        if head != NONE {
            self.links[head as usize].previous = slot;
        }
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Disarms `slot`.
    pub(super) fn cancel(&mut self, slot: u32) {
        let link = self.links[slot as usize];
        if link.bucket == UNARMED {
            return;
        }
        let bucket = link.bucket as usize;
        match link.previous {
            NONE => self.heads[bucket] = link.next,
            previous => self.links[previous as usize].next = link.next,
        }
        if link.next != NONE {
            self.links[link.next as usize].previous = link.previous;
        }
        if self.heads[bucket] == NONE {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
        self.links[slot as usize].bucket = UNARMED;
    }

    /// When the next deadline fires, if any is armed.
    pub(super) fn next(&self) -> Option<Mono> {
        let first = (self.fired + 1) % BUCKETS as u64;
        let words = self.occupied.len() as u64;
        for step in 0..=words {
            let word = (first / 64 + step) % words;
            let mut bits = self.occupied[word as usize];
            if step == 0 {
                bits &= !0 << (first % 64);
            } else if step == words {
                bits &= !(!0 << (first % 64));
            }
            if bits != 0 {
                let bucket = word * 64 + u64::from(bits.trailing_zeros());
                let ahead = (bucket + BUCKETS as u64 - first) % BUCKETS as u64;
                return Some(Mono((self.fired + 1 + ahead) * TICK_MS));
            }
        }
        None
    }

    /// Disarms every slot whose deadline has come and appends it to `due`.
    pub(super) fn expire(&mut self, now: Mono, due: &mut Vec<u32>) {
        let target = now.0 / TICK_MS;
        // After a long pause one turn covers every bucket there is.
        self.fired = self.fired.max(target.saturating_sub(BUCKETS as u64));
        while self.fired < target {
            self.fired += 1;
            let bucket = (self.fired % BUCKETS as u64) as usize;
            while self.heads[bucket] != NONE {
                let slot = self.heads[bucket];
                self.cancel(slot);
                due.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mono, TICK_MS, Timers};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let mut timers = Timers::new(4, Mono(1_000));
        timers.set(2, Mono(1_100));
        let mut due = vec![];
        timers.expire(Mono(1_099), &mut due);
        assert!(due.is_empty());
        timers.expire(Mono(1_100 + TICK_MS), &mut due);
        assert_eq!(due, [2]);
        timers.expire(Mono(200_000), &mut due);
        assert_eq!(due, [2]);
        assert_eq!(timers.next(), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(steps in prop::collection::vec((0u32..8, 0u64..90_000, 0u64..3_000), 1..200)) {
            let mut now = 5_000;
            let mut timers = Timers::new(8, Mono(now));
            let mut model = BTreeMap::new();
            for (slot, ahead, pass) in steps {
                if ahead < 500 {
                    timers.cancel(slot);
                    model.remove(&slot);
                } else {
                    // Beyond a turn the wheel fires early by design; the model is kept within one.
                    let at = now + ahead.min(60_000);
                    timers.set(slot, Mono(at));
                    model.insert(slot, at);
                }
                let next = model.values().min().copied();
                match (timers.next(), next) {
                    (None, None) => {}
                    (Some(fires), Some(at)) => prop_assert!(fires.0 >= at && fires.0 <= at.max(now) + 2 * TICK_MS),
                    other => prop_assert!(false, "{other:?}"),
                }
                now += pass;
                let mut due = vec![];
                timers.expire(Mono(now), &mut due);
                for slot in due {
                    let at = model.remove(&slot);
                    prop_assert!(at.is_some_and(|at| at <= now), "slot {slot} at {at:?}, now {now}");
                }
                prop_assert!(model.values().all(|at| at + 2 * TICK_MS > now), "missed: {model:?} at {now}");
            }
        }
    }
}
