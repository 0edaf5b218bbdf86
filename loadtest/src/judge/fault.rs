//! What can be wrong with a run, and with its ledger.

use super::StoreRead;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// What went wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Not acknowledged, or acknowledged and not delivered to somebody who was to get it.
    Lost,
    /// One message under two seqs, two under one, or twice to one session.
    Doubled,
    /// A seq that nobody has seen.
    Gap,
    /// Delivered to a session, or stored, in another order than it was sent in.
    Reordered,
    /// Delivered to somebody who is not in the conversation.
    Foreign,
    /// Delivered with other content, or under another seq or id than acknowledged.
    Altered,
    /// Delivered, though nobody sent it.
    Unknown,
}

/// Every kind, in the order of the summary.
pub const KINDS: [FaultKind; 7] = [
    FaultKind::Lost,
    FaultKind::Doubled,
    FaultKind::Reordered,
    FaultKind::Gap,
    FaultKind::Foreign,
    FaultKind::Altered,
    FaultKind::Unknown,
];

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Gap => "gap",
            Self::Reordered => "reordered",
            Self::Foreign => "foreign",
            Self::Altered => "altered",
            Self::Unknown => "unknown",
        })
    }
}

/// Who says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The clients, by what they sent and saw.
    #[default]
    Clients,
    /// The store, by its rows.
    Store,
}

/// One fault, with the message it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Who says so.
    pub by: Witness,
    /// In which conversation.
    pub conversation: String,
    /// Who sent the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<u64>,
    /// The sender's id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its place in the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.conversation)?;
        if let Some(client_id) = &self.client_id {
            write!(f, " {client_id}")?;
        }
        if let Some(sender) = self.sender {
            write!(f, " from {sender}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, " seq {seq}")?;
        }
        match self.by {
            Witness::Clients => write!(f, ": {}", self.detail),
            Witness::Store => write!(f, ": by the store: {}", self.detail),
        }
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// It is not there.
    Removed,
    /// It is there more than once.
    Doubled,
    /// It stands in another place.
    Swapped,
    /// It doesn't say what was written.
    Altered,
    /// The last line is not the end, or counts other lines than there are.
    Truncated,
}

/// A line that is not where, or not what, it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What.
    pub kind: DamageKind,
    /// Which worker's ledger, where several are judged together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<u32>,
    /// Where in the file, from 1: the line itself, or the one that stands in its place; 0 if it is
    /// the whole file.
    pub line: u64,
    /// The message that the line is about.
    pub about: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ledger) = self.ledger {
            write!(f, "ledger of worker {ledger}, ")?;
        }
        let kind = match self.kind {
            DamageKind::Removed => "removed before it",
            DamageKind::Doubled => "doubled",
            DamageKind::Swapped => "swapped",
            DamageKind::Altered => "altered",
            DamageKind::Truncated => return write!(f, "truncated: {}", self.about),
        };
        write!(f, "line {}: {kind}: {}", self.line, self.about)
    }
}

/// What a ledger comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether nothing is wrong.
    pub clean: bool,
    /// Whether the run was cut short.
    pub incomplete: bool,
    /// Whether everything had come before it was read back.
    pub settled: bool,
    /// Messages of which one can't say whether they are lost: they were still on their way.
    pub undecided: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages acknowledged as persisted.
    pub persisted: u64,
    /// Deliveries to recipients, each counted once.
    pub delivered: u64,
    /// Messages refused for good.
    pub refused: u64,
    /// Messages sent again, after a reconnect or a refusal.
    pub resent: u64,
    /// Deliveries that came through `sync`, after a reconnect or for a hole.
    pub synced: u64,
    /// Deliveries that a session had had before; a fault unless the run allows them.
    pub repeated: u64,
    /// Sessions that ended before the run did.
    pub dropped_sessions: u64,
    /// How many of each kind there are; every kind is told, also with 0.
    #[serde(serialize_with = "every_kind")]
    pub counts: BTreeMap<FaultKind, u64>,
    /// The faults, up to [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
    /// What was read of the store, if the ledger was joined with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreRead>,
    /// How many lines are damaged.
    pub damaged: u64,
    /// The damaged lines, up to [`FAULTS_MAX`].
    pub damages: Vec<Damage>,
}

fn every_kind<S: Serializer>(counts: &BTreeMap<FaultKind, u64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(KINDS.map(|kind| (kind, counts.get(&kind).copied().unwrap_or(0))))
}

/// Faults that a verdict names; all are counted.
pub const FAULTS_MAX: usize = 1_000;

impl Verdict {
    /// A run that was cut short need not have settled.
    pub(crate) fn is_clean(&self) -> bool {
        let settled = self.incomplete || (self.settled && self.undecided == 0);
        let read = self.store.as_ref().is_none_or(|store| store.unread.is_none());
        settled && read && self.damaged == 0 && self.counts.is_empty()
    }

    /// How many of that kind.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        *self.counts.entry(fault.kind).or_default() += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    pub(crate) fn damage(&mut self, damage: Damage) {
        self.damaged += 1;
        if self.damages.len() < FAULTS_MAX {
            self.damages.push(damage);
        }
    }
}
