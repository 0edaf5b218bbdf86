//! One user: a state machine without I/O and without a clock, that keeps the client's rules of
//! `docs/protocol.md` and tells the ledger what it sees.

mod inbox;
mod outbox;
pub(crate) mod task;
#[cfg(test)]
mod tests;
mod wire;

use crate::counters::Counters;
use crate::ledger::chain::hash;
use crate::ledger::writer::Entry;
use crate::ledger::{Record, Via};
use crate::random::Random;
use inbox::{Inbox, Why};
use outbox::Outbox;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wire::{Ack, Connected, ErrorEvent, Event, Message, Part};

/// What all users of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The run's name, with which client ids begin.
    pub(crate) run: String,
    /// Bytes of a message's content.
    pub(crate) payload_bytes: usize,
    /// Messages due before that are sent but not measured.
    pub(crate) measured_from_us: AtomicU64,
    /// Numbers for sessions.
    pub(crate) sessions: AtomicU64,
    /// Counted together.
    pub(crate) counters: Counters,
}

/// One user.
#[derive(Debug)]
pub(crate) struct Client {
    user: u64,
    shared: Arc<Shared>,
    inbox: Inbox,
    outbox: Outbox,
    random: Random,
    session: u64,
    sessions: u64,
    connected: bool,
    reading_back: bool,
    /// What the ledger is to be told, before anything goes out.
    records: Vec<Entry>,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

impl Client {
    /// A user with these conversations: id, members.
    pub(crate) fn new(
        user: u64,
        shared: Arc<Shared>,
        conversations: impl Iterator<Item = (Arc<str>, u32)>,
    ) -> Self {
        let inbox = Inbox::new(conversations);
        Self {
            user,
            inbox,
            outbox: Outbox::default(),
            random: Random::new(hash(format!("{} {user}", shared.run).as_bytes())),
            shared,
            session: 0,
            sessions: 0,
            connected: false,
            reading_back: false,
            records: vec![],
        }
    }

    fn record(&mut self, record: Record<'static>) {
        self.records.push(Entry { record, latency_us: None });
    }

    /// What the ledger is to be told; to be asked for before [`Client::transmit`]'s text is sent.
    pub(crate) fn take_records(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.records)
    }

    /// Hands the user a message to send in one of its conversations.
    pub(crate) fn submit(&mut self, conversation: u32, due_us: u64) {
        self.outbox.push(conversation, due_us);
    }

    /// Has everything read back that is stored since the base, spread over `spread_us`.
    pub(crate) fn read_back(&mut self, now_us: u64, spread_us: u64) {
        if !self.reading_back {
            self.reading_back = true;
            let wait = self.random.below(spread_us.max(1));
            self.inbox.read_back(now_us + wait);
            self.progress();
        }
    }

    /// The next text to send.
    pub(crate) fn transmit(&mut self, now_us: u64) -> Option<String> {
        if !self.connected {
            return None;
        }
        if let Some((text, holes)) = self.inbox.next(now_us) {
            add(&self.shared.counters.holes, holes);
            for conv in self.inbox.take_begun() {
                self.record(Record::ReadBack { user: self.user, conv: conv.to_string().into(), at: now_us });
            }
            return Some(text);
        }
        if self.inbox.tracked.iter().any(|tracked| tracked.base.is_none()) {
            return None;
        }
        let (message, again) = self.outbox.next(now_us)?;
        let (user, session, at) = (self.user, self.session, now_us);
        let id = format!("{}-{user}-{}", self.shared.run, message.number);
        let name = Arc::clone(&self.inbox.tracked[message.conversation as usize].name);
        let content = wire::content(user, message.number, message.due_us, self.shared.payload_bytes);
        let text = wire::send_message(&id, &name, &content);
        let (conv, msg) = (name.to_string().into(), id.into());
        if again {
            self.record(Record::Again { user, session, conv, msg, at });
        } else {
            add(&self.shared.counters.sent, 1);
            let (hash, due) = (hash(content.as_bytes()), message.due_us);
            self.record(Record::Sent { user, session, conv, msg, hash, due, at });
        }
        Some(text)
    }

    /// When [`Client::transmit`] is worth another try, though nothing happens until then.
    pub(crate) fn wake_us(&self) -> Option<u64> {
        if !self.connected {
            return None;
        }
        [self.inbox.wake_us(), self.outbox.wake_us()].into_iter().flatten().min()
    }

    /// Takes a text of the server; an error ends the session.
    pub(crate) fn receive(&mut self, text: &str, now_us: u64) -> Result<(), String> {
        let event = wire::read(text).map_err(|error| format!("unexpected event ({error}): {text:.200}"))?;
        match event {
            Event::Connected(connected) => self.connected(&connected, now_us)?,
            Event::Ack(ack) => self.acked(&ack, now_us)?,
            Event::Message(message) => {
                self.got(&message, Via::Live, now_us)?;
            }
            Event::Synced { parts, trace } => self.synced(&parts, trace.as_deref(), now_us)?,
            Event::Resync { within_ms } => {
                add(&self.shared.counters.resyncs, 1);
                let wait = self.random.below(within_ms.saturating_mul(1_000).max(1));
                self.inbox.resync(now_us + wait);
            }
            Event::Error { error, trace } => self.error(&error, trace.as_deref(), now_us),
            Event::Other => {}
        }
        Ok(())
    }

    fn connected(&mut self, connected: &Connected<'_>, now_us: u64) -> Result<(), String> {
        if connected.user_id.parse() != Ok(self.user) {
            return Err(format!("connected as user {}, expected {}", connected.user_id, self.user));
        }
        self.session = self.shared.sessions.fetch_add(1, Relaxed) + 1;
        self.sessions += 1;
        self.connected = true;
        add(&self.shared.counters.online, 1);
        add(&self.shared.counters.reconnects, u64::from(self.sessions > 1));
        self.inbox.connected();
        let (session, user, id) = (self.session, self.user, connected.session_id.to_string().into());
        self.record(Record::Session { session, user, id, at: now_us });
        // A user without conversations has nothing to ask for.
        self.progress();
        Ok(())
    }

    /// The connection is gone.
    pub(crate) fn lost_connection(&mut self, why: &str, now_us: u64) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.outbox.lost_connection();
        let counters = &self.shared.counters;
        counters.online.fetch_sub(1, Relaxed);
        add(&counters.dropped, 1);
        let _ = counters.first_drop.set(why.to_owned());
        let (session, user) = (self.session, self.user);
        self.record(Record::Down { session, user, why: why.to_owned().into(), at: now_us });
    }

    /// The number in an id of this run and user.
    fn own_number(&self, id: &str) -> Option<u64> {
        let rest = id.strip_prefix(&self.shared.run)?.strip_prefix('-')?;
        let (user, number) = rest.split_once('-')?;
        (user.parse() == Ok(self.user)).then(|| number.parse().ok())?
    }

    fn is_measured(&self, due_us: u64) -> bool {
        due_us >= self.shared.measured_from_us.load(Relaxed)
    }

    fn acked(&mut self, ack: &Ack<'_>, now_us: u64) -> Result<(), String> {
        if ack.status != "persisted" {
            return Ok(());
        }
        let id = ack.message_id.as_ref().and_then(|id| id.parse().ok());
        let (Some(seq), Some(id)) = (ack.seq_id, id) else {
            return Err(format!("an ack without seqId or messageId: {ack:?}"));
        };
        let settled = self.own_number(&ack.temp_message_id).and_then(|number| self.outbox.settle(number));
        let mut latency_us = None;
        if let Some(message) = settled {
            let members = self.inbox.tracked[message.conversation as usize].members;
            add(&self.shared.counters.persisted, 1);
            add(&self.shared.counters.expected, u64::from(members.saturating_sub(1)));
            latency_us = self.is_measured(message.due_us).then(|| now_us.saturating_sub(message.due_us));
        }
        if let Some(at) = self.inbox.find(&ack.conversation_id) {
            self.inbox.take(at, seq, now_us);
            if self.reading_back && self.inbox.read_again(at, seq) {
                self.shared.counters.read_back.fetch_sub(1, Relaxed);
            }
        }
        let (conv, msg) = (ack.conversation_id.to_string().into(), ack.temp_message_id.to_string().into());
        let (user, session, at) = (self.user, self.session, now_us);
        let record = Record::Ack { user, session, conv, msg, seq, id, at };
        self.records.push(Entry { record, latency_us });
        Ok(())
    }

    fn got(&mut self, message: &Message<'_>, via: Via, now_us: u64) -> Result<(), String> {
        let ids = (message.sender_id.parse::<u64>(), message.message_id.parse::<u64>());
        let (Ok(from), Ok(id)) = ids else { return Err(format!("ids that are no numbers: {message:?}")) };
        let (user, session, seq) = (self.user, self.session, message.seq_id);
        let at = self.inbox.find(&message.conversation_id);
        let new = at.is_some_and(|at| self.inbox.take(at, seq, now_us));
        let mut latency_us = None;
        if new && from != user && via != Via::Final {
            add(&self.shared.counters.delivered, 1);
            let due = wire::due_of(&message.content).filter(|due| self.is_measured(*due));
            latency_us = due.map(|due| now_us.saturating_sub(due));
        }
        let record = Record::Got {
            user,
            session,
            conv: message.conversation_id.to_string().into(),
            seq,
            from,
            msg: message.client_msg_id.to_string().into(),
            hash: hash(message.content.as_bytes()),
            id,
            via,
            at: now_us,
        };
        self.records.push(Entry { record, latency_us });
        Ok(())
    }

    fn synced(&mut self, parts: &[Part<'_>], trace: Option<&str>, now_us: u64) -> Result<(), String> {
        let Some(why) = self.inbox.answered(trace) else { return Ok(()) };
        for part in parts {
            let Some(at) = self.inbox.find(&part.conversation_id) else { continue };
            if let Some(code) = &part.code {
                if why == Why::Base {
                    return Err(format!("user {} can't read {}: {code}", self.user, part.conversation_id));
                }
                self.inbox.give_up(at);
                continue;
            }
            let via = if why == Why::Final { Via::Final } else { Via::Sync };
            if why != Why::Base {
                for message in &part.messages {
                    self.got(message, via, now_us)?;
                }
            }
            let last = part.messages.last().map(|message| message.seq_id);
            self.inbox.part(at, why, last, part.last_seq, part.has_more);
            let (user, conv, seq) = (self.user, part.conversation_id.to_string().into(), part.last_seq);
            match why {
                Why::Base => self.record(Record::Base { user, conv, seq }),
                Why::Final if !part.has_more => self.record(Record::Stored { user, conv, seq }),
                _ => {}
            }
        }
        self.progress();
        Ok(())
    }

    /// Counts what this user has reached.
    fn progress(&mut self) {
        if self.inbox.is_done(Why::Base) {
            self.inbox.based();
            add(&self.shared.counters.ready, 1);
        } else if self.reading_back && self.inbox.is_done(Why::Final) {
            self.inbox.based();
            add(&self.shared.counters.read_back, 1);
        }
    }

    /// Sends nothing for as long as an error says.
    fn hold(&mut self, error: &ErrorEvent<'_>, now_us: u64) {
        if let Some(wait) = wire::told_wait(&error.message) {
            let until_us = now_us + wait.as_micros() as u64;
            self.outbox.hold(until_us);
            self.inbox.hold(until_us);
        }
    }

    fn error(&mut self, error: &ErrorEvent<'_>, trace: Option<&str>, now_us: u64) {
        if error.temp_message_id.is_none() && self.inbox.is_asked(trace) {
            self.inbox.retry(now_us);
            return self.hold(error, now_us);
        }
        let number = error.temp_message_id.as_deref().and_then(|id| self.own_number(id));
        let told = || format!("{}: {}", error.code, error.message);
        let (Some(id), Some(number)) = (&error.temp_message_id, number) else {
            let _ = self.shared.counters.first_error.set(told());
            return;
        };
        let message = if error.retryable {
            add(&self.shared.counters.put_off, 1);
            self.outbox.refuse(number, now_us)
        } else {
            self.outbox.settle(number)
        };
        self.hold(error, now_us);
        // A late answer about what is settled says nothing new.
        let Some(message) = message else { return };
        if !error.retryable {
            add(&self.shared.counters.refused, 1);
            let _ = self.shared.counters.first_error.set(told());
        }
        let conv = self.inbox.tracked[message.conversation as usize].name.to_string();
        let (user, session, at) = (self.user, self.session, now_us);
        let (conv, msg) = (conv.into(), id.to_string().into());
        let (code, retry) = (error.code.to_string().into(), error.retryable);
        self.record(Record::Refused { user, session, conv, msg, code, retry, at });
    }
}
