//! From the egress queues to the ring, and back when a send has ended.

use super::Shard;
use super::connection::{State, flag, flight};
use super::service::Service;
use crate::ring::{Address, Outgoing, Ring};
use std::io;

impl<R: Ring, S: Service> Shard<R, S> {
    /// Starts a send for every socket that has something queued and none in flight.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.hub.dirty);
        for slot in dirty.drain(..) {
            self.hub.connections[slot as usize].flags &= !flag::DIRTY;
            self.flush_one(slot);
        }
        self.hub.pools.end_of_flush();
        // Nothing above queues anything, so the emptied list can take the place of the new one.
        debug_assert!(self.hub.dirty.is_empty());
        self.hub.dirty = dirty;
    }

    fn flush_one(&mut self, slot: u32) {
        let connection = &mut self.hub.connections[slot as usize];
        if !matches!(connection.state, State::Open | State::Closing)
            || connection.in_flight & flight::SEND != 0
        {
            return;
        }
        if let Some(mut egress) = connection.egress.take() {
            let outgoing = egress.next(&mut self.hub.pools);
            if egress.is_empty() {
                self.hub.pools.return_queue(egress);
            } else {
                connection.egress = Some(egress);
            }
            if let Some(outgoing) = outgoing {
                connection.in_flight |= flight::SEND;
                let at = connection.address(slot);
                self.hub.took_from_egress(outgoing.as_slice().len());
                self.hub.stats.sends.add(1);
                return self.ring.send(at, outgoing, 0);
            }
        }
        if connection.state == State::Closing {
            self.finish(slot);
        }
    }

    /// Everything that a leaving connection was to be told has gone out.
    fn finish(&mut self, slot: u32) {
        let connection = &mut self.hub.connections[slot as usize];
        if connection.has(flag::PEER_DONE) {
            return self.die(slot);
        }
        // With bytes unread a full shutdown would be a reset, and the peer might never see the
        // answer: say that nothing follows, and read until it closes or the grace time is over.
        if connection.has(flag::REFUSED) && !connection.has(flag::HALF_CLOSED) {
            connection.flags |= flag::HALF_CLOSED;
            connection.in_flight |= flight::HALF_SHUTDOWN;
            self.ring.shutdown(connection.address(slot), false);
        }
    }

    pub(super) fn on_sent(&mut self, at: Address, data: Outgoing, result: io::Result<usize>) {
        if !self.is_current(at) {
            return;
        }
        let connection = &mut self.hub.connections[at.slot as usize];
        let alive = matches!(connection.state, State::Open | State::Closing);
        match result {
            Ok(sent) if alive && sent < data.as_slice().len() => {
                // A short send: the rest goes before anything else.
                return self.ring.send(at, data, sent);
            }
            Ok(sent) => self.hub.stats.bytes_out.add(sent as u64),
            Err(ref error) if alive => {
                tracing::trace!(slot = at.slot, %error, "a send failed");
                if connection.state == State::Open {
                    self.hub.stats.closed_reset.add(1);
                }
                connection.in_flight &= !flight::SEND;
                self.hub.pools.return_outgoing(data);
                return self.die(at.slot);
            }
            Err(_) => {}
        }
        self.hub.pools.return_outgoing(data);
        let connection = &mut self.hub.connections[at.slot as usize];
        if alive {
            connection.in_flight &= !flight::SEND;
            if connection.egress.is_some() || connection.state == State::Closing {
                self.hub.mark_dirty(at.slot);
            }
        } else {
            self.landed(at, flight::SEND);
        }
    }
}
