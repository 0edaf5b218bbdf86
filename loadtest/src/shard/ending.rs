//! The end of a connection: nothing of it is on its way any more before its slot is closed.

use super::Shard;
use super::member::{Link, flight};
use crate::course::Step;
use engine::ring::{Dial, GENERATIONS};
use std::io;
use std::time::Duration;

impl<R: Dial> Shard<R> {
    /// A connection is over, or never came to be: `planned` if the scenario broke it.
    pub(super) fn end(&mut self, slot: u32, why: String, wait: Option<Duration>, planned: bool) {
        let now = self.world.now_us();
        let member = &mut self.members[slot as usize];
        if !(member.is_linked() || member.is_shaking()) {
            return;
        }
        if member.is_shaking() {
            self.free_handshake();
        }
        let member = &mut self.members[slot as usize];
        if self.step != Step::Leave {
            let was_connected = member.client.is_connected();
            member.client.lost_connection(&why, planned, now);
            member.client.tell(&mut self.scribe.batch);
            member.tries = if was_connected { 0 } else { member.tries.saturating_add(1) };
        }
        member.link = Link::Ending;
        member.socket.clear();
        let retry_us = self.retry_us(slot, &why, wait.map(|wait| wait.as_micros() as u64), planned);
        let member = &mut self.members[slot as usize];
        member.retry_us = retry_us;
        if !member.has_socket {
            return self.freed(slot);
        }
        if member.has(flight::RECV | flight::SEND | flight::DIAL) {
            member.flight |= flight::SHUTDOWN;
            let at = member.at(slot);
            self.ring.shutdown(at, true);
        }
        self.landed(slot, 0);
    }

    /// Something that was on its way has ended: a slot that ends is closed after the last.
    pub(super) fn landed(&mut self, slot: u32, what: u8) {
        let member = &mut self.members[slot as usize];
        member.flight &= !what;
        if member.link == Link::Ending && member.flight == 0 {
            member.flight = flight::CLOSE;
            let at = member.at(slot);
            self.ring.close(at);
        }
    }

    pub(super) fn on_closed(&mut self, slot: u32) {
        self.members[slot as usize].flight = 0;
        self.freed(slot);
    }

    /// The slot may be used again.
    fn freed(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        member.has_socket = false;
        member.generation = (member.generation + 1) % GENERATIONS;
        match member.retry_us.take() {
            Some(at_us) => {
                member.link = Link::Away;
                self.call_at(slot, at_us);
            }
            None => member.link = Link::Gone,
        }
    }

    pub(super) fn on_receive_ended(&mut self, slot: u32, error: Option<io::Error>) {
        self.members[slot as usize].flight &= !flight::RECV;
        let why = error.map_or_else(
            || "the connection was closed without a close frame".to_owned(),
            |error| format!("a receive failed: {error}"),
        );
        self.end(slot, why, None, false);
        self.landed(slot, 0);
    }

    /// Says goodbye, at the end of the run.
    pub(super) fn leave(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        if member.link == Link::Open {
            member.socket.close();
            self.flush(slot);
        } else {
            self.end(slot, String::new(), None, false);
        }
    }
}
