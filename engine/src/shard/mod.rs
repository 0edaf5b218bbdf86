//! One core of the gateway: a loop over its ring that owns everything it touches.
//!
//! [`Shard`] turns the ring's events into calls on sessions, and what the hub notes into
//! operations on the ring. It is the same code under [`crate::ring::UringRing`] and under the
//! simulator.

mod chat;
mod connection;
mod echo;
mod egress;
mod handshake;
mod hub;
mod inbox;
mod leaving;
mod outbound;
mod passing;
mod rates;
mod receiving;
mod service;
mod stats;
mod timers;
mod users;

pub use chat::Chat;
pub use echo::Echo;
pub use egress::Frame;
pub use hub::{Hub, Identity};
pub use inbox::{Control, Inbox};
pub use rates::Verdict;
pub use service::Service;
pub use stats::{Count, Stats};

use crate::ring::{Address, Event, Mono, Ring};
use crate::session::{self, Policy};
use bus::Downstream;
use connection::{State, flag, flight};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use passing::{Move, MoveId};
use protocol::Limits;
use std::io;
use std::sync::Arc;

/// Accepts armed at the same time.
pub const ACCEPTS: u16 = 32;
/// Slots kept free for sockets that arrive from other shards and for armed accepts.
pub const SPARE_SLOTS: usize = 64;
/// Records from the road handed out per tick, so that sockets get their turn.
const RECORDS_PER_TICK: usize = 64;
/// The longest wait: gauges stay fresh and refused accepts are tried again.
const WAIT_MS_MAX: u64 = 500;
/// How soon to try again what a full queue refused.
const RETRY_MS: u64 = 2;

/// What a shard is made of, beside its ring and its service.
#[derive(Debug)]
pub struct ShardConfig {
    /// Which shard this is.
    pub identity: Identity,
    /// The bounds in force.
    pub limits: Limits,
    /// Who may connect.
    pub policy: Arc<Policy>,
    /// The inboxes of all shards, by index.
    pub inboxes: Arc<[Arc<Inbox>]>,
    /// Where this shard counts.
    pub stats: Arc<Stats>,
}

impl ShardConfig {
    /// Slots in the table: the limit, headroom for 503s, and room for sockets on the move.
    pub fn table(limits: &Limits) -> usize {
        limits.connections_max + limits.headroom + SPARE_SLOTS
    }
}

/// One core: a ring, a hub and a service.
pub struct Shard<R: Ring, S: Service> {
    ring: R,
    service: S,
    hub: Hub,
    policy: Arc<Policy>,
    inboxes: Arc<[Arc<Inbox>]>,
    inbox: Arc<Inbox>,
    moves: HashMap<MoveId, Box<Move>, RandomState>,
    moves_made: u64,
    /// Cancelled moves that the owner's full inbox has not taken yet.
    not_moving: Vec<(u16, MoveId)>,
    idle_accepts: Vec<u16>,
    starved: Vec<u32>,
    accepting: bool,
    closing: bool,
    events: Vec<Event>,
    due: Vec<u32>,
}

impl<R: Ring, S: Service> Shard<R, S> {
    /// A shard that has accepted nothing yet.
    pub fn new(config: ShardConfig, ring: R, service: S) -> Self {
        let table = ShardConfig::table(&config.limits);
        let inbox = Arc::clone(&config.inboxes[usize::from(config.identity.shard)]);
        Self {
            hub: Hub::new(config.identity, config.limits, table, config.stats, ring.now()),
            ring,
            service,
            policy: config.policy,
            inboxes: config.inboxes,
            inbox,
            moves: HashMap::default(),
            moves_made: 0,
            not_moving: Vec::new(),
            idle_accepts: (0..ACCEPTS).collect(),
            starved: Vec::new(),
            accepting: true,
            closing: false,
            events: Vec::with_capacity(1_024),
            due: Vec::new(),
        }
    }

    /// Runs until it was asked to close and every session has ended.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.is_finished() {
            self.tick()?;
        }
        self.inbox.close();
        self.hub.publish_gauges();
        Ok(())
    }

    /// Whether the shard was asked to close and nothing is left to be done.
    pub fn is_finished(&self) -> bool {
        self.closing && self.hub.slots == 0 && self.moves.is_empty()
    }

    /// The ring, for the simulator's checks.
    pub fn ring(&self) -> &R {
        &self.ring
    }

    /// The ring, for the simulator.
    pub fn ring_mut(&mut self) -> &mut R {
        &mut self.ring
    }

    /// The service, for the simulator's checks.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// The hub, for the simulator's checks.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// One round: wait, take in what happened, send what that led to.
    pub fn tick(&mut self) -> io::Result<()> {
        self.arm_accepts();
        let until = self.wait_until();
        let mut events = std::mem::take(&mut self.events);
        let waited = self.ring.wait(until, &mut events);
        self.inbox.unpark();
        self.hub.now = self.ring.now();
        self.hub.unix = self.ring.unix();
        self.hub.stats.ticks.add(1);
        for event in events.drain(..) {
            self.on_event(event);
        }
        self.events = events;
        self.take_inbox();
        self.expire();
        self.end_of_tick();
        waited
    }

    fn wait_until(&mut self) -> Mono {
        let now = self.ring.now();
        let more_to_do = !self.hub.dirty.is_empty() || !self.inbox.park();
        if more_to_do {
            return now;
        }
        let retry = self.service.is_waiting() || !self.not_moving.is_empty();
        let longest = Mono(now.0 + if retry { RETRY_MS } else { WAIT_MS_MAX });
        self.hub.timers.next().map_or(longest, |deadline| deadline.min(longest))
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Received { at, buffer, more } => {
                if self.is_current(at) {
                    self.on_received(at, &buffer, more);
                }
                self.ring.release(buffer);
            }
            Event::Sent { at, data, result } => self.on_sent(at, data, result),
            Event::ReceiveEnded { at, error } => self.on_receive_ended(at, error),
            Event::ReceiveStarved { at } => self.on_starved(at),
            Event::Accepted { accept, slot, peer } => self.on_accepted(accept, slot, peer),
            Event::AcceptFailed { accept, error } => self.on_accept_failed(accept, &error),
            Event::Passed { at, result } => self.on_passed(at, result),
            Event::Arrived { slot, token } => self.on_arrived(slot, MoveId(token)),
            Event::ShutDown { at, both: true } => self.landed(at, flight::SHUTDOWN),
            Event::ShutDown { at, both: false } => self.landed(at, flight::HALF_SHUTDOWN),
            Event::Closed { at } => self.on_closed(at),
            // A gateway's sockets only come in.
            Event::Dialed { .. } | Event::Woken => {}
        }
    }

    fn is_current(&self, at: Address) -> bool {
        let connection = &self.hub.connections[at.slot as usize];
        debug_assert_eq!(
            connection.generation, at.generation,
            "a slot is closed only once nothing is in flight"
        );
        connection.generation == at.generation
    }

    /// An operation has ended; a dying slot closes with its last one.
    fn landed(&mut self, at: Address, operation: u8) {
        if !self.is_current(at) {
            return;
        }
        let connection = &mut self.hub.connections[at.slot as usize];
        connection.in_flight &= !operation;
        if connection.state == State::Dying && connection.in_flight == 0 {
            connection.in_flight = flight::CLOSE;
            self.ring.close(at);
        }
    }

    fn on_closed(&mut self, at: Address) {
        if self.is_current(at) {
            self.hub.timers.cancel(at.slot);
            self.hub.connections[at.slot as usize].reset();
            self.hub.slots -= 1;
        }
    }

    /// Ends the socket: shut down now, closed when nothing is in flight any more.
    fn die(&mut self, slot: u32) {
        self.hub.leave_open(slot);
        self.hub.clear_egress(slot);
        self.hub.timers.cancel(slot);
        let connection = &mut self.hub.connections[slot as usize];
        debug_assert!(!matches!(connection.state, State::Free | State::Dying | State::Passing));
        connection.state = State::Dying;
        connection.in_flight |= flight::SHUTDOWN;
        connection.session = session::Session::new();
        self.hub.account(slot);
        let connection = &self.hub.connections[slot as usize];
        self.ring.shutdown(connection.address(slot), true);
    }

    fn take_inbox(&mut self) {
        self.take_from_shards();
        for _ in 0..RECORDS_PER_TICK {
            let Some(record) = self.inbox.pop_from_bus() else { break };
            self.on_downstream(record);
        }
        while let Some(control) = self.inbox.pop_control() {
            self.on_control(control);
        }
        while let Some(record) = self.service.poll() {
            self.on_downstream(record);
        }
    }

    fn on_downstream(&mut self, record: Downstream) {
        match record {
            Downstream::Batch(batch) => self.hub.deliver(&batch),
            Downstream::RouteRegistered(session) => {
                if let Some(slot) = self.hub.slot_of(session) {
                    self.service.registered(&mut self.hub, slot);
                }
            }
        }
    }

    fn on_control(&mut self, control: Control) {
        match control {
            Control::Policy(policy) => self.policy = policy,
            Control::StopTaking => self.stop_taking(),
            Control::Close => {
                self.stop_taking();
                self.close_all();
            }
        }
    }

    fn stop_taking(&mut self) {
        self.hub.draining = true;
        if std::mem::take(&mut self.accepting) {
            self.ring.stop_accepting();
        }
    }

    fn close_all(&mut self) {
        self.closing = true;
        for slot in 0..self.hub.connections.len() as u32 {
            match self.hub.connections[slot as usize].state {
                State::Open => self.hub.close_for_drain(slot),
                State::Handshake => self.hub.refuse(slot, &handshake::overloaded()),
                _ => {}
            }
        }
    }

    fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.hub.timers.expire(self.hub.now, &mut due);
        for slot in due.drain(..) {
            match self.hub.connections[slot as usize].state {
                State::Handshake => self.hub.refuse(slot, &session::Refusal::timeout()),
                State::Open => self.hub.check_open(slot),
                State::Closing => self.die(slot),
                State::Free | State::Passing | State::Dying => {}
            }
        }
        self.due = due;
    }

    fn end_of_tick(&mut self) {
        self.flush();
        let mut gone = std::mem::take(&mut self.hub.gone);
        for (session, user) in gone.drain(..) {
            self.service.closed(session, user);
        }
        self.hub.gone = gone;
        self.service.end_of_tick();
        self.offer_cancelled_moves();
        for slot in std::mem::take(&mut self.starved) {
            self.hub.connections[slot as usize].flags &= !flag::STARVED;
            self.receive_on(slot);
        }
        self.hub.publish_gauges();
    }
}
