//! Many clients on one ring: a loop that hands out what is due, moves bytes between sockets and
//! clients, and tells the ledger.

mod calling;
mod ending;
mod member;
mod sending;
mod talking;

use crate::client::{Client, Shared};
use crate::course::{Course, Step};
use crate::dial::{Sources, Target, source};
use crate::ledger::writer::{Gone, Scribe};
use crate::peer::{Peer, Peers, Protocol};
use crate::plan::Plan;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::share::Share;
use crate::speaker::Speaker;
use calling::Calls;
use engine::ring::{Call, Dial, Event};
use member::{Link, Member};
use sending::Sending;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often a shard looks how far the run is, though nothing happens.
const LOOK_US: u64 = 10_000;
/// How often a shard looks for handshakes and sends that take too long.
const SWEEP_US: u64 = 1_000_000;
/// How long a client waits at the end for the server's half of a close, microseconds.
const LEAVE_US: u64 = 2_000_000;
/// `SO_RCVBUF` of a client that reads slowly; the kernel doubles it.
const SLOW_BUFFER_BYTES: usize = 4_096;
/// Emptied send buffers that are kept.
const BUFFERS_KEPT: usize = 64;

/// What all shards of a run share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) course: Course,
    pub(crate) shared: Arc<Shared>,
    pub(crate) targets: Vec<Target>,
    /// What they are spoken to in.
    pub(crate) protocol: Protocol,
    /// Where from.
    pub(crate) sources: Sources,
    /// What the clients share if the server is no Ringway.
    pub(crate) peers: Option<Arc<Peers>>,
    /// Which of the users are this process's.
    pub(crate) share: Share,
    pub(crate) shards: usize,
    pub(crate) started: Instant,
}

impl World {
    pub(crate) fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Users of this process, if there are `users` in all.
    pub(crate) fn own(&self, users: u64) -> u64 {
        self.share.count(users)
    }

    /// The user in a slot of a shard of this process.
    fn user_at(&self, slot: u32, shard: usize) -> u64 {
        self.share.user(u64::from(slot) * self.shards as u64 + shard as u64)
    }

    /// A user's slot in a shard, if it lives there.
    fn slot_of(&self, user: u32, shard: usize) -> Option<u32> {
        let (place, shards) = (self.share.place(user.into())?, self.shards as u64);
        (place % shards == shard as u64).then(|| (place / shards) as u32)
    }

    /// Chance that belongs to one user and one purpose, however many shards there are.
    fn chance(&self, user: u32, purpose: u64) -> Random {
        let user = (u64::from(user) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Random::new(self.seed ^ user ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The client has something to do.
    Wake,
    /// A connection is to be made again.
    Call,
    /// A client that reads slowly reads on.
    Read,
    /// A message is due, in a closed loop.
    Send,
}

/// Some of the clients, on one ring.
pub(crate) struct Shard<R> {
    ring: R,
    index: usize,
    world: Arc<World>,
    members: Vec<Member>,
    timers: BinaryHeap<Reverse<(u64, u32, Due)>>,
    dirty: Vec<u32>,
    calls: Calls,
    sending: Sending,
    scribe: Scribe,
    buffers: Vec<Vec<u8>>,
    step: Step,
    sweep_us: u64,
    /// When the clients were told to leave.
    leave_us: u64,
}

impl<R: Dial> Shard<R> {
    pub(crate) fn new(ring: R, index: usize, world: Arc<World>, scribe: Scribe) -> Self {
        let places = (index as u64..world.own(world.plan.users.len() as u64)).step_by(world.shards);
        let members = places.map(|place| member(&world, world.share.user(place) as u32)).collect();
        Self {
            ring,
            index,
            members,
            timers: BinaryHeap::new(),
            dirty: vec![],
            calls: Calls::new(&world, index),
            sending: Sending::default(),
            scribe,
            buffers: vec![],
            step: Step::Run,
            sweep_us: 0,
            leave_us: 0,
            world,
        }
    }

    /// Lives until the clients have left.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = vec![];
        loop {
            let now = self.world.now_us();
            if self.look(now) {
                return Ok(());
            }
            self.hand_out(now);
            self.fire(now);
            self.call(now);
            if now >= self.sweep_us + SWEEP_US {
                self.sweep_us = now;
                self.sweep(now);
            }
            self.pump();
            let came_us = self.turn(&mut events)?;
            for event in events.drain(..) {
                self.on(event, came_us);
                let _ = self.scribe.hand_over_large();
            }
        }
    }

    /// Has what was pumped leave, tells the ledger, and waits for what comes. When all of that had come:
    /// what is handled after others must not count their handling as the server's time.
    fn turn(&mut self, events: &mut Vec<Event>) -> io::Result<u64> {
        // The ledger is told after the send: waking its thread takes longer than that. But what is asked at
        // the end must stand in the file before what the answer says.
        if !self.scribe.batch.is_empty() && self.step != Step::ReadBack {
            self.ring.wait_for(Duration::ZERO, events)?;
        }
        let mut came_us = self.world.now_us();
        if self.report().is_err() {
            return Err(io::Error::other("the ledger takes nothing any more"));
        }
        if events.is_empty() {
            let pause = self.next_us().saturating_sub(self.world.now_us());
            self.ring.wait_for(Duration::from_micros(pause), events)?;
            came_us = self.world.now_us();
        }
        Ok(came_us)
    }

    /// Follows the run; whether it is over.
    fn look(&mut self, now: u64) -> bool {
        let step = self.world.course.step();
        if step != self.step {
            self.step = step;
            self.enter(step, now);
        }
        let left = |member: &Member| matches!(member.link, Link::Gone | Link::Away | Link::Called);
        step == Step::Leave && (now >= self.leave_us + LEAVE_US || self.members.iter().all(left))
    }

    fn enter(&mut self, step: Step, now: u64) {
        self.leave_us = now;
        if step == Step::Settle {
            // Later than `now`, which may be before the end.
            self.hand_out_rest(self.world.now_us());
        }
        for slot in 0..self.members.len() as u32 {
            match step {
                Step::Run => {}
                Step::Settle => self.read_on(slot),
                Step::ReadBack => self.mark(slot),
                Step::Leave => self.leave(slot),
            }
        }
    }

    /// When something is to be done, though nothing happens.
    fn next_us(&self) -> u64 {
        let timer = self.timers.peek().map(|Reverse((us, ..))| *us);
        let all = [timer, self.sending.next_us(), self.calls.next_us()];
        let next = all.into_iter().flatten().min().unwrap_or(u64::MAX);
        next.min(self.world.now_us() + LOOK_US)
    }

    fn set_timer(&mut self, at_us: u64, slot: u32, due: Due) {
        self.timers.push(Reverse((at_us, slot, due)));
    }

    fn fire(&mut self, now: u64) {
        while let Some(Reverse((us, slot, due))) =
            self.timers.peek().copied().filter(|Reverse((us, ..))| *us <= now)
        {
            self.timers.pop();
            match due {
                Due::Wake => {
                    let member = &mut self.members[slot as usize];
                    // Another, earlier one may have taken its place.
                    if member.wake_us == us {
                        member.wake_us = u64::MAX;
                        self.mark(slot);
                    }
                }
                Due::Call => self.call_again(slot, us),
                Due::Read => self.read_on(slot),
                Due::Send => self.send_next(slot, us, now),
            }
        }
    }

    /// Has a member looked after before the next wait.
    fn mark(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        if !member.dirty {
            member.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn report(&mut self) -> Result<(), Gone> {
        let waits = self.scribe.waits;
        // What is asked at the end must stand in the file before what the answer says.
        self.scribe.hand_over(self.step == Step::ReadBack)?;
        self.world.shared.counters.ledger_waits.fetch_add(self.scribe.waits - waits, Relaxed);
        Ok(())
    }

    fn on(&mut self, event: Event, came_us: u64) {
        match event {
            Event::Received { at, buffer, more } => self.on_received(at.slot, buffer, more, came_us),
            Event::Sent { at, data, result } => self.on_sent(at.slot, data, result),
            Event::Dialed { at, result } => self.on_dialed(at.slot, result),
            Event::ReceiveEnded { at, error } => self.on_receive_ended(at.slot, error),
            Event::ReceiveStarved { at } => self.on_starved(at.slot),
            Event::ShutDown { at, .. } => self.landed(at.slot, member::flight::SHUTDOWN),
            Event::Closed { at } => self.on_closed(at.slot),
            // Nothing listens here, and nobody else has this ring.
            Event::Accepted { .. }
            | Event::AcceptFailed { .. }
            | Event::Passed { .. }
            | Event::Arrived { .. }
            | Event::Woken => {}
        }
    }

    fn target(&self, slot: u32) -> &Target {
        let member = &self.members[slot as usize];
        let targets = &self.world.targets;
        &targets[(member.user as usize + member.moved as usize) % targets.len()]
    }

    /// Where and from where a member connects.
    fn way(&self, slot: u32) -> Call {
        let member = &self.members[slot as usize];
        let to = self.target(slot).address;
        let from = source(member.user as usize / self.world.targets.len(), &self.world.sources, &to);
        Call { to, from, receive_buffer_bytes: member.slow.then_some(SLOW_BUFFER_BYTES) }
    }
}

fn member(world: &World, user: u32) -> Member {
    let shared = Arc::clone(&world.shared);
    let mut client = match &world.peers {
        None => {
            let id = world.plan.users[user as usize].id;
            let tracked = world
                .plan
                .conversations_of(user as usize)
                .map(|c| (Arc::clone(&c.name), c.members.len() as u32));
            Speaker::Client(Client::new(id, shared, tracked).into())
        }
        Some(peers) => Speaker::Peer(Peer::new(user, shared, Arc::clone(peers)).into()),
    };
    let mut chance = world.chance(user, 1);
    let slow = chance.fraction() < world.scenario.clients.slow_share;
    if slow {
        client.reads_slowly();
    }
    Member::new(user, client, chance, slow)
}
