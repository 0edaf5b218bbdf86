//! Connections: when each is due, so many handshakes at a time, and again after a loss.

use super::member::{Link, flight};
use super::{Due, Shard, World};
use crate::course::{Step, Wave};
use crate::dial::{DialError, HANDSHAKE_US};
use crate::measure::{Measure, Sample};
use engine::ring::{Dial, Receive};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

const BACKOFF_MS_MIN: u64 = 50;
const BACKOFF_MS_MAX: u64 = 2_000;
/// Tries for the first connection; then the run is called off.
const FIRST_TRIES: u8 = 6;
/// How long a text may take to leave, microseconds.
const SEND_US: u64 = 10_000_000;

/// Who is to be connected, and who waits for a turn.
#[derive(Debug)]
pub(super) struct Calls {
    /// Waves that this shard has not called all members of: when each began, if it has.
    waves: VecDeque<(Option<u64>, Option<usize>, Wave)>,
    /// The next member of the first wave.
    next: u32,
    /// Members that wait for a turn, and when each was due.
    queue: VecDeque<(u32, u64)>,
    handshakes: usize,
    handshakes_max: usize,
    next_us: Option<u64>,
}

impl Calls {
    pub(super) fn new(world: &World, index: usize) -> Self {
        let scenario = &world.scenario;
        let rate = scenario.connect.rate;
        let seconds = if rate > 0.0 { scenario.connections as f64 / rate } else { 0.0 };
        let first = Wave { first: 0, end: scenario.connections, seconds };
        let more = scenario.phases.iter().enumerate().filter(|(_, phase)| phase.connections.is_some());
        let more =
            more.map(|(at, phase)| (None, Some(at), world.course.wave(at, phase.duration.as_secs_f64())));
        let all = scenario.connect.at_once as usize;
        let parts = world.shards * world.share.of as usize;
        let part = world.shards * world.share.index as usize + index;
        Self {
            waves: std::iter::once((Some(world.now_us()), None, first)).chain(more).collect(),
            next: 0,
            queue: VecDeque::new(),
            handshakes: 0,
            handshakes_max: (all / parts + usize::from(part < all % parts)).max(1),
            next_us: None,
        }
    }

    pub(super) fn next_us(&self) -> Option<u64> {
        self.next_us
    }
}

impl<R: Dial> Shard<R> {
    /// Calls whose connection is due, and begins as many handshakes as may be.
    pub(super) fn call(&mut self, now: u64) {
        if self.step == Step::Run {
            self.call_waves(now);
        } else {
            self.calls.next_us = None;
        }
        while self.calls.handshakes < self.calls.handshakes_max && self.step < Step::Leave {
            let Some((slot, due_us)) = self.calls.queue.pop_front() else { break };
            self.dial(slot, due_us);
        }
    }

    fn call_waves(&mut self, now: u64) {
        self.calls.next_us = None;
        while let Some((start_us, phase, wave)) = self.calls.waves.front_mut() {
            if let Some(phase) = *phase {
                *start_us = self.world.course.start_us(phase);
            }
            let Some(start_us) = *start_us else { return };
            let (slot, wave) = (self.calls.next, *wave);
            let user = self.world.user_at(slot, self.index);
            if user >= wave.end {
                self.calls.waves.pop_front();
                continue;
            }
            let due_us = start_us + wave.due_us(user);
            if due_us > now {
                self.calls.next_us = Some(due_us);
                return;
            }
            self.calls.next += 1;
            // Without a rate a connection is due when its turn comes.
            self.call_one(slot, if wave.seconds > 0.0 { due_us } else { u64::MAX });
        }
    }

    fn call_one(&mut self, slot: u32, due_us: u64) {
        self.members[slot as usize].link = Link::Called;
        self.calls.queue.push_back((slot, due_us));
    }

    /// Calls a member whose wait after a loss is over.
    pub(super) fn call_again(&mut self, slot: u32, due_us: u64) {
        if self.members[slot as usize].link == Link::Away && self.step < Step::Leave {
            self.call_one(slot, due_us);
        }
    }

    fn dial(&mut self, slot: u32, due_us: u64) {
        let call = self.way(slot);
        let begun_us = self.world.now_us();
        self.calls.handshakes += 1;
        let member = &mut self.members[slot as usize];
        member.link = Link::Dialing { due_us: due_us.min(begun_us), begun_us };
        member.flight = flight::DIAL;
        let at = member.at(slot);
        let dialed = self.ring.dial(at, &call);
        let member = &mut self.members[slot as usize];
        member.has_socket = dialed.is_ok();
        if let Err(error) = dialed {
            member.flight = 0;
            self.not_dialed(slot, error);
        }
    }

    fn not_dialed(&mut self, slot: u32, error: io::Error) {
        let url = self.target(slot).url.clone();
        self.end(slot, self.told(&DialError::Connect(url, error)), None, false);
    }

    /// Why there is no connection, with what to do about it.
    pub(super) fn told(&self, error: &DialError) -> String {
        error.told(self.world.protocol)
    }

    pub(super) fn on_dialed(&mut self, slot: u32, result: io::Result<()>) {
        self.members[slot as usize].flight &= !flight::DIAL;
        match (self.members[slot as usize].link, result) {
            (Link::Dialing { due_us, begun_us }, Ok(())) => self.upgrade(slot, due_us, begun_us),
            (Link::Dialing { .. }, Err(error)) => self.not_dialed(slot, error),
            _ => self.landed(slot, 0),
        }
    }

    fn upgrade(&mut self, slot: u32, due_us: u64, begun_us: u64) {
        let now = self.world.now_us();
        self.scribe.batch.samples.push(Sample::new(Measure::Connect, due_us, begun_us, now));
        let mut target = self.target(slot).clone();
        let member = &mut self.members[slot as usize];
        if let Some(peers) = &self.world.peers {
            peers.direct(&mut target, member.user);
        }
        let token = &self.world.plan.users[member.user as usize].token;
        member.socket.open(&target, token);
        member.link = Link::Upgrading { due_us, begun_us: now };
        self.receive(slot);
        self.flush(slot);
    }

    /// The server has answered 101.
    pub(super) fn upgraded(&mut self, slot: u32, due_us: u64, begun_us: u64) {
        let now = self.world.now_us();
        self.scribe.batch.samples.push(Sample::new(Measure::Upgrade, due_us, begun_us, now));
        self.members[slot as usize].link = Link::Open;
        self.calls.handshakes -= 1;
    }

    /// A handshake has ended in vain.
    pub(super) fn free_handshake(&mut self) {
        self.calls.handshakes -= 1;
    }

    /// When a member that has just lost its connection is to be called again; none: it stays away.
    /// A user that never gets in calls the run off.
    pub(super) fn retry_us(
        &mut self,
        slot: u32,
        why: &str,
        wait_us: Option<u64>,
        planned: bool,
    ) -> Option<u64> {
        let now = self.world.now_us();
        let counters = &self.world.shared.counters;
        let member = &mut self.members[slot as usize];
        if !member.client.was_connected() && member.tries >= FIRST_TRIES {
            let _ = counters.fatal.set(why.to_owned());
        }
        if self.step == Step::Leave {
            return None;
        }
        if member.client.was_connected() && !self.world.scenario.clients.reconnect {
            counters.gone.fetch_add(1, Relaxed);
            return None;
        }
        let mut chance = self.world.chance(member.user, 2 + u64::from(member.generation));
        if planned {
            return Some(now + chance.below(BACKOFF_MS_MIN * 1_000));
        }
        // Whatever ended the session may have ended the server: the next try is at the next one.
        member.moved += 1;
        let ceiling = (BACKOFF_MS_MIN << member.tries.min(8)).min(BACKOFF_MS_MAX);
        let wait = wait_us.unwrap_or((BACKOFF_MS_MIN + chance.below(ceiling)) * 1_000);
        Some(now + wait)
    }

    /// Ends handshakes and sends that take too long.
    pub(super) fn sweep(&mut self, now: u64) {
        for slot in 0..self.members.len() as u32 {
            let member = &self.members[slot as usize];
            let begun_us = match member.link {
                Link::Dialing { begun_us, .. } | Link::Upgrading { begun_us, .. } => begun_us,
                Link::Open if member.has(flight::SEND) && member.send_us + SEND_US < now => {
                    self.end(slot, "the server reads nothing".to_owned(), None, false);
                    continue;
                }
                _ => continue,
            };
            if begun_us + HANDSHAKE_US < now {
                let url = self.target(slot).url.clone();
                self.end(slot, self.told(&DialError::Slow(url)), None, false);
            }
        }
    }

    /// Arms a receive, in the way that suits the member.
    pub(super) fn receive(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        if member.is_linked() && !member.has(flight::RECV) {
            member.flight |= flight::RECV;
            // What is armed for many can't be left for a while.
            let how = if member.slow { Receive::Once } else { Receive::Many };
            let at = member.at(slot);
            self.ring.recv(at, how);
        }
    }

    /// Has a member called again at that time.
    pub(super) fn call_at(&mut self, slot: u32, at_us: u64) {
        self.set_timer(at_us, slot, Due::Call);
    }
}
