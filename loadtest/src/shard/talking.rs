//! Between a socket and its client: what comes in, and what goes out.

use super::member::{Link, flight};
use super::{BUFFERS_KEPT, Due, Shard};
use crate::client::told_wait;
use crate::course::Step;
use crate::peer::Frame;
use crate::socket::{Broken, Heard};
use engine::ring::{Buffer, Dial, Outgoing};
use std::io;

/// When a client that waits for nothing but an answer is looked at again, microseconds.
const STUCK_US: u64 = 10_000;

/// What a piece of input came to, beside what the client was told.
#[derive(Debug, Default)]
struct Heed {
    upgraded: bool,
    /// The code and reason of a close frame.
    closed: Option<String>,
}

impl<R: Dial> Shard<R> {
    pub(super) fn on_received(&mut self, slot: u32, buffer: Buffer, more: bool, now: u64) {
        let member = &mut self.members[slot as usize];
        if !more {
            member.flight &= !flight::RECV;
        }
        if !member.is_linked() {
            self.ring.release(buffer);
            return self.landed(slot, 0);
        }
        let bytes = self.ring.bytes(&buffer);
        let len = bytes.len() as u64;
        let targets = &self.world.targets;
        let target = &targets[(member.user as usize + member.moved as usize) % targets.len()];
        let mut heed = Heed::default();
        let client = &mut member.client;
        let heard = member.socket.hear(bytes, target, |_, heard| match heard {
            Heard::Upgraded => {
                heed.upgraded = true;
                // At once: what the server says first may come with its answer.
                client.opened(now);
                Ok(())
            }
            Heard::Text(text) => client.receive(text, now),
            Heard::Binary(bytes) => client.receive_binary(bytes, now),
            Heard::Closed(code, reason) => {
                let code = code.map_or("without a code".to_owned(), |code| code.to_string());
                heed.closed = Some(format!("closed {code} {reason}"));
                Ok(())
            }
        });
        let settled = client.take_settled();
        client.tell(&mut self.scribe.batch);
        self.ring.release(buffer);
        self.heed(slot, heed, heard, len);
        if settled > 0 {
            self.answered(slot, settled, now);
        }
    }

    fn heed(&mut self, slot: u32, heed: Heed, heard: Result<(), Broken>, len: u64) {
        if heed.upgraded
            && let Link::Upgrading { due_us, begun_us } = self.members[slot as usize].link
        {
            self.upgraded(slot, due_us, begun_us);
        }
        match (heed.closed, heard) {
            (Some(why), _) => {
                let wait = told_wait(&why);
                self.end(slot, why, wait, false);
            }
            (None, Err(Broken::Fault(why))) => self.end(slot, why, None, false),
            (None, Err(Broken::Refused(error))) => self.end(slot, self.told(&error), None, false),
            (None, Ok(())) => {
                self.mark(slot);
                self.receive_on(slot, len);
            }
        }
        self.landed(slot, 0);
    }

    /// Arms the next receive: for a member that reads slowly, after as long as `len` bytes take.
    fn receive_on(&mut self, slot: u32, len: u64) {
        let member = &self.members[slot as usize];
        let slowly = member.slow && self.step == Step::Run && self.sending.has_begun();
        if !slowly || !member.client.is_connected() {
            return self.receive(slot);
        }
        // At rate 0 it reads on when the sending is over.
        let rate = self.world.scenario.clients.slow_bytes_per_second;
        if let Some(pause_us) = (len * 1_000_000).checked_div(rate) {
            self.set_timer(self.world.now_us() + pause_us, slot, Due::Read);
        }
    }

    /// The pause of a member that reads slowly is over.
    pub(super) fn read_on(&mut self, slot: u32) {
        self.receive(slot);
    }

    pub(super) fn on_starved(&mut self, slot: u32) {
        self.members[slot as usize].flight &= !flight::RECV;
        self.receive(slot);
        self.landed(slot, 0);
    }

    /// Has everybody say what there is to say.
    pub(super) fn pump(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            self.members[slot as usize].dirty = false;
            self.pump_one(slot);
        }
        // Those that were marked meanwhile come with the next turn.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn pump_one(&mut self, slot: u32) {
        let now = self.world.now_us();
        let member = &mut self.members[slot as usize];
        if member.link != Link::Open {
            return;
        }
        if self.step == Step::ReadBack {
            member.client.read_back(now, self.world.course.spread_us());
        }
        loop {
            let frame = member.client.transmit(now);
            // In the batch before whatever answers it.
            member.client.tell(&mut self.scribe.batch);
            match frame {
                Some(Frame::Text(text)) => member.socket.say(&text),
                Some(Frame::Binary(bytes)) => member.socket.say_binary(&bytes),
                None => break,
            }
        }
        // What the client could do now it has done: only an answer lets it go on.
        let wake_us = member.client.wake_us().map(|us| if us <= now { now + STUCK_US } else { us });
        if let Some(wake_us) = wake_us.filter(|us| *us < member.wake_us) {
            member.wake_us = wake_us;
            self.set_timer(wake_us, slot, Due::Wake);
        }
        self.flush(slot);
    }

    /// Sends what waits, if nothing is on its way.
    pub(super) fn flush(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        if !member.is_linked() || member.has(flight::SEND) || !member.socket.has_output() {
            return;
        }
        let bytes = member.socket.take_output(self.buffers.pop().unwrap_or_default());
        member.flight |= flight::SEND;
        member.send_us = self.world.now_us();
        let at = member.at(slot);
        self.ring.send(at, Outgoing::Gathered(bytes), 0);
    }

    pub(super) fn on_sent(&mut self, slot: u32, data: Outgoing, result: io::Result<usize>) {
        let member = &mut self.members[slot as usize];
        match result {
            Ok(sent) if member.is_linked() && sent < data.as_slice().len() => {
                let at = member.at(slot);
                return self.ring.send(at, data, sent);
            }
            Ok(_) => {}
            Err(error) => {
                member.flight &= !flight::SEND;
                self.end(slot, format!("a send failed: {error}"), None, false);
                return self.landed(slot, 0);
            }
        }
        member.flight &= !flight::SEND;
        if let Outgoing::Gathered(mut bytes) = data
            && self.buffers.len() < BUFFERS_KEPT
        {
            bytes.clear();
            self.buffers.push(bytes);
        }
        self.flush(slot);
        self.landed(slot, 0);
    }
}
