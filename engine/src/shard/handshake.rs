//! From an accepted socket to an open session, on this shard or on the one that owns the user.

use super::connection::{State, flight};
use super::inbox::FromShard;
use super::passing::{Move, MoveId};
use super::receiving::read_frames;
use super::service::Service;
use super::{SPARE_SLOTS, Shard};
use crate::ring::{Address, Ring};
use crate::session::{Input, Refusal, Upgrade, authorize};
use protocol::UnixMs;
use protocol::partition::shard_of;
use protocol::token::Claims;
use sha2::{Digest, Sha256};
use std::io;
use std::net::SocketAddr;

/// Seconds after which a client that met an overloaded shard may come back.
const RETRY_AFTER_S: u32 = 2;

pub(super) fn overloaded() -> Refusal {
    Refusal::overloaded(RETRY_AFTER_S)
}

impl<R: Ring, S: Service> Shard<R, S> {
    /// Arms accepts while the table has room for what they bring, beside arriving sockets.
    pub(super) fn arm_accepts(&mut self) {
        if !self.accepting {
            return;
        }
        let limits = &self.hub.limits;
        let armed = usize::from(super::ACCEPTS) - self.idle_accepts.len();
        let room = (limits.connections_max + limits.headroom + SPARE_SLOTS / 2)
            .saturating_sub(self.hub.slots + armed);
        for _ in 0..room.min(self.idle_accepts.len()) {
            let accept = self.idle_accepts.pop().expect("counted above");
            self.ring.accept(accept);
        }
    }

    pub(super) fn on_accepted(&mut self, accept: u16, slot: u32, peer: SocketAddr) {
        self.idle_accepts.push(accept);
        self.hub.stats.accepted.add(1);
        tracing::trace!(shard = self.hub.identity.shard, slot, %peer, "accepted");
        self.occupy(slot, State::Handshake);
        self.hub.timers.set(slot, self.hub.now.after(self.hub.limits.handshake));
        let now_ms = self.hub.unix.0;
        if self.hub.draining || self.hub.is_full() {
            self.hub.refuse(slot, &overloaded());
        } else if !self.hub.rates.connection(peer.ip(), &self.hub.limits, now_ms) {
            let refusal = Refusal::too_many_connections(self.hub.limits.address_rate);
            self.hub.refuse(slot, &refusal);
        }
        self.receive_on(slot);
    }

    pub(super) fn on_accept_failed(&mut self, accept: u16, error: &io::Error) {
        self.idle_accepts.push(accept);
        if self.accepting {
            self.hub.stats.accept_failures.add(1);
            tracing::warn!(shard = self.hub.identity.shard, %error, "an accept failed; it is armed again");
        }
    }

    fn occupy(&mut self, slot: u32, state: State) {
        let connection = &mut self.hub.connections[slot as usize];
        assert_eq!(connection.state, State::Free, "the ring hands out only slots that were closed");
        connection.state = state;
        self.hub.slots += 1;
    }

    /// A whole upgrade request is there: refuse it, open the session, or pass it to its owner.
    pub(super) fn on_upgrade(&mut self, slot: u32, upgrade: &Upgrade, unread: Vec<u8>) {
        if self.has_no_room() {
            return self.hub.refuse(slot, &overloaded());
        }
        let claims = match authorize(upgrade, &self.policy, self.hub.unix) {
            Ok(claims) => claims,
            Err(refusal) => return self.hub.refuse(slot, &refusal),
        };
        let identity = self.hub.identity;
        let owner = if S::ROUTED { shard_of(claims.user, identity.shards) } else { identity.shard };
        if owner == identity.shard {
            self.open(slot, &claims, &upgrade.response(), unread);
        } else {
            self.pass(slot, owner, claims, upgrade.response(), unread);
        }
    }

    fn has_no_room(&self) -> bool {
        self.hub.draining || self.hub.open >= self.hub.limits.connections_max || self.hub.is_full()
    }

    fn open(&mut self, slot: u32, claims: &Claims, response: &[u8], mut unread: Vec<u8>) {
        let device = device_key(claims.device.as_deref());
        let connection = &mut self.hub.connections[slot as usize];
        connection.device = device;
        connection.state = State::Open;
        connection.user = claims.user;
        connection.expires = expiry_seconds(claims.expires_at);
        connection.session.open();
        self.hub.open += 1;
        self.hub.stats.upgrades.add(1);
        self.hub.heard(slot);
        self.hub.watch(slot);
        // Past the bounds of what may be queued: the session has nothing queued yet, and is told why
        // it ends only once it is one.
        self.hub.enqueue(slot, response.into());
        if S::ROUTED {
            self.hub.register(slot);
        }
        self.service.opened(&mut self.hub, slot, claims.user);
        self.receive_on(slot);
        if !unread.is_empty() {
            read_frames(&mut self.hub, &mut self.service, slot, &mut Input::new(&mut unread));
        }
    }

    /// Sends the state ahead by inbox, then the socket by the ring.
    fn pass(&mut self, slot: u32, owner: u16, claims: Claims, response: Vec<u8>, unread: Vec<u8>) {
        self.moves_made += 1;
        let id = MoveId::new(self.hub.identity.shard, self.moves_made);
        let moving = FromShard::Moving(Box::new(Move { id, claims, response, unread }));
        if self.inboxes[usize::from(owner)].push_from_shard(moving).is_err() {
            self.hub.stats.pass_failures.add(1);
            return self.hub.refuse(slot, &overloaded());
        }
        let connection = &mut self.hub.connections[slot as usize];
        debug_assert_eq!(
            connection.in_flight, 0,
            "a socket moves with nothing armed: the source would keep the bytes"
        );
        connection.state = State::Passing;
        connection.in_flight = flight::PASS;
        // The user field holds the owner until the answer is there.
        connection.user = protocol::UserId(u64::from(owner) << 48 | self.moves_made);
        self.hub.timers.cancel(slot);
        self.ring.pass(connection.address(slot), owner, id.0);
    }

    pub(super) fn on_passed(&mut self, at: Address, result: io::Result<()>) {
        if !self.is_current(at) {
            return;
        }
        let connection = &mut self.hub.connections[at.slot as usize];
        connection.in_flight &= !flight::PASS;
        match result {
            Ok(()) => {
                self.hub.stats.passed.add(1);
                connection.state = State::Dying;
                connection.in_flight = flight::CLOSE;
                self.ring.close(at);
            }
            Err(error) => {
                self.hub.stats.pass_failures.add(1);
                tracing::debug!(shard = self.hub.identity.shard, %error, "a socket could not be passed");
                let (owner, number) = ((connection.user.0 >> 48) as u16, connection.user.0 & ((1 << 48) - 1));
                connection.state = State::Handshake;
                self.not_moving.push((owner, MoveId::new(self.hub.identity.shard, number)));
                self.hub.refuse(at.slot, &overloaded());
                self.receive_on(at.slot);
            }
        }
    }

    /// Tells owners which moves will not come; what their inbox refuses is offered again.
    pub(super) fn offer_cancelled_moves(&mut self) {
        let inboxes = &self.inboxes;
        self.not_moving.retain(|(owner, id)| {
            inboxes[usize::from(*owner)].push_from_shard(FromShard::NotMoving(*id)).is_err()
        });
    }

    pub(super) fn take_from_shards(&mut self) {
        while let Some(message) = self.inbox.pop_from_shard() {
            match message {
                FromShard::Moving(moving) => {
                    self.moves.insert(moving.id, moving);
                }
                FromShard::NotMoving(id) => {
                    self.moves.remove(&id);
                }
            }
        }
    }

    /// A socket came from another shard; its state was put into the inbox before it was sent.
    pub(super) fn on_arrived(&mut self, slot: u32, id: MoveId) {
        self.occupy(slot, State::Handshake);
        if !self.moves.contains_key(&id) {
            self.take_from_shards();
        }
        let moving = self.moves.remove(&id).expect("the state of a socket goes ahead of it");
        self.hub.stats.arrived.add(1);
        if self.has_no_room() {
            self.hub.refuse(slot, &overloaded());
            return self.receive_on(slot);
        }
        let Move { claims, response, unread, .. } = *moving;
        self.open(slot, &claims, &response, unread);
    }
}

fn expiry_seconds(at: UnixMs) -> u32 {
    u32::try_from(at.0 / 1000).unwrap_or(u32::MAX)
}

/// What stands for a device's name: the same on every gateway, and nobody can find two names that
/// look like one (SHA-256, cut).
fn device_key(name: Option<&str>) -> bus::DeviceKey {
    name.map_or(0, |name| {
        let digest = Sha256::digest(name);
        u64::from_le_bytes(*digest.first_chunk().expect("32 bytes"))
    })
}
