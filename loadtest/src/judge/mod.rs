//! The judge: a pure function from a ledger, and from the rows of a store if there are any, to a
//! [`Verdict`]. It knows these and nothing else.

mod fault;
mod finish;
mod messages;
mod pace;
mod rows;
pub mod together;

pub use fault::{Damage, DamageKind, FAULTS_MAX, Fault, FaultKind, KINDS, Verdict, Witness};
pub use pace::{Far, Pace, Stage};
pub use rows::{Row, StoreRead};

use crate::ledger::reader::{LedgerError, read};
use crate::ledger::{End, Header, Record, Via};
use crate::ranges::Ranges;
use crate::store::Place;
use foldhash::fast::RandomState;
use messages::{MessageAt, Messages};
use std::collections::{HashMap, HashSet};
use std::io::BufRead;

type Map<K, V> = HashMap<K, V, RandomState>;

/// A conversation of the run.
#[derive(Debug, Default)]
struct Conversation {
    name: Box<str>,
    /// Ascending; empty if the ledger doesn't declare it.
    members: Vec<u64>,
    declared: bool,
    /// Its last seq before the run.
    base: Option<u64>,
    /// Every seq that anybody has seen.
    known: Ranges,
    /// Its last seq after the run.
    stored: u64,
}

/// What reached one user of one conversation.
#[derive(Debug, Default)]
struct Received {
    /// While the run went on.
    running: Ranges,
    /// By the last `sync`.
    last: Ranges,
}

/// How one user asked for what is stored of one conversation, by the moments of records.
#[derive(Debug, Clone, Copy)]
struct ReadBack {
    first: u64,
    last: u64,
    /// When it asked for what it has in full.
    done: Option<u64>,
}

/// What reached one session of one conversation as `new-message`.
#[derive(Debug, Default)]
struct Live {
    seen: Ranges,
}

/// Takes the records of a ledger in order, then says what they come to.
#[derive(Debug, Default)]
pub struct Judge {
    conversations: Vec<Conversation>,
    names: Map<Box<str>, u32>,
    messages: Messages,
    received: Map<(u64, u32), Received>,
    read_back: Map<(u64, u32), ReadBack>,
    live: Map<(u64, u32), Live>,
    /// Message, session and user of deliveries that the session had had before.
    repeats: Vec<(u32, u64, u64)>,
    /// The moment of the record at hand: its place in the file; where there are several files, its time.
    now: u64,
    by_time: bool,
    /// Sessions in which a message was refused for now.
    refusing: HashSet<u64>,
    /// What the store has, once it is asked.
    rows: rows::Rows,
    verdict: Verdict,
    read: End,
    end: Option<End>,
    /// What the ends of the files so far come to.
    ended: Option<End>,
}

/// Judges a ledger.
pub fn judge(input: impl BufRead) -> Result<(Option<Header>, Verdict), LedgerError> {
    judge_with(input, None, &mut Pace::silent())
}

/// Judges a ledger, and with it the store that the messages went to, if one is named; `pace` tells how
/// far it is.
pub fn judge_with(
    input: impl BufRead,
    store: Option<&Place>,
    pace: &mut Pace<'_>,
) -> Result<(Option<Header>, Verdict), LedgerError> {
    let mut judge = Judge::default();
    let (header, damages) = judge.read(input, pace)?;
    let at_least_once = header.as_ref().is_some_and(|header| header.at_least_once);
    if let Some(place) = store {
        judge.join(place, pace);
    }
    judge.end_file(damages.is_empty(), None);
    let mut verdict = judge.finish_files(at_least_once, pace);
    for damage in damages {
        verdict.damage(damage);
    }
    verdict.clean = verdict.is_clean();
    Ok((header, verdict))
}

impl Judge {
    /// Takes all records of a file; what its first line says, and what is wrong with the lines.
    fn read(
        &mut self,
        input: impl BufRead,
        pace: &mut Pace<'_>,
    ) -> Result<(Option<Header>, Vec<Damage>), LedgerError> {
        read(input, |record| {
            self.take(record);
            pace.step(1);
        })
    }

    fn conversation(&mut self, name: &str) -> u32 {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.conversations.len() as u32;
        self.conversations.push(Conversation { name: name.into(), ..Conversation::default() });
        self.names.insert(name.into(), at);
        at
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &Record<'_>) {
        self.now = if self.by_time { record.at().unwrap_or(self.now) } else { self.now + 1 };
        match record {
            Record::Conversation { conv, members } => {
                let at = self.conversation(conv) as usize;
                let conversation = &mut self.conversations[at];
                conversation.members.clone_from(members);
                conversation.members.sort_unstable();
                conversation.declared = true;
            }
            Record::Session { .. } => {}
            Record::Down { .. } => self.verdict.dropped_sessions += 1,
            Record::Base { conv, seq, user } => self.base(conv, *seq, *user),
            Record::Sent { user, session, conv, msg, hash, .. } => {
                self.read.sent += 1;
                self.sent(*user, *session, conv, msg, *hash);
            }
            Record::Again { user, session, msg, .. } => {
                self.verdict.resent += 1;
                self.again(*user, *session, msg);
            }
            Record::Ack { user, conv, msg, seq, id, .. } => {
                self.read.acks += 1;
                self.acked(*user, conv, msg, MessageAt { seq: *seq, id: *id });
            }
            Record::Refused { user, session, msg, retry, .. } => {
                self.refused(*user, *session, msg, *retry);
            }
            Record::Got { .. } => {
                self.read.got += 1;
                self.got(record);
            }
            Record::ReadBack { user, conv, .. } => {
                let (key, now) = ((*user, self.conversation(conv)), self.now);
                let new = ReadBack { first: now, last: now, done: None };
                self.read_back.entry(key).or_insert(new).last = now;
            }
            Record::Stored { user, conv, seq } => {
                let at = self.conversation(conv);
                let conversation = &mut self.conversations[at as usize];
                conversation.stored = conversation.stored.max(*seq);
                if let Some(asked) = self.read_back.get_mut(&(*user, at)) {
                    asked.done = Some(asked.last);
                }
            }
            Record::End(end) => self.end = Some(*end),
        }
    }

    fn base(&mut self, conv: &str, seq: u64, user: u64) {
        let at = self.conversation(conv) as usize;
        let conversation = &mut self.conversations[at];
        match conversation.base {
            None => conversation.base = Some(seq),
            Some(base) if base == seq => {}
            Some(base) => {
                let detail = format!("user {user} was told that it ends at seq {seq}, another at {base}");
                conversation.base = Some(base.min(seq));
                self.verdict.fault(Fault {
                    kind: FaultKind::Gap,
                    by: Witness::Clients,
                    conversation: conv.to_owned(),
                    sender: None,
                    client_id: None,
                    seq: Some(base.max(seq)),
                    detail,
                });
            }
        }
    }

    fn sent(&mut self, user: u64, session: u64, conv: &str, msg: &str, hash: u64) {
        let conv = self.conversation(conv);
        let at = self.messages.find(user, msg, conv);
        let order = self.messages.next_order();
        let message = self.messages.get_mut(at);
        if message.sent {
            self.fault(FaultKind::Doubled, at, "two messages were sent under this id".to_owned());
            return;
        }
        // In another file, it may stand as delivered before.
        let delivered = message.stored.map(|_| (message.conversation, message.hash));
        message.conversation = conv;
        (message.sent, message.hash, message.session) = (true, hash, session);
        message.order = (order, order);
        if let Some((elsewhere, delivered)) = delivered {
            self.check_content(at, hash, delivered);
            self.check_conversation(at, elsewhere);
        }
    }

    fn check_content(&mut self, at: u32, expected: u64, delivered: u64) {
        if expected != delivered {
            let detail = format!("its content was {expected:016x}, delivered was {delivered:016x}");
            self.fault_once(FaultKind::Altered, at, detail);
        }
    }

    fn check_conversation(&mut self, at: u32, delivered: u32) {
        if self.messages.get(at).conversation != delivered {
            let name = self.conversations[delivered as usize].name.clone();
            self.fault_once(FaultKind::Altered, at, format!("delivered in {name}"));
        }
    }

    /// A message that was refused takes the place of its repeat. One that may have been, in a session
    /// in which others were and that ended without an answer to this one, has either place. Any other
    /// keeps its first.
    fn again(&mut self, user: u64, session: u64, msg: &str) {
        let order = self.messages.next_order();
        let Some(at) = self.messages.known(user, msg) else { return };
        let message = self.messages.get_mut(at);
        if message.refused_for_now {
            message.order = (order, order);
            message.refused_for_now = false;
        } else if self.refusing.contains(&message.session) {
            message.order.1 = order;
        }
        message.session = session;
    }

    fn refused(&mut self, user: u64, session: u64, msg: &str, retry: bool) {
        let Some(at) = self.messages.known(user, msg) else { return };
        let message = self.messages.get_mut(at);
        if retry {
            message.refused_for_now = true;
            self.refusing.insert(session);
        } else {
            message.refused = true;
        }
    }

    fn acked(&mut self, user: u64, conv: &str, msg: &str, place: MessageAt) {
        let conv = self.conversation(conv);
        let at = self.messages.find(user, msg, conv);
        let message = self.messages.get_mut(at);
        message.is_known(self.now);
        match message.acked {
            None => message.acked = Some(place),
            Some(first) if first == place => {}
            Some(first) => {
                let detail = format!("acknowledged first as {first}, then as {place}");
                self.fault_once(FaultKind::Doubled, at, detail);
            }
        }
        let message = self.messages.get(at);
        if let Some(stored) = message.stored.filter(|stored| *stored != place) {
            self.fault_once(
                FaultKind::Altered,
                at,
                format!("acknowledged as {place}, delivered as {stored}"),
            );
        }
        self.occupy(conv, place.seq, at);
    }

    /// One seq of one conversation belongs to one message.
    fn occupy(&mut self, conv: u32, seq: u64, at: u32) {
        self.conversations[conv as usize].known.insert(seq);
        if let Some(other) = self.messages.occupy(conv, seq, at) {
            let other = self.messages.get(other);
            let detail =
                format!("seq {seq} is also that of {} from {}", self.messages.id(other), other.sender);
            self.fault_once(FaultKind::Doubled, at, detail);
        }
    }

    fn got(&mut self, record: &Record<'_>) {
        let Record::Got { user, session, conv, seq, from, msg, hash, id, via, .. } = record else { return };
        let conv = self.conversation(conv);
        let at = self.messages.find(*from, msg, conv);
        self.compare(at, conv, *hash, MessageAt { seq: *seq, id: *id });
        self.occupy(conv, *seq, at);
        let conversation = &self.conversations[conv as usize];
        if conversation.declared && conversation.members.binary_search(user).is_err() {
            let detail = format!("delivered to user {user}, who is not in the conversation");
            self.fault(FaultKind::Foreign, at, detail);
            return;
        }
        if *via == Via::Live {
            self.got_live(*user, *session, conv, *seq, at);
        }
        let received = self.received.entry((*user, conv)).or_default();
        if *via == Via::Final {
            received.last.insert(*seq);
            return;
        }
        if received.running.insert(*seq) && from != user {
            self.verdict.delivered += 1;
            self.verdict.synced += u64::from(*via == Via::Sync);
        }
    }

    /// What was delivered, against what was sent, acknowledged, and delivered to others.
    fn compare(&mut self, at: u32, conv: u32, hash: u64, place: MessageAt) {
        let message = self.messages.get_mut(at);
        let (stored, acked) = (message.stored, message.acked);
        message.is_known(self.now);
        message.stored = Some(stored.unwrap_or(place));
        if !message.sent && stored.is_none() {
            message.hash = hash;
        }
        let expected = message.hash;
        self.check_content(at, expected, hash);
        self.check_conversation(at, conv);
        if let Some(first) = stored.filter(|first| *first != place) {
            self.fault_once(FaultKind::Doubled, at, format!("delivered as {first}, and as {place}"));
        }
        if let Some(acked) = acked.filter(|acked| *acked != place) {
            self.fault_once(FaultKind::Altered, at, format!("acknowledged as {acked}, delivered as {place}"));
        }
    }

    fn got_live(&mut self, user: u64, session: u64, conv: u32, seq: u64, at: u32) {
        let live = self.live.entry((session, conv)).or_default();
        let newest = live.seen.last();
        if !live.seen.insert(seq) {
            self.verdict.repeated += 1;
            if self.repeats.len() < FAULTS_MAX {
                self.repeats.push((at, session, user));
            }
            return;
        }
        // What a sync has brought before is a repeat, and its place doesn't matter.
        let repeat = self.received.get(&(user, conv)).is_some_and(|had| had.running.contains(seq));
        if let Some(newest) = newest.filter(|newest| *newest > seq && !repeat) {
            let detail = format!("delivered to session {session} of user {user} after seq {newest}");
            self.fault(FaultKind::Reordered, at, detail);
        }
    }

    fn fault(&mut self, kind: FaultKind, at: u32, detail: String) {
        let message = self.messages.get(at);
        let fault = Fault {
            kind,
            by: Witness::Clients,
            conversation: self.conversations[message.conversation as usize].name.to_string(),
            sender: Some(message.sender),
            client_id: Some(self.messages.id(message).to_owned()),
            seq: message.place().map(|place| place.seq),
            detail,
        };
        self.verdict.fault(fault);
    }

    /// The same, once per message: every recipient would tell it again.
    fn fault_once(&mut self, kind: FaultKind, at: u32, detail: String) {
        if self.messages.first_of(kind, at) {
            self.fault(kind, at, detail);
        }
    }
}
