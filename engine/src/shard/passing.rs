//! Sockets on their way to the shard that owns their user.

use protocol::token::Claims;

/// Names one move: the source shard and a number of its own. Completions arrive out of order, so
/// a socket and its state are matched by this, never by their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MoveId(pub(super) u64);

impl MoveId {
    /// Fits the 56 bits that a passed socket's completion has for it.
    pub(super) fn new(shard: u16, number: u64) -> Self {
        Self(u64::from(shard) << 40 | number & ((1 << 40) - 1))
    }
}

/// What goes to the owner ahead of the socket.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) id: MoveId,
    pub(super) claims: Claims,
    /// The 101 that the owner sends.
    pub(super) response: Vec<u8>,
    /// What the client sent right behind its request.
    pub(super) unread: Vec<u8>,
}
