//! What a shard keeps per slot.

use super::egress::Egress;
use crate::ring::{Address, GENERATIONS};
use crate::session::Session;
use protocol::UserId;

pub(super) const NO_SLOT: u32 = u32::MAX;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The slot is free.
    Free,
    /// The upgrade request is being read, one receive at a time.
    Handshake,
    /// The socket is on its way to the shard that owns its user.
    Passing,
    /// Frames flow.
    Open,
    /// A close frame or a refusal has been queued; what comes in is discarded.
    Closing,
    /// Shut down; waiting for what is in flight to end.
    Dying,
}

/// Operations of a slot that the ring has not answered yet, as bits.
pub(super) mod flight {
    pub(crate) const RECV: u8 = 1;
    pub(crate) const SEND: u8 = 2;
    pub(crate) const SHUTDOWN: u8 = 4;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PASS: u8 = 16;
    /// Apart from SHUTDOWN: the whole one may follow before this one has ended, and a slot that is
    /// closed with either in flight would have it shut down its successor.
    pub(crate) const HALF_SHUTDOWN: u8 = 32;
}

/// Further properties, as bits.
pub(super) mod flag {
    /// In the list of slots that have something to send.
    pub(crate) const DIRTY: u8 = 1;
    /// A ping has gone out since anything was heard.
    pub(crate) const PINGED: u8 = 2;
    /// The peer has said goodbye: shut down as soon as everything is sent.
    pub(crate) const PEER_DONE: u8 = 4;
    /// Not a WebSocket (yet): the answer is an HTTP response, then the socket ends.
    pub(crate) const REFUSED: u8 = 8;
    /// The sending half has been shut down.
    pub(crate) const HALF_CLOSED: u8 = 16;
    /// In the list of slots whose receive must be armed again.
    pub(crate) const STARVED: u8 = 32;
    /// Entered in the table of users.
    pub(crate) const REGISTERED: u8 = 64;
}

/// One slot of the table. Small: millions of these are what a gateway's memory goes to.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) state: State,
    pub(super) in_flight: u8,
    pub(super) flags: u8,
    pub(super) session: Session,
    pub(super) egress: Option<Box<Egress>>,
    pub(super) user: UserId,
    /// The user's next session on this shard, older than this one.
    pub(super) older: u32,
    /// When a byte was last received, in ticks of the wheel.
    pub(super) heard: u32,
    /// When the token expires, in seconds since 1970; beyond 2106 it does not.
    pub(super) expires: u32,
    /// Bytes counted for an unfinished message.
    pub(super) held: u32,
    /// Stands for the token's device; 0 for none.
    pub(super) device: u64,
}

impl Connection {
    pub(super) fn free() -> Self {
        Self {
            generation: 0,
            state: State::Free,
            in_flight: 0,
            flags: 0,
            session: Session::new(),
            egress: None,
            user: UserId(0),
            older: NO_SLOT,
            heard: 0,
            expires: u32::MAX,
            held: 0,
            device: 0,
        }
    }

    pub(super) fn address(&self, slot: u32) -> Address {
        Address { slot, generation: self.generation }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Makes the slot free for a successor, which gets the next generation.
    pub(super) fn reset(&mut self) {
        let generation = (self.generation + 1) % GENERATIONS;
        *self = Self { generation, ..Self::free() };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<super::Connection>() <= 88, "{}", size_of::<super::Connection>());
    }
}
