//! A shard's sessions and users: who is here, and what is queued for whom.
//!
//! Nothing here touches the ring: the hub notes who has something to send and who must go, and the
//! shard's loop acts on it at the end of the tick, so that all frames a tick has for one socket
//! leave in one send.

use super::connection::{Connection, NO_SLOT, State, flag};
use super::egress::{Frame, Pools};
use super::stats::{Count, Stats};
use super::timers::{TICK_MS, Timers};
use crate::ring::Mono;
use crate::session::{Refusal, frame};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use protocol::record::{DownstreamBatch, DownstreamEntry, Targets};
use protocol::{CloseCode, GatewayId, Limits, Origin, SessionRef, UnixMs, UserId};
use std::sync::Arc;

/// Clients are told to come back after this long, spread so that they don't come all at once.
const RETRY_MS_MIN: u32 = 500;
const RETRY_MS_SPREAD: u32 = 2_500;

/// Which shard of which gateway this is.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The gateway.
    pub gateway: GatewayId,
    /// Chosen anew at each start.
    pub boot_epoch: u64,
    /// Index of the shard.
    pub shard: u16,
    /// How many shards the gateway has.
    pub shards: u16,
}

/// The table of sessions and users of one shard.
pub struct Hub {
    pub(super) connections: Vec<Connection>,
    users: HashMap<UserId, u32, RandomState>,
    pub(super) timers: Timers,
    pub(super) pools: Pools,
    /// Slots to look at when the tick ends.
    pub(super) dirty: Vec<u32>,
    /// Sessions that ended in this tick, for the service.
    pub(super) gone: Vec<(SessionRef, UserId)>,
    pub(super) limits: Limits,
    pub(super) stats: Arc<Stats>,
    pub(super) identity: Identity,
    pub(super) now: Mono,
    pub(super) unix: UnixMs,
    /// No new sessions and no commands: the gateway is about to stop.
    pub(super) draining: bool,
    pub(super) open: usize,
    pub(super) slots: usize,
    egress_bytes: usize,
    scratch: Vec<u8>,
}

impl Hub {
    pub(super) fn new(
        identity: Identity,
        limits: Limits,
        table: usize,
        stats: Arc<Stats>,
        now: Mono,
    ) -> Self {
        Self {
            connections: (0..table).map(|_| Connection::free()).collect(),
            users: HashMap::default(),
            timers: Timers::new(table, now),
            pools: Pools::default(),
            dirty: Vec::new(),
            gone: Vec::new(),
            limits,
            stats,
            identity,
            now,
            unix: UnixMs(0),
            draining: false,
            open: 0,
            slots: 0,
            egress_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// The wall clock of this tick.
    pub fn unix(&self) -> UnixMs {
        self.unix
    }

    /// Whether the gateway is about to stop: commands are not taken any more.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// This shard's figures.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The full name of the session in `slot`.
    pub fn origin(&self, slot: u32) -> Origin {
        let Identity { gateway, boot_epoch, .. } = self.identity;
        Origin { gateway, boot_epoch, session: self.session_ref(slot) }
    }

    /// The user of the session in `slot`.
    pub fn user(&self, slot: u32) -> UserId {
        self.connections[slot as usize].user
    }

    /// Queues one text frame for the session in `slot`.
    pub fn send_text(&mut self, slot: u32, payload: &[u8]) {
        let frame = self.frame(frame::TEXT, payload);
        self.push(slot, frame);
    }

    /// Queues one frame with `opcode` for the session in `slot`.
    pub fn send(&mut self, slot: u32, opcode: u8, payload: &[u8]) {
        let frame = self.frame(opcode, payload);
        self.push(slot, frame);
    }

    pub(super) fn session_ref(&self, slot: u32) -> SessionRef {
        let generation = self.connections[slot as usize].generation;
        SessionRef { shard: self.identity.shard, slot, generation }
    }

    /// The slot of a session that is still the same and open.
    pub(super) fn slot_of(&self, session: SessionRef) -> Option<u32> {
        let connection = self.connections.get(session.slot as usize)?;
        let same = session.shard == self.identity.shard && connection.generation == session.generation;
        (same && connection.state == State::Open).then_some(session.slot)
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) -> Frame {
        let (header, len) = frame::header(opcode, payload.len());
        self.scratch.clear();
        self.scratch.extend_from_slice(&header[..len]);
        self.scratch.extend_from_slice(payload);
        self.scratch.as_slice().into()
    }

    /// Queues a frame for an open session; one that can't keep up is closed with 4003.
    pub(super) fn push(&mut self, slot: u32, frame: Frame) {
        let connection = &self.connections[slot as usize];
        if connection.state != State::Open {
            return;
        }
        let queued = connection.egress.as_ref().map_or(0, |egress| egress.bytes());
        if queued + frame.len() > self.limits.egress_bytes_max {
            self.close(slot, CloseCode::SlowConsumer, "too slow: more is queued than the limit allows");
            return;
        }
        self.stats.frames_out.add(1);
        self.enqueue(slot, frame);
    }

    fn enqueue(&mut self, slot: u32, frame: Frame) {
        self.egress_bytes += frame.len();
        let connection = &mut self.connections[slot as usize];
        connection.egress.get_or_insert_with(|| self.pools.queue()).push(frame);
        self.mark_dirty(slot);
    }

    pub(super) fn mark_dirty(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.has(flag::DIRTY) {
            connection.flags |= flag::DIRTY;
            self.dirty.push(slot);
        }
    }

    pub(super) fn took_from_egress(&mut self, bytes: usize) {
        self.egress_bytes -= bytes;
    }

    /// Drops what is queued for `slot`.
    pub(super) fn clear_egress(&mut self, slot: u32) {
        if let Some(mut egress) = self.connections[slot as usize].egress.take() {
            self.egress_bytes -= egress.clear();
            self.pools.return_queue(egress);
        }
    }

    /// Hands out a record's entries, in order.
    pub(super) fn deliver(&mut self, batch: &DownstreamBatch) {
        self.stats.downstream_records.add(1);
        self.stats.downstream_entries.add(batch.entries.len() as u64);
        for entry in &batch.entries {
            self.deliver_entry(entry);
        }
    }

    fn deliver_entry(&mut self, entry: &DownstreamEntry) {
        let frame = self.frame(frame::TEXT, &entry.payload);
        let exclude = entry.exclude.filter(|session| session.shard == self.identity.shard);
        match &entry.targets {
            Targets::Session(session) => match self.slot_of(*session) {
                Some(slot) => self.push(slot, frame),
                None => self.stats.downstream_missed.add(1),
            },
            Targets::Users(users) => {
                for user in users {
                    self.push_to_user(*user, &frame, exclude);
                }
            }
            Targets::All => {
                for slot in 0..self.connections.len() as u32 {
                    if self.connections[slot as usize].state == State::Open {
                        self.push_unless(slot, &frame, exclude);
                    }
                }
            }
        }
    }

    fn push_to_user(&mut self, user: UserId, frame: &Frame, exclude: Option<SessionRef>) {
        let Some(&newest) = self.users.get(&user) else {
            self.stats.downstream_missed.add(1);
            return;
        };
        let mut slot = newest;
        while slot != NO_SLOT {
            // A push may close the session, which takes it out of the chain.
            let older = self.connections[slot as usize].older;
            self.push_unless(slot, frame, exclude);
            slot = older;
        }
    }

    fn push_unless(&mut self, slot: u32, frame: &Frame, exclude: Option<SessionRef>) {
        let generation = self.connections[slot as usize].generation;
        if !exclude.is_some_and(|session| session.slot == slot && session.generation == generation) {
            self.push(slot, frame.clone());
        }
    }

    /// Enters the session in `slot` as its user's newest; the oldest goes when there are too many.
    pub(super) fn register(&mut self, slot: u32) {
        let user = self.connections[slot as usize].user;
        let older = self.users.insert(user, slot).unwrap_or(NO_SLOT);
        let connection = &mut self.connections[slot as usize];
        connection.older = older;
        connection.flags |= flag::REGISTERED;
        let (mut count, mut oldest) = (1, slot);
        while self.connections[oldest as usize].older != NO_SLOT {
            oldest = self.connections[oldest as usize].older;
            count += 1;
        }
        if count > self.limits.sessions_per_user_max {
            self.close(oldest, CloseCode::Replaced, "replaced by a newer session of this user");
        }
    }

    fn unregister(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.has(flag::REGISTERED) {
            return;
        }
        connection.flags &= !flag::REGISTERED;
        let (user, older) = (connection.user, std::mem::replace(&mut connection.older, NO_SLOT));
        let Entry::Occupied(mut newest) = self.users.entry(user) else { return };
        if *newest.get() != slot {
            let mut at = *newest.get();
            while self.connections[at as usize].older != slot {
                at = self.connections[at as usize].older;
            }
            self.connections[at as usize].older = older;
        } else if older == NO_SLOT {
            newest.remove();
        } else {
            newest.insert(older);
        }
        self.gone.push((self.session_ref(slot), user));
    }

    /// Ends the session in `slot` with a close frame, after which only the peer's is awaited.
    pub(super) fn close(&mut self, slot: u32, code: CloseCode, reason: &str) {
        if self.connections[slot as usize].state != State::Open {
            return;
        }
        self.closed_with(code).add(1);
        if code == CloseCode::SlowConsumer {
            self.clear_egress(slot);
        }
        let mut bytes = Vec::new();
        frame::close(code.number(), reason, &mut bytes);
        self.leave(slot, &bytes);
        self.connections[slot as usize].session.close_sent();
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

    /// Looks at an open session whose timer has fired: expired, silent, or just to be watched on.
    pub(super) fn check_open(&mut self, slot: u32) {
        let connection = &self.connections[slot as usize];
        let heartbeat_ms = self.limits.heartbeat.as_millis() as u64;
        let silent_ms = (self.now.0 / TICK_MS).saturating_sub(connection.heard.into()) * TICK_MS;
        if self.unix.0 / 1000 >= u64::from(connection.expires) {
            return self.close(slot, CloseCode::AuthExpired, "the token has expired: connect with a new one");
        }
        if silent_ms >= 2 * heartbeat_ms {
            return self.close(
                slot,
                CloseCode::HeartbeatLost,
                "nothing was heard, not even an answer to a ping",
            );
        }
        if silent_ms >= heartbeat_ms && !connection.has(flag::PINGED) {
            self.connections[slot as usize].flags |= flag::PINGED;
            self.send(slot, frame::PING, b"");
        }
        self.watch(slot);
    }

    /// Arms the timer of an open session for the nearest of its deadlines.
    pub(super) fn watch(&mut self, slot: u32) {
        let connection = &self.connections[slot as usize];
        let heartbeat_ms = self.limits.heartbeat.as_millis() as u64;
        let periods = if connection.has(flag::PINGED) { 2 } else { 1 };
        let silence = u64::from(connection.heard) * TICK_MS + periods * heartbeat_ms;
        let expiry_ms = (u64::from(connection.expires) * 1000).saturating_sub(self.unix.0);
        self.timers.set(slot, Mono(silence.min(self.now.0 + expiry_ms)));
    }

    pub(super) fn heard(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.heard = (self.now.0 / TICK_MS) as u32;
        connection.flags &= !flag::PINGED;
    }

    pub(super) fn publish_gauges(&self) {
        self.stats.connections.set(self.open as u64);
        self.stats.slots.set(self.slots as u64);
        self.stats.users.set(self.users.len() as u64);
        self.stats.egress_bytes.set(self.egress_bytes as u64);
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
