//! Clients of any server: they send to themselves, to one other or to a room, and count by the numbers
//! in messages what came, twice, too late or never. State machines without I/O and without a clock.

mod mate;
mod mqtt;
mod nats;
mod protocol;
mod room;
mod seen;
mod stamp;
mod talk;
#[cfg(test)]
mod tests;

pub use protocol::{Language, Protocol, Shape};
pub(crate) use room::Peers;
pub(crate) use talk::Frame;

use crate::client::Shared;
use crate::ledger::writer::Batch;
use mate::Mate;
use std::collections::VecDeque;
use std::sync::Arc;
use talk::{Said, Talk};

/// One client of a peer.
#[derive(Debug)]
pub(crate) struct Peer {
    talk: Talk,
    mate: Mate,
    /// When each message to send was due, and how many bytes it is to have.
    queue: VecDeque<(u64, u16)>,
    /// What the server is to be told before any message.
    answers: VecDeque<Frame>,
    /// Messages sent.
    count: u64,
}

impl Peer {
    /// The user at that place among all.
    pub(crate) fn new(user: u32, shared: Arc<Shared>, peers: Arc<Peers>) -> Self {
        let (room, place) = peers.place_of(user);
        let talk = Talk::new(peers.language, peers.shape, &shared.run, room, place);
        let mate = Mate::new(shared, peers, room, place);
        Self { talk, mate, queue: VecDeque::new(), answers: VecDeque::new(), count: 0 }
    }

    pub(crate) fn reads_slowly(&mut self) {
        self.mate.slow = true;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.mate.connected
    }

    pub(crate) fn was_connected(&self) -> bool {
        self.mate.sessions > 0
    }

    /// Messages that it is to send first, in a closed loop: those of a room begin with one member.
    pub(crate) fn first_messages(&self, depth: u64) -> u64 {
        if self.mate.place == 0 { depth } else { 0 }
    }

    /// Moves what was measured.
    pub(crate) fn tell(&mut self, batch: &mut Batch) {
        batch.samples.append(&mut self.mate.samples);
    }

    pub(crate) fn submit(&mut self, due_us: u64, payload: u16) {
        self.queue.push_back((due_us, payload));
    }

    /// Messages that everybody has got, this client last, since the last call: it sends the next.
    pub(crate) fn take_settled(&mut self) -> u32 {
        std::mem::take(&mut self.mate.settled)
    }

    /// The WebSocket is there.
    pub(crate) fn opened(&mut self, now_us: u64) {
        self.answers.clear();
        let (first, ready) = self.talk.open();
        self.answers.extend(first);
        if ready {
            self.mate.ready(now_us);
        }
    }

    pub(crate) fn lost_connection(&mut self, why: &str, planned: bool, now_us: u64) {
        self.mate.lost_connection(why, planned, now_us);
    }

    /// The next frame to send.
    pub(crate) fn transmit(&mut self, now_us: u64) -> Option<Frame> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if !self.mate.connected {
            return None;
        }
        let (due_us, payload) = self.queue.pop_front()?;
        let payload = usize::from(payload);
        let stamp = self.mate.send(due_us, now_us);
        self.count += 1;
        let mut content = String::with_capacity(payload + stamp::BYTES_ABOUT);
        stamp::write(&stamp, payload.saturating_sub(self.talk.wrapping()), &mut content);
        Some(self.talk.message(&content, self.count))
    }

    /// Takes what a frame of the server holds; an error ends the session.
    pub(crate) fn receive(&mut self, bytes: &[u8], now_us: u64) -> Result<(), String> {
        self.talk.hear(bytes, |said| {
            match said {
                Said::Ready => self.mate.ready(now_us),
                Said::Message(content) => self.mate.got(content, now_us),
                Said::Answer(frame) => self.answers.push_back(frame),
                Said::Refused(why) => self.mate.refused(why),
            }
            Ok(())
        })
    }

    /// Nothing is sent any more: names what has never come.
    pub(crate) fn look_back(&mut self) {
        self.mate.look_back();
    }
}
