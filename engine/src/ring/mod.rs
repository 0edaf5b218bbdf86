//! The only thing a shard waits on: sockets, other shards and its deadline, as one stream of
//! events.
//!
//! [`Ring`] is what the shard is written against. [`UringRing`] is the io_uring behind it;
//! [`sim`] is a ring of the tests, which reorders, splits, shortens and fails by seed.
//!
//! A socket is named by its [`Address`]: the slot in the ring's table of direct descriptors and
//! the generation of that slot, so that a late completion can't be taken for its successor's.

mod buffers;
mod dial;
mod error;
mod listener;
pub mod probe;
pub mod sim;
mod trial;
mod uring;

pub use dial::{Call, Dial};
pub use error::RingError;
pub use listener::{BACKLOG, ListenError, Listener, SEND_BUFFER_BYTES};
pub use trial::TrialError;
pub use uring::{CQ_ENTRIES, RingConfig, SQ_ENTRIES, UringRing};

use protocol::UnixMs;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// Milliseconds on a clock that never steps; its zero is arbitrary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment plus `duration`, in whole milliseconds.
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(duration.as_millis() as u64))
    }
}

/// Generations count modulo this, the room they have in an operation's `user_data`.
pub const GENERATIONS: u32 = 1 << 24;

/// A socket of this ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// Slot of its direct descriptor, and of its session.
    pub slot: u32,
    /// Generation of the slot, below [`GENERATIONS`].
    pub generation: u32,
}

/// How to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receive {
    /// Once: the socket can be passed on afterwards.
    Once,
    /// Until the event says that no more follows.
    Many,
}

/// Bytes on their way out; the ring holds them until the kernel is done with them.
#[derive(Debug)]
pub enum Outgoing {
    /// One frame, shared by all who get it.
    Shared(Rc<[u8]>),
    /// Several frames gathered into a buffer of the shard's pool.
    Gathered(Vec<u8>),
}

impl Outgoing {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Gathered(bytes) => bytes,
        }
    }
}

/// A filled receive buffer. Not `Clone`: it goes back by [`Ring::release`] exactly once.
#[derive(Debug)]
pub struct Buffer {
    id: u16,
    len: u32,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A client connected; its socket is in `slot`.
    Accepted {
        /// Which of the armed accepts this was.
        accept: u16,
        /// Where its socket is.
        slot: u32,
        /// Who it is.
        peer: SocketAddr,
    },
    /// An accept ended without a socket.
    AcceptFailed {
        /// Which of the armed accepts this was.
        accept: u16,
        /// Why.
        error: io::Error,
    },
    /// Bytes came in; `more` says that this receive stays armed.
    Received {
        /// From whom.
        at: Address,
        /// The bytes.
        buffer: Buffer,
        /// Whether the receive stays armed.
        more: bool,
    },
    /// The receive ended: no more bytes will come (`None`), or it failed.
    ReceiveEnded {
        /// Whose.
        at: Address,
        /// Why, if not by the peer's FIN.
        error: Option<io::Error>,
    },
    /// The receive ended for want of a free buffer: arm it again once some are released.
    ReceiveStarved {
        /// Whose.
        at: Address,
    },
    /// A send ended; the bytes come back.
    Sent {
        /// Whose.
        at: Address,
        /// What was handed to [`Ring::send`].
        data: Outgoing,
        /// Up to which byte of `data` the kernel has taken it.
        result: io::Result<usize>,
    },
    /// A shutdown ended.
    ShutDown {
        /// Whose.
        at: Address,
        /// Of both ways, or only of sending.
        both: bool,
    },
    /// A slot is free again.
    Closed {
        /// Whose.
        at: Address,
    },
    /// The socket was passed to another shard, or was not: then it is still here.
    Passed {
        /// Whose.
        at: Address,
        /// Why not.
        result: io::Result<()>,
    },
    /// Another shard passed a socket to this one.
    Arrived {
        /// Where its socket is.
        slot: u32,
        /// The token the other shard passed it with.
        token: u64,
    },
    /// A socket that was to connect has, or has not; either way its slot is to be closed in the end.
    Dialed {
        /// Whose.
        at: Address,
        /// Why not.
        result: io::Result<()>,
    },
    /// Somebody put something into the inbox.
    Woken,
}

/// A shard's ring. Every operation is only noted and leaves with the next [`Ring::wait`]; each
/// ends in an [`Event`] that carries its address.
pub trait Ring {
    /// The monotonic clock.
    fn now(&self) -> Mono;
    /// The wall clock, for `exp` and `created_at`.
    fn unix(&self) -> UnixMs;
    /// Submits what was noted, waits until something happened or `until` has come, and appends
    /// what happened to `events`.
    fn wait(&mut self, until: Mono, events: &mut Vec<Event>) -> io::Result<()>;
    /// Arms accept number `accept`.
    fn accept(&mut self, accept: u16);
    /// Ends all armed accepts ([`Event::AcceptFailed`]) and closes the listener.
    fn stop_accepting(&mut self);
    /// Arms a receive.
    fn recv(&mut self, at: Address, how: Receive);
    /// Sends `data` from byte `from` on; at most one send per socket is in flight.
    fn send(&mut self, at: Address, data: Outgoing, from: usize);
    /// Shuts the socket down, both ways or only for sending.
    fn shutdown(&mut self, at: Address, both: bool);
    /// Closes the slot; only when nothing else is in flight on it.
    fn close(&mut self, at: Address);
    /// Passes the socket to another shard, which sees [`Event::Arrived`] with `token`.
    fn pass(&mut self, at: Address, shard: u16, token: u64);
    /// The bytes of a received buffer.
    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8];
    /// Gives a received buffer back to the pool.
    fn release(&mut self, buffer: Buffer);
}
