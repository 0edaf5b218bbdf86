//! Every message of a ledger, by sender and client id, and by conversation and seq.

use super::{FaultKind, Map};
use std::collections::HashSet;
use std::fmt;

/// Where the server put a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageAt {
    pub(super) seq: u64,
    pub(super) id: u64,
}

impl fmt::Display for MessageAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq {} id {}", self.seq, self.id)
    }
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) conversation: u32,
    pub(super) sender: u64,
    client_id: u32,
    /// Of its content: as it was delivered, as long as nobody has sent it.
    pub(super) hash: u64,
    /// Its place among everything that was sent: the earliest and the latest that it can be.
    pub(super) order: (u64, u64),
    /// The session it went out through last.
    pub(super) session: u64,
    pub(super) acked: Option<MessageAt>,
    /// The moment of the first record that says that it is persisted: an ack, or a delivery.
    pub(super) known_at: Option<u64>,
    /// As it was delivered first.
    pub(super) stored: Option<MessageAt>,
    pub(super) sent: bool,
    pub(super) refused: bool,
    pub(super) refused_for_now: bool,
}

impl Message {
    pub(super) fn place(&self) -> Option<MessageAt> {
        self.acked.or(self.stored)
    }

    /// It was known to be persisted at that moment.
    pub(super) fn is_known(&mut self, now: u64) {
        self.known_at = Some(self.known_at.map_or(now, |known_at| known_at.min(now)));
    }
}

#[derive(Debug, Default)]
pub(super) struct Messages {
    all: Vec<Message>,
    ids: Vec<Box<str>>,
    by_id: Map<Box<str>, u32>,
    by_sender: Map<(u64, u32), u32>,
    by_seq: Map<(u32, u64), u32>,
    told: HashSet<(FaultKind, u32)>,
    order: u64,
}

impl Messages {
    pub(super) fn get(&self, at: u32) -> &Message {
        &self.all[at as usize]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Message {
        &mut self.all[at as usize]
    }

    pub(super) fn len(&self) -> u32 {
        self.all.len() as u32
    }

    pub(super) fn id(&self, message: &Message) -> &str {
        &self.ids[message.client_id as usize]
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub(super) fn known(&self, sender: u64, client_id: &str) -> Option<u32> {
        let client_id = *self.by_id.get(client_id)?;
        self.by_sender.get(&(sender, client_id)).copied()
    }

    /// Finds a message, or makes room for one that so far nobody has sent.
    pub(super) fn find(&mut self, sender: u64, client_id: &str, conversation: u32) -> u32 {
        let client_id = match self.by_id.get(client_id) {
            Some(at) => *at,
            None => {
                let at = self.ids.len() as u32;
                self.ids.push(client_id.into());
                self.by_id.insert(client_id.into(), at);
                at
            }
        };
        *self.by_sender.entry((sender, client_id)).or_insert_with(|| {
            self.all.push(Message {
                conversation,
                sender,
                client_id,
                hash: 0,
                order: (0, 0),
                session: 0,
                acked: None,
                known_at: None,
                stored: None,
                sent: false,
                refused: false,
                refused_for_now: false,
            });
            self.all.len() as u32 - 1
        })
    }

    /// Gives a seq to a message, unless it is another's: then that one is returned.
    pub(super) fn occupy(&mut self, conversation: u32, seq: u64, at: u32) -> Option<u32> {
        let owner = *self.by_seq.entry((conversation, seq)).or_insert(at);
        (owner != at).then_some(owner)
    }

    pub(super) fn index_at_seq(&self, conversation: u32, seq: u64) -> Option<u32> {
        self.by_seq.get(&(conversation, seq)).copied()
    }

    pub(super) fn at_seq(&self, conversation: u32, seq: u64) -> Option<&Message> {
        self.index_at_seq(conversation, seq).map(|at| self.get(at))
    }

    /// Whether nothing of that kind was said of the message before.
    pub(super) fn first_of(&mut self, kind: FaultKind, at: u32) -> bool {
        self.told.insert((kind, at))
    }
}
