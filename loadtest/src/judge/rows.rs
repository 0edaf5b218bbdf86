//! What the store has, against what clients sent, saw, and were told.

use super::messages::{Message, MessageAt};
use super::{Fault, FaultKind, Judge, Map, Pace, Stage, Witness};
use crate::store::{self, Place};
use serde::Serialize;

/// A row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place in the conversation.
    pub seq: u64,
    /// The server's id for it.
    pub id: u64,
    /// Its sender.
    pub sender: u64,
    /// The sender's id for it.
    pub client_id: String,
    /// [`chain::hash`](crate::ledger::chain::hash) of its content.
    pub hash: u64,
}

/// What was read of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreRead {
    /// Which one, without its password.
    pub place: String,
    /// Conversations that were looked up.
    pub conversations: u64,
    /// Rows that came after the beginning of the run.
    pub rows: u64,
    /// Why it could not be read to its end, if so: then nothing is said about the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// What was seen of the store so far.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Where each message has its first row, by the message.
    found: Vec<Option<(u32, MessageAt)>>,
    /// Whose each id is: nothing in the tables keeps them apart.
    ids: Map<u64, u32>,
    /// The last seq of the conversation that is being read.
    last: u64,
    pub(super) read: StoreRead,
}

impl Judge {
    /// Reads the store. Where that fails, the verdict says so; what was read until then counts.
    pub(super) fn join(&mut self, place: &Place, pace: &mut Pace<'_>) {
        // As many rows as messages, if nothing is wrong.
        pace.begin(Stage::Rows, Some(self.messages.len().into()));
        let unread = store::join(self, place, pace).err().map(|error| error.to_string());
        self.rows.read.place = place.to_string();
        self.rows.read.unread = unread;
        self.verdict.store = Some(self.rows.read.clone());
    }

    /// The conversations of the ledger.
    pub(crate) fn conversations(&self) -> std::ops::Range<u32> {
        0..self.conversations.len() as u32
    }

    /// What a conversation is called.
    pub(crate) fn name(&self, conv: u32) -> &str {
        &self.conversations[conv as usize].name
    }

    /// The last seq of a conversation before the run; what is up to there is none of its business.
    pub(crate) fn before(&self, conv: u32) -> u64 {
        self.conversations[conv as usize].base.unwrap_or(0)
    }

    /// The rows of a conversation follow, by seq.
    pub(crate) fn begin_rows(&mut self, conv: u32) {
        self.rows.last = self.before(conv);
        self.rows.read.conversations += 1;
    }

    /// Takes the next row.
    pub(crate) fn row(&mut self, conv: u32, row: &Row) {
        let place = MessageAt { seq: row.seq, id: row.id };
        self.rows.read.rows += 1;
        self.check_hole(conv, row.seq - 1, Some(row));
        self.rows.last = row.seq;
        let Some(at) = self.whose(conv, row) else {
            let about = (Some(row.sender), Some(row.client_id.clone()), Some(row.seq));
            return self.stored_fault(
                FaultKind::Unknown,
                conv,
                about,
                "nobody sent what it has there".into(),
            );
        };
        self.check_row(conv, at, row, place);
    }

    /// No more rows of this conversation.
    pub(crate) fn end_rows(&mut self, conv: u32) {
        let seen = &self.conversations[conv as usize];
        let last = seen.stored.max(seen.known.last().unwrap_or(0));
        self.check_hole(conv, last, None);
    }

    /// Which message a row is. One that is known by its place, and by its client id or its content, but
    /// not by sender and client id, is that message with another name.
    fn whose(&self, conv: u32, row: &Row) -> Option<u32> {
        if let Some(at) = self.messages.known(row.sender, &row.client_id) {
            return Some(at);
        }
        let at = self.messages.index_at_seq(conv, row.seq)?;
        let message = self.messages.get(at);
        let same = self.messages.id(message) == row.client_id || (message.sent && message.hash == row.hash);
        same.then_some(at)
    }

    fn check_row(&mut self, conv: u32, at: u32, row: &Row, place: MessageAt) {
        let message = self.messages.get(at);
        let (sent, refused, hash, told) = (message.sent, message.refused, message.hash, message.place());
        let (elsewhere, sender) = (message.conversation != conv, message.sender);
        let other_name = self.messages.id(message) != row.client_id;
        let found = &mut self.rows.found;
        found.resize(found.len().max(at as usize + 1), None);
        let first = *found[at as usize].get_or_insert((conv, place));
        if first != (conv, place) {
            let detail = format!("it has it as {} in {}, and as {place}", first.1, self.name(first.0));
            return self.fault_of_row(FaultKind::Doubled, conv, at, row.seq, detail);
        }
        let owner = *self.rows.ids.entry(row.id).or_insert(at);
        if owner != at {
            let other = self.messages.get(owner);
            let detail =
                format!("id {} is also that of {} from {}", row.id, self.messages.id(other), other.sender);
            self.fault_of_row(FaultKind::Doubled, conv, at, row.seq, detail);
        }
        if !sent || refused {
            let detail = if refused { "it was refused for good, and yet is there" } else { "nobody sent it" };
            self.fault_of_row(FaultKind::Unknown, conv, at, row.seq, detail.to_owned());
        }
        let mut altered = vec![];
        if sender != row.sender {
            altered.push(format!("its sender is {}", row.sender));
        }
        if other_name {
            altered.push(format!("its client id is {}", row.client_id));
        }
        if sent && hash != row.hash {
            altered.push(format!("its content was {hash:016x}, stored is {:016x}", row.hash));
        }
        if elsewhere {
            altered.push(format!("it is in {}", self.name(conv)));
        }
        if let Some(told) = told.filter(|told| *told != place) {
            altered.push(format!("acknowledged or delivered as {told}, stored as {place}"));
        }
        for detail in altered {
            self.fault_of_row(FaultKind::Altered, conv, at, row.seq, detail);
        }
    }

    /// What is missing between the last row and this seq.
    fn check_hole(&mut self, conv: u32, up_to: u64, next: Option<&Row>) {
        let first = self.rows.last.saturating_add(1);
        // Where nobody was told how far it went before the run, it may have begun anywhere.
        if up_to < first || self.conversations[conv as usize].base.is_none() {
            return;
        }
        let detail = match next {
            Some(next) => {
                format!("it has no seq {first} to {up_to}, before {} from {}", next.client_id, next.sender)
            }
            None => format!("it ends before seq {first}, and {up_to} was seen"),
        };
        self.stored_fault(FaultKind::Gap, conv, (None, None, Some(first)), detail);
    }

    /// What only can be said once all rows were read.
    pub(super) fn finish_rows(&mut self) {
        let found = std::mem::take(&mut self.rows.found);
        let row = |at: u32| found.get(at as usize).copied().flatten();
        for at in (0..self.messages.len()).filter(|at| row(*at).is_none()) {
            let message = self.messages.get(at);
            let (conv, place) = (message.conversation, message.place());
            let how = if message.acked.is_some() { "acknowledged" } else { "delivered" };
            if let Some(place) = place {
                let detail = format!("it was {how} as {place}, and has no row");
                self.fault_of_row(FaultKind::Lost, conv, at, place.seq, detail);
            }
        }
        let seq = |at: u32, message: &Message| {
            row(at).filter(|row| row.0 == message.conversation).map(|row| row.1.seq)
        };
        self.check_order(Witness::Store, seq);
    }

    pub(super) fn fault_of_row(&mut self, kind: FaultKind, conv: u32, at: u32, seq: u64, detail: String) {
        let message = self.messages.get(at);
        let about = (Some(message.sender), Some(self.messages.id(message).to_owned()), Some(seq));
        self.stored_fault(kind, conv, about, detail);
    }

    fn stored_fault(
        &mut self,
        kind: FaultKind,
        conv: u32,
        (sender, client_id, seq): (Option<u64>, Option<String>, Option<u64>),
        detail: String,
    ) {
        let conversation = self.name(conv).to_owned();
        self.verdict.fault(Fault { kind, by: Witness::Store, conversation, sender, client_id, seq, detail });
    }
}
