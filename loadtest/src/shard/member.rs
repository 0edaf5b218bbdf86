//! One user of a shard: its client, its socket, and where its connection is.

use crate::random::Random;
use crate::socket::Socket;
use crate::speaker::Speaker;
use engine::ring::Address;

/// What of a socket is on its way in the ring.
pub(super) mod flight {
    pub(crate) const DIAL: u8 = 1;
    pub(crate) const RECV: u8 = 2;
    pub(crate) const SEND: u8 = 4;
    pub(crate) const SHUTDOWN: u8 = 8;
    pub(crate) const CLOSE: u8 = 16;
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// There is none; perhaps there will be.
    Away,
    /// It waits for its turn to be made.
    Called,
    /// It is being made: when it was due, and when that began.
    Dialing { due_us: u64, begun_us: u64 },
    /// The request for an upgrade is out.
    Upgrading { due_us: u64, begun_us: u64 },
    /// It is a WebSocket.
    Open,
    /// It ends, as soon as nothing of it is on its way any more.
    Ending,
    /// There will be none any more.
    Gone,
}

/// One user of a shard. Its slot in the ring is its place among the shard's members.
#[derive(Debug)]
pub(super) struct Member {
    /// Index among all users.
    pub(super) user: u32,
    pub(super) client: Speaker,
    pub(super) socket: Socket,
    pub(super) link: Link,
    pub(super) generation: u32,
    pub(super) flight: u8,
    /// Whether its slot holds a socket.
    pub(super) has_socket: bool,
    /// Whether it is in the list of those to look after.
    pub(super) dirty: bool,
    /// Whether it reads slowly.
    pub(super) slow: bool,
    /// Whether it has begun to send, in a closed loop.
    pub(super) primed: bool,
    /// Tries in vain since it was last connected.
    pub(super) tries: u8,
    /// Servers it has left behind.
    pub(super) moved: u32,
    /// When it is called again, once its slot is free; none: it stays away.
    pub(super) retry_us: Option<u64>,
    /// The earliest of its timers.
    pub(super) wake_us: u64,
    /// What it sends next, in a closed loop.
    pub(super) random: Random,
    /// When the send began that is on its way.
    pub(super) send_us: u64,
}

impl Member {
    pub(super) fn new(user: u32, client: Speaker, mut random: Random, slow: bool) -> Self {
        Self {
            user,
            client,
            socket: Socket::new(random.number()),
            link: Link::Away,
            generation: 0,
            flight: 0,
            has_socket: false,
            dirty: false,
            slow,
            primed: false,
            tries: 0,
            moved: 0,
            retry_us: None,
            wake_us: u64::MAX,
            random,
            send_us: 0,
        }
    }

    pub(super) fn at(&self, slot: u32) -> Address {
        Address { slot, generation: self.generation }
    }

    /// Whether its handshake is under way.
    pub(super) fn is_shaking(&self) -> bool {
        matches!(self.link, Link::Dialing { .. } | Link::Upgrading { .. })
    }

    /// Whether bytes may go in and out.
    pub(super) fn is_linked(&self) -> bool {
        matches!(self.link, Link::Upgrading { .. } | Link::Open)
    }

    /// Whether something of it is on its way.
    pub(super) fn has(&self, flight: u8) -> bool {
        self.flight & flight != 0
    }
}
