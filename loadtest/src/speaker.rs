//! Who speaks on a socket: a client of Ringway, or one of another server.

use crate::client::{Client, Hint};
use crate::ledger::writer::Batch;
use crate::peer::{Frame, Peer};

/// Who speaks on a socket.
#[derive(Debug)]
pub(crate) enum Speaker {
    Client(Box<Client>),
    Peer(Box<Peer>),
}

impl Speaker {
    /// The WebSocket is there.
    pub(crate) fn opened(&mut self, now_us: u64) {
        match self {
            // The server speaks first.
            Self::Client(_) => {}
            Self::Peer(peer) => peer.opened(now_us),
        }
    }

    /// Takes a text; an error ends the session.
    pub(crate) fn receive(&mut self, text: &str, now_us: u64) -> Result<(), String> {
        match self {
            Self::Client(client) => client.receive(text, now_us),
            Self::Peer(peer) => peer.receive(text.as_bytes(), now_us),
        }
    }

    /// Takes a binary message; an error ends the session.
    pub(crate) fn receive_binary(&mut self, bytes: &[u8], now_us: u64) -> Result<(), String> {
        match self {
            Self::Client(_) => Err("a binary frame: Ringway sends text".to_owned()),
            Self::Peer(peer) => peer.receive(bytes, now_us),
        }
    }

    /// The next frame to send.
    pub(crate) fn transmit(&mut self, now_us: u64) -> Option<Frame> {
        match self {
            Self::Client(client) => client.transmit(now_us).map(Frame::Text),
            Self::Peer(peer) => peer.transmit(now_us),
        }
    }

    /// When [`Speaker::transmit`] is worth another try, though nothing happens until then.
    pub(crate) fn wake_us(&self) -> Option<u64> {
        match self {
            Self::Client(client) => client.wake_us(),
            Self::Peer(_) => None,
        }
    }

    /// Hands over a message to send in one of the conversations.
    pub(crate) fn submit(&mut self, conversation: u32, due_us: u64, payload: u16) {
        match self {
            Self::Client(client) => client.submit(conversation, due_us, payload),
            Self::Peer(peer) => peer.submit(due_us, payload),
        }
    }

    pub(crate) fn submit_hint(&mut self, hint: Hint, conversation: u32) {
        if let Self::Client(client) = self {
            client.submit_hint(hint, conversation);
        }
    }

    pub(crate) fn submit_sync(&mut self, conversation: u32, due_us: u64) {
        if let Self::Client(client) = self {
            client.submit_sync(conversation, due_us);
        }
    }

    /// Messages that it is to send first, in a closed loop of that depth.
    pub(crate) fn first_messages(&self, depth: u64) -> u64 {
        match self {
            Self::Client(_) => depth,
            Self::Peer(peer) => peer.first_messages(depth),
        }
    }

    /// Messages that it is to follow up, in a closed loop, since the last call.
    pub(crate) fn take_settled(&mut self) -> u32 {
        match self {
            Self::Client(client) => client.take_settled(),
            Self::Peer(peer) => peer.take_settled(),
        }
    }

    /// Moves what the ledger is to be told, and what was measured.
    pub(crate) fn tell(&mut self, batch: &mut Batch) {
        match self {
            Self::Client(client) => client.tell(batch),
            Self::Peer(peer) => peer.tell(batch),
        }
    }

    pub(crate) fn reads_slowly(&mut self) {
        match self {
            Self::Client(client) => client.reads_slowly(),
            Self::Peer(peer) => peer.reads_slowly(),
        }
    }

    /// Whether a server lets it in.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Client(client) => client.is_connected(),
            Self::Peer(peer) => peer.is_connected(),
        }
    }

    /// Whether it ever was.
    pub(crate) fn was_connected(&self) -> bool {
        match self {
            Self::Client(client) => client.was_connected(),
            Self::Peer(peer) => peer.was_connected(),
        }
    }

    /// The connection is gone; `planned` if the scenario broke it.
    pub(crate) fn lost_connection(&mut self, why: &str, planned: bool, now_us: u64) {
        match self {
            Self::Client(client) => client.lost_connection(why, planned, now_us),
            Self::Peer(peer) => peer.lost_connection(why, planned, now_us),
        }
    }

    /// Has everything read back that is stored; who stores nothing is asked what is missing.
    pub(crate) fn read_back(&mut self, now_us: u64, spread_us: u64) {
        match self {
            Self::Client(client) => client.read_back(now_us, spread_us),
            Self::Peer(peer) => peer.look_back(),
        }
    }
}
