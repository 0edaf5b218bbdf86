//! Those who get each other's messages, with what all of them count together: in one room, and in all.

use super::{Language, Shape};
use crate::counters::Counters;
use crate::dial::Target;
use crate::judge::{FAULTS_MAX, Fault, FaultKind, Verdict, Witness};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Those who get each other's messages.
#[derive(Debug)]
pub(crate) struct Room {
    /// From 0.
    pub(super) index: u32,
    pub(super) members: u32,
    /// Messages that were sent here, and so the number of the last.
    sent: AtomicU64,
    /// In a closed loop: for each of the messages under way, who has yet to get it.
    left: Box<[AtomicU32]>,
    tokens: AtomicU32,
}

impl Room {
    /// The number of a new message.
    pub(super) fn next(&self) -> u64 {
        self.sent.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// A token that nobody has had; in a closed loop, as many as messages are to be under way.
    pub(super) fn new_token(&self) -> u32 {
        self.tokens.fetch_add(1, Relaxed)
    }

    /// `recipients` are to get the message with that token.
    pub(super) fn begin(&self, token: u32, recipients: u32) {
        if let Some(left) = self.left.get(token as usize) {
            left.store(recipients, Relaxed);
        }
    }

    /// One more has got it; whether that was the last.
    pub(super) fn got(&self, token: u64) -> bool {
        let left = usize::try_from(token).ok().and_then(|token| self.left.get(token));
        left.is_some_and(|left| left.fetch_sub(1, Relaxed) == 1)
    }
}

/// What all clients of a peer share.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(super) language: Language,
    pub(super) shape: Shape,
    /// Users of a room, who stand beside each other.
    pub(super) size: usize,
    /// The run's number.
    pub(super) run: u64,
    /// Whether messages follow on each other.
    pub(super) closed: bool,
    pub(super) rooms: Vec<Arc<Room>>,
    /// Own messages that a room brought back.
    pub(super) own: AtomicU64,
    counts: [AtomicU64; COUNTED.len()],
    faults: Mutex<Vec<Fault>>,
}

/// Faults that are counted when they are seen; what is lost shows at the end.
const COUNTED: [FaultKind; 4] =
    [FaultKind::Doubled, FaultKind::Reordered, FaultKind::Foreign, FaultKind::Unknown];

impl Peers {
    /// Rooms for so many users; `depth` messages are under way in each, 0 if they follow a schedule.
    pub(crate) fn new(
        (language, shape): (Language, Shape),
        size: usize,
        users: usize,
        run: u64,
        depth: u64,
    ) -> Self {
        let room = |index| {
            let left = (0..depth).map(|_| AtomicU32::new(0)).collect();
            let (sent, tokens) = (AtomicU64::new(0), AtomicU32::new(0));
            Room { index, members: size as u32, sent, left, tokens }.into()
        };
        let rooms = (0..(users / size) as u32).map(room).collect();
        let (own, counts, faults) = (AtomicU64::new(0), Default::default(), Mutex::default());
        Self { language, shape, size, run, closed: depth > 0, rooms, own, counts, faults }
    }

    /// The room of a user, and its place there.
    pub(super) fn place_of(&self, user: u32) -> (u32, u32) {
        let size = self.size as u32;
        (user / size, user % size)
    }

    /// Puts into a target's path what it says of its user: `{user}` from 1, `{peer}` for the next one of
    /// the room, `{room}` from 0, which stands at the end where nothing else says whom a raw message is for.
    pub(crate) fn direct(&self, target: &mut Target, user: u32) {
        if self.language == Language::Raw && self.shape != Shape::Echo && !target.path.contains('{') {
            target.path.push_str("/{room}");
        }
        if target.path.contains('{') {
            let (room, place) = self.place_of(user);
            let peer = room * self.size as u32 + (place + 1) % self.size as u32;
            for (name, number) in [("{user}", user + 1), ("{peer}", peer + 1), ("{room}", room)] {
                target.path = target.path.replace(name, &number.to_string());
            }
        }
        target.subprotocol = (self.language == Language::Mqtt).then_some("mqtt");
    }

    /// Own messages that a room brought back.
    pub(crate) fn own(&self) -> u64 {
        self.own.load(Relaxed)
    }

    /// Notes a fault, and counts it, if that is not done at the end.
    pub(super) fn fault(&self, kind: FaultKind, room: u32, number: Option<u64>, detail: String) {
        if let Some(at) = COUNTED.iter().position(|own| *own == kind) {
            self.counts[at].fetch_add(1, Relaxed);
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < FAULTS_MAX {
            let conversation = format!("room {room}");
            faults.push(Fault {
                kind,
                by: Witness::Clients,
                conversation,
                sender: None,
                client_id: None,
                seq: number,
                detail,
            });
        }
    }

    /// What was counted, once the run has settled, or, if what is missing may be on its way, not.
    pub(crate) fn verdict(&self, counters: &Counters, settled: bool, quiet: bool, cut: bool) -> Verdict {
        let n = |counter: &AtomicU64| counter.load(Relaxed);
        let missing = n(&counters.expected).saturating_sub(n(&counters.delivered));
        let counted = COUNTED.into_iter().zip(self.counts.iter().map(n));
        let lost = (FaultKind::Lost, if quiet { missing } else { 0 });
        let mut verdict = Verdict {
            incomplete: cut,
            settled,
            undecided: if quiet { 0 } else { missing },
            sent: n(&counters.sent),
            delivered: n(&counters.delivered),
            dropped_sessions: n(&counters.dropped) + n(&counters.broken),
            counts: counted.chain([lost]).filter(|(_, count)| *count > 0).collect(),
            faults: self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..Verdict::default()
        };
        verdict.clean = verdict.is_clean();
        verdict
    }
}
