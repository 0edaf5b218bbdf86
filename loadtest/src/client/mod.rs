//! One user: a state machine without I/O and without a clock, that keeps the client's rules of
//! `docs/protocol.md` and tells the ledger what it sees.

mod answers;
mod extras;
mod inbox;
mod outbox;
#[cfg(test)]
mod tests;
mod wire;

use crate::counters::Counters;
use crate::ledger::chain::hash;
use crate::ledger::writer::Batch;
use crate::ledger::{Record, Via};
use crate::measure::{Measure, Sample};
use crate::random::Random;
use extras::Extras;
pub(crate) use extras::Hint;
use inbox::{Inbox, Why};
use outbox::Outbox;
pub(crate) use outbox::WINDOW_MAX;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
pub(crate) use wire::told_wait;
use wire::{Connected, Event, Message, Part};

/// What all users of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The run's name, with which client ids begin.
    pub(crate) run: String,
    /// Messages of a user that are under way at most.
    pub(crate) window: usize,
    /// Messages due before that are sent but not measured.
    pub(crate) measured_from_us: AtomicU64,
    /// Numbers for sessions.
    pub(crate) sessions: AtomicU64,
    /// The users of this process, if others are elsewhere: what those send goes out by another clock.
    pub(crate) own: Option<HashSet<u64>>,
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
    extras: Extras,
    random: Random,
    session: u64,
    sessions: u64,
    connected: bool,
    reading_back: bool,
    /// Reads slowly: how late it hears of things says nothing of the server.
    slow: bool,
    /// When the scenario broke its connection, until it is back and has caught up.
    broken_us: Option<u64>,
    /// Own messages that were settled since this was last asked.
    settled: u32,
    /// What the ledger is to be told, before anything goes out, and what was measured.
    told: Batch,
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
            outbox: Outbox::new(shared.window),
            extras: Extras::default(),
            random: Random::new(hash(format!("{} {user}", shared.run).as_bytes())),
            shared,
            session: 0,
            sessions: 0,
            connected: false,
            reading_back: false,
            slow: false,
            broken_us: None,
            settled: 0,
            told: Batch::default(),
        }
    }

    fn record(&mut self, record: Record<'static>) {
        self.told.records.push(record);
    }

    /// Moves what the ledger is to be told; to be asked for before [`Client::transmit`]'s text is
    /// sent.
    pub(crate) fn tell(&mut self, batch: &mut Batch) {
        batch.records.append(&mut self.told.records);
        batch.samples.append(&mut self.told.samples);
    }

    /// Hands the user a message to send in one of its conversations.
    pub(crate) fn submit(&mut self, conversation: u32, due_us: u64, payload: u16) {
        self.outbox.push(conversation, due_us, payload);
    }

    /// How late this user hears of things says nothing of the server.
    pub(crate) fn reads_slowly(&mut self) {
        self.slow = true;
    }

    /// Whether a server lets it in.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it ever was.
    pub(crate) fn was_connected(&self) -> bool {
        self.sessions > 0
    }

    /// Own messages that were persisted, or refused for good, since the last call.
    pub(crate) fn take_settled(&mut self) -> u32 {
        std::mem::take(&mut self.settled)
    }

    /// Has everything read back that is stored since the base, spread over `spread_us`.
    pub(crate) fn read_back(&mut self, now_us: u64, spread_us: u64) {
        if !self.reading_back {
            self.reading_back = true;
            let wait = self.random.below(spread_us.max(1));
            self.inbox.read_back(now_us + wait);
            self.progress(now_us);
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
        if let Some(text) = self.next_extra() {
            return Some(text);
        }
        let (message, again) = self.outbox.next(now_us)?;
        let (user, session, at) = (self.user, self.session, now_us);
        let id = format!("{}-{user}-{}", self.shared.run, message.number);
        let name = Arc::clone(&self.inbox.tracked[message.conversation as usize].name);
        let outbox::Pending { number, due_us, begun_us, payload, .. } = message;
        let content = wire::content(user, number, due_us, begun_us, payload.into());
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
            Event::Typing => add(&self.shared.counters.typing_heard, 1),
            Event::Read => add(&self.shared.counters.marks_heard, 1),
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
        self.progress(now_us);
        Ok(())
    }

    /// The connection is gone; `planned` if the scenario broke it.
    pub(crate) fn lost_connection(&mut self, why: &str, planned: bool, now_us: u64) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.outbox.lost_connection();
        self.extras.clear();
        self.shared.counters.session_over(why, planned);
        if planned {
            self.broken_us.get_or_insert(now_us);
        }
        let (session, user) = (self.session, self.user);
        self.record(Record::Down { session, user, why: why.to_owned().into(), at: now_us });
    }

    fn is_measured(&self, due_us: u64) -> bool {
        due_us >= self.shared.measured_from_us.load(Relaxed)
    }

    /// Notes a latency of something that was due then, if it is measured.
    fn sample(&mut self, measure: Measure, due_us: u64, begun_us: u64, now_us: u64) {
        if self.is_measured(due_us) && !self.slow {
            self.told.samples.push(Sample::new(measure, due_us, begun_us, now_us));
        }
    }

    fn got(&mut self, message: &Message<'_>, via: Via, now_us: u64) -> Result<(), String> {
        let ids = (message.sender_id.parse::<u64>(), message.message_id.parse::<u64>());
        let (Ok(from), Ok(id)) = ids else { return Err(format!("ids that are no numbers: {message:?}")) };
        let (user, session, seq) = (self.user, self.session, message.seq_id);
        let at = self.inbox.find(&message.conversation_id);
        let new = at.is_some_and(|at| self.inbox.take(at, seq, now_us));
        if new && from != user && via != Via::Final {
            add(&self.shared.counters.delivered, 1);
            if self.shared.own.as_ref().is_some_and(|own| !own.contains(&from)) {
                add(&self.shared.counters.across, 1);
            } else if let Some((due_us, begun_us)) = wire::times_of(&message.content) {
                self.sample(Measure::Delivered, due_us, begun_us, now_us);
            }
        }
        self.record(Record::Got {
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
        });
        Ok(())
    }

    fn synced(&mut self, parts: &[Part<'_>], trace: Option<&str>, now_us: u64) -> Result<(), String> {
        let Some(answered) = self.inbox.answered(trace) else { return Ok(()) };
        let why = answered.why;
        if why == Why::Catch {
            self.sample(Measure::Sync, answered.due_us, answered.begun_us, now_us);
        }
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
        self.progress(now_us);
        Ok(())
    }

    /// Counts what this user has reached.
    fn progress(&mut self, now_us: u64) {
        if self.inbox.is_done(Why::Base) {
            self.inbox.based();
            add(&self.shared.counters.ready, 1);
        } else if self.reading_back && self.inbox.is_done(Why::Final) {
            self.inbox.based();
            add(&self.shared.counters.read_back, 1);
        }
        if self.inbox.is_done(Why::Catch)
            && let Some(broken_us) = self.broken_us.take_if(|_| self.connected)
        {
            add(&self.shared.counters.back, 1);
            self.sample(Measure::Back, broken_us, broken_us, now_us);
        }
    }
}
