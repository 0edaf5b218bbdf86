//! A member of a room: numbers what it sends, and counts what comes.

use super::Shape;
use super::room::{Peers, Room};
use super::seen::{Arrival, Seen};
use super::stamp::{self, Stamp};
use crate::client::Shared;
use crate::judge::FaultKind;
use crate::measure::{Measure, Sample};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of an unknown message that a report shows.
const SHOWN_BYTES: usize = 100;

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

/// A member of a room.
#[derive(Debug)]
pub(super) struct Mate {
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    room: Arc<Room>,
    /// From 0.
    pub(super) place: u32,
    /// Messages under way that it may follow up, in a closed loop.
    tokens: Vec<u32>,
    /// Number in the room of its last message.
    last: u64,
    seen: Seen,
    pub(super) sessions: u64,
    pub(super) connected: bool,
    /// Reads slowly: how late it hears of things says nothing of the server.
    pub(super) slow: bool,
    looked_back: bool,
    /// When the scenario broke its connection, until it is back.
    broken_us: Option<u64>,
    /// Messages that everybody has got, this member last.
    pub(super) settled: u32,
    pub(super) samples: Vec<Sample>,
}

impl Mate {
    pub(super) fn new(shared: Arc<Shared>, peers: Arc<Peers>, room: u32, place: u32) -> Self {
        let room = Arc::clone(&peers.rooms[room as usize]);
        Self {
            shared,
            peers,
            room,
            place,
            tokens: vec![],
            last: 0,
            seen: Seen::default(),
            sessions: 0,
            connected: false,
            slow: false,
            looked_back: false,
            broken_us: None,
            settled: 0,
            samples: vec![],
        }
    }

    /// Messages may go out, and will come in.
    pub(super) fn ready(&mut self, now_us: u64) {
        // A server may say so more than once.
        if std::mem::replace(&mut self.connected, true) {
            return;
        }
        self.sessions += 1;
        let counters = &self.shared.counters;
        add(&counters.online, 1);
        match self.sessions {
            1 => add(&counters.ready, 1),
            _ => add(&counters.reconnects, 1),
        }
        if let Some(broken_us) = self.broken_us.take() {
            add(&counters.back, 1);
            self.sample(Measure::Back, broken_us, broken_us, now_us);
        }
    }

    pub(super) fn lost_connection(&mut self, why: &str, planned: bool, now_us: u64) {
        if !std::mem::take(&mut self.connected) {
            return;
        }
        self.shared.counters.session_over(why, planned);
        if planned {
            self.broken_us.get_or_insert(now_us);
        }
    }

    /// Numbers a message that goes out now.
    pub(super) fn send(&mut self, due_us: u64, now_us: u64) -> Stamp {
        let echo = self.peers.shape == Shape::Echo;
        let recipients = if echo { 1 } else { self.room.members - 1 };
        let token = match self.peers.closed {
            true => self.tokens.pop().unwrap_or_else(|| self.room.new_token()),
            false => 0,
        };
        self.room.begin(token, recipients);
        let number = self.room.next();
        add(&self.shared.counters.expected, u64::from(recipients));
        add(&self.shared.counters.sent, 1);
        if !echo {
            self.seen.own(number);
        }
        Stamp {
            run: self.peers.run,
            room: u64::from(self.room.index),
            place: u64::from(self.place),
            number,
            previous: std::mem::replace(&mut self.last, number),
            token: u64::from(token),
            due_us,
            begun_us: now_us,
        }
    }

    /// A message came.
    pub(super) fn got(&mut self, content: &[u8], now_us: u64) {
        let (room, place) = (self.room.index, self.place);
        let Some(stamp) = stamp::read(content).filter(|stamp| stamp.run == self.peers.run) else {
            let text = String::from_utf8_lossy(&content[..content.len().min(SHOWN_BYTES)]).into_owned();
            let detail = format!("member {place} got what nobody sent: {text}");
            return self.peers.fault(FaultKind::Unknown, room, None, detail);
        };
        let number = stamp.number;
        if stamp.room != u64::from(room) {
            let detail = format!("member {place} of room {room} got it");
            return self.peers.fault(FaultKind::Foreign, stamp.room as u32, Some(number), detail);
        }
        if stamp.place == u64::from(place) && self.peers.shape != Shape::Echo {
            return add(&self.peers.own, 1);
        }
        if number == 0 || number > self.room.last() {
            let detail = format!("member {place} got a number that nobody has sent yet");
            return self.peers.fault(FaultKind::Unknown, room, Some(number), detail);
        }
        let arrival = self.seen.take(number, stamp.previous);
        if arrival == Arrival::Again {
            let detail = format!("member {place} got it again");
            return self.peers.fault(FaultKind::Doubled, room, Some(number), detail);
        }
        if arrival == Arrival::Late {
            let detail = format!("member {place} got it after its sender's next one");
            self.peers.fault(FaultKind::Reordered, room, Some(number), detail);
        }
        add(&self.shared.counters.delivered, 1);
        self.sample(Measure::Delivered, stamp.due_us, stamp.begun_us, now_us);
        if self.room.got(stamp.token) {
            self.tokens.push(stamp.token as u32);
            self.settled += 1;
        }
    }

    /// The server has refused something.
    pub(super) fn refused(&self, why: &str) {
        self.shared.counters.error(why);
        let _ = self.shared.counters.first_error.set(why.to_owned());
    }

    /// Notes a latency, if it is measured.
    fn sample(&mut self, measure: Measure, due_us: u64, begun_us: u64, now_us: u64) {
        if !self.slow && due_us >= self.shared.measured_from_us.load(Relaxed) {
            self.samples.push(Sample::new(measure, due_us, begun_us, now_us));
        }
    }

    /// Nothing is sent any more: names what has never come.
    pub(super) fn look_back(&mut self) {
        if std::mem::replace(&mut self.looked_back, true) {
            return;
        }
        for (first, last) in self.seen.missing(self.room.last()) {
            let detail = match last - first {
                0 => format!("member {} did not get it", self.place),
                _ => format!("member {} did not get it, nor what follows up to {last}", self.place),
            };
            self.peers.fault(FaultKind::Lost, self.room.index, Some(first), detail);
        }
        add(&self.shared.counters.read_back, 1);
    }
}
