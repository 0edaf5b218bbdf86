//! A shard's sessions and users: who is here, and what is queued for whom.
//!
//! Nothing here touches the ring: the hub notes who has something to send and who must go, and the
//! shard's loop acts on it at the end of the tick, so that all frames a tick has for one socket
//! leave in one send.

use super::connection::{Connection, State, flag};
use super::egress::{Frame, Pools};
use super::rates::{Rates, Verdict};
use super::stats::Stats;
use super::timers::{TICK_MS, Timers};
use crate::ring::Mono;
use crate::session::frame;
use bus::DeviceKey;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, Targets};
use protocol::{CloseCode, GatewayId, Limits, Origin, SessionRef, UnixMs, UserId, event, hop};
use std::sync::Arc;
use tracing::Level;

/// Clients are told to come back after this long, spread so that they don't come all at once.
pub(super) const RETRY_MS_MIN: u32 = 500;
pub(super) const RETRY_MS_SPREAD: u32 = 2_500;

const MEMORY_FULL: &str = "the gateway has no memory left for what is queued: try again later";

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
    pub(super) users: HashMap<UserId, u32, RandomState>,
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
    /// Bytes that unfinished messages hold.
    partial_bytes: usize,
    pub(super) rates: Rates,
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
            partial_bytes: 0,
            rates: Rates::default(),
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
        if self.held_bytes() + frame.len() > self.limits.memory_bytes_max {
            self.close(slot, CloseCode::TryAgainLater, MEMORY_FULL);
            return;
        }
        self.stats.frames_out.add(1);
        self.enqueue(slot, frame);
    }

    fn held_bytes(&self) -> usize {
        self.egress_bytes + self.partial_bytes
    }

    /// Whether unfinished messages and queued frames hold all that they may.
    pub(super) fn is_full(&self) -> bool {
        self.held_bytes() >= self.limits.memory_bytes_max
    }

    /// Counts what the session in `slot` holds by now of an unfinished message; one that grows
    /// although the shard is full is closed.
    pub(super) fn account(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let held = connection.session.heap_bytes() as u32;
        let before = std::mem::replace(&mut connection.held, held);
        self.partial_bytes = self.partial_bytes + held as usize - before as usize;
        if held > before && self.is_full() {
            match self.connections[slot as usize].state {
                State::Handshake => self.refuse(slot, &super::handshake::overloaded()),
                _ => self.close(slot, CloseCode::TryAgainLater, MEMORY_FULL),
            }
        }
    }

    /// Takes a token of the user's rate of commands.
    pub fn take_command(&mut self, slot: u32) -> Verdict {
        let user = self.connections[slot as usize].user;
        self.rates.command(user, &self.limits, self.unix.0)
    }

    /// Ends a session that goes on sending above its rate, with a hint when to come back.
    pub fn close_for_abuse(&mut self, slot: u32, retry_ms: u64) {
        self.close(slot, CloseCode::RateLimited, &format!("retry_ms={retry_ms}"));
    }

    /// What stands for the device of the session in `slot`.
    pub fn device(&self, slot: u32) -> DeviceKey {
        self.connections[slot as usize].device
    }

    pub(super) fn enqueue(&mut self, slot: u32, frame: Frame) {
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
        self.stats.downstream_latency.record_ms(self.unix.0.saturating_sub(batch.sent_at.0));
        self.stats.downstream_entries.add(batch.entries.len() as u64);
        for entry in &batch.entries {
            self.deliver_entry(entry);
            // Its trace id is in the text alone, which is read only for somebody who follows it.
            if tracing::enabled!(target: hop::TARGET, Level::DEBUG) && entry.kind == EntryKind::Message {
                tell_delivered(entry, batch.sent_at);
            }
        }
    }

    fn deliver_entry(&mut self, entry: &DownstreamEntry) {
        if entry.kind == EntryKind::Kick {
            return self.kick(&entry.targets);
        }
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

    /// A newer session, on another gateway, has taken this one's place.
    fn kick(&mut self, targets: &Targets) {
        let slot = match targets {
            Targets::Session(session) => self.slot_of(*session),
            Targets::Users(_) | Targets::All => None,
        };
        match slot {
            Some(slot) => self.close(slot, CloseCode::Replaced, "replaced by a newer session elsewhere"),
            None => self.stats.downstream_missed.add(1),
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
        self.stats.partial_bytes.set(self.partial_bytes as u64);
    }
}

fn tell_delivered(entry: &DownstreamEntry, sent_at: UnixMs) {
    let Some(event::About { trace_id, data }) = event::about(&entry.payload) else { return };
    let (conversation, seq) = (&*data.conversation_id, data.seq_id);
    tracing::debug!(
        target: hop::TARGET,
        hop = hop::DELIVER, trace_id = &*trace_id, started_ms = sent_at.0, conversation, seq, "delivered"
    );
}
