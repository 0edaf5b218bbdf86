//! The ledger: what the clients of a run sent, what was acknowledged, what arrived, what is stored.
//!
//! A text file of JSON lines that is only ever appended to. The first line is the [`Header`], every
//! other one holds a [`Record`], and [`chain`] seals each so that a missing, repeated, moved or
//! changed line shows.

pub mod chain;
pub mod reader;
pub mod writer;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::Write;

/// What the first line says the file is.
pub const FORMAT: &str = "ringway-ledger";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 2;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The run's name, with which the client ids of its messages begin.
    pub run: String,
    /// What the schedule was drawn from.
    pub seed: u64,
    /// Users, each with one connection.
    pub connections: usize,
    /// Messages a second.
    pub rate: u64,
    /// When the run began, RFC 3339.
    pub started: String,
    /// Whether a session may be told of a message again, as after the death of a worker.
    #[serde(default)]
    pub at_least_once: bool,
    /// Which of the processes that made the run wrote this file, from 0.
    #[serde(default)]
    pub worker: u32,
    /// How many there were, each with a ledger of its own.
    #[serde(default = "one")]
    pub workers: u32,
}

fn one() -> u32 {
    1
}

/// How a message reached a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// As `new-message`.
    Live,
    /// In a `sync-result` that the client's rules asked for, after a reconnect or for a hole.
    Sync,
    /// In a `sync-result` after the run, by which the ledger knows what is stored.
    Final,
}

/// One line after the first. Times are microseconds since the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record<'a> {
    /// A conversation and who is in it: each of them is to get what is sent there.
    Conversation {
        /// Its id.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// User ids, ascending.
        members: Vec<u64>,
    },
    /// A client was told `connected`.
    Session {
        /// A number of its own within the ledger.
        session: u64,
        /// Whose.
        user: u64,
        /// The server's name for it.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// When.
        at: u64,
    },
    /// A session is over.
    Down {
        /// Which.
        session: u64,
        /// Whose.
        user: u64,
        /// Why.
        #[serde(borrow)]
        why: Cow<'a, str>,
        /// When.
        at: u64,
    },
    /// The last seq of a conversation before the run, as a member was told it.
    Base {
        /// Who was told.
        user: u64,
        /// Which conversation.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// Its last seq.
        seq: u64,
    },
    /// A message goes out for the first time.
    Sent {
        /// Its sender.
        user: u64,
        /// Through which session.
        session: u64,
        /// Where to.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// The client's id for it.
        #[serde(borrow)]
        msg: Cow<'a, str>,
        /// [`chain::hash`] of its content.
        #[serde(with = "hex")]
        hash: u64,
        /// When the schedule wanted it out.
        due: u64,
        /// When it went out.
        at: u64,
    },
    /// A message goes out again: after a reconnect, or after a refusal.
    Again {
        /// Its sender.
        user: u64,
        /// Through which session.
        session: u64,
        /// Where to.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// The client's id for it.
        #[serde(borrow)]
        msg: Cow<'a, str>,
        /// When.
        at: u64,
    },
    /// `message-ack` with `persisted`.
    Ack {
        /// Who was told.
        user: u64,
        /// In which session.
        session: u64,
        /// Where the message is.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// The client's id for it.
        #[serde(borrow)]
        msg: Cow<'a, str>,
        /// Its place in the conversation.
        seq: u64,
        /// The server's id for it.
        #[serde(with = "digits")]
        id: u64,
        /// When.
        at: u64,
    },
    /// An `error` that names a message.
    Refused {
        /// Who was told.
        user: u64,
        /// In which session.
        session: u64,
        /// Where the message was to go.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// The client's id for it.
        #[serde(borrow)]
        msg: Cow<'a, str>,
        /// The code.
        #[serde(borrow)]
        code: Cow<'a, str>,
        /// Whether it will be sent again.
        retry: bool,
        /// When.
        at: u64,
    },
    /// A message arrived at a client.
    Got {
        /// Who got it.
        user: u64,
        /// In which session.
        session: u64,
        /// Where it is.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// Its place there.
        seq: u64,
        /// Its sender.
        from: u64,
        /// The sender's id for it.
        #[serde(borrow)]
        msg: Cow<'a, str>,
        /// [`chain::hash`] of its content.
        #[serde(with = "hex")]
        hash: u64,
        /// The server's id for it.
        #[serde(with = "digits")]
        id: u64,
        /// How.
        via: Via,
        /// When.
        at: u64,
    },
    /// A member asks, by a last `sync`, for what is stored of a conversation; it asks again where
    /// an ack came after that.
    ReadBack {
        /// Who asks.
        user: u64,
        /// For which conversation.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// When.
        at: u64,
    },
    /// The last seq of a conversation after the run, as a member was told it with the last page of
    /// what it asked for.
    Stored {
        /// Who was told.
        user: u64,
        /// Which conversation.
        #[serde(borrow)]
        conv: Cow<'a, str>,
        /// Its last seq.
        seq: u64,
    },
    /// The last line.
    End(End),
}

/// What the last line says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// `Sent` records in the file.
    pub sent: u64,
    /// `Ack` records in the file.
    pub acks: u64,
    /// `Got` records in the file.
    pub got: u64,
    /// Whether the run was cut short.
    pub interrupted: bool,
    /// Whether everything had come before it was read back.
    pub settled: bool,
    /// Whether nothing more was on its way by then, and all of it was read back: what is missing is
    /// lost. If not, one can't say of what was acknowledged too late, or not at all.
    pub quiet: bool,
    /// How far the times in the file are off at most from those of the run's other files, microseconds.
    #[serde(default)]
    pub clock_us: u64,
}

impl Record<'_> {
    /// When it happened, if it says so.
    pub fn at(&self) -> Option<u64> {
        match self {
            Self::Session { at, .. }
            | Self::Down { at, .. }
            | Self::Sent { at, .. }
            | Self::Again { at, .. }
            | Self::Ack { at, .. }
            | Self::Refused { at, .. }
            | Self::Got { at, .. }
            | Self::ReadBack { at, .. } => Some(*at),
            Self::Conversation { .. } | Self::Base { .. } | Self::Stored { .. } | Self::End(_) => None,
        }
    }

    /// Names the message, or whatever else the record is about, for a person.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let written = match self {
            Self::Conversation { conv, .. } => write!(text, "conversation {conv}"),
            Self::Session { session, user, .. } => write!(text, "start of session {session} of user {user}"),
            Self::Down { session, user, .. } => write!(text, "end of session {session} of user {user}"),
            Self::Base { conv, user, seq } => {
                write!(text, "{conv} before the run, seq {seq}, seen by user {user}")
            }
            Self::ReadBack { conv, user, .. } => {
                write!(text, "{conv} asked for by user {user} after the run")
            }
            Self::Stored { conv, user, seq } => {
                write!(text, "{conv} after the run, seq {seq}, seen by user {user}")
            }
            Self::Sent { user, conv, msg, .. }
            | Self::Again { user, conv, msg, .. }
            | Self::Refused { user, conv, msg, .. } => write!(text, "{conv} {msg} from {user}"),
            Self::Ack { user, conv, msg, seq, .. } => write!(text, "{conv} {msg} from {user} seq {seq}"),
            Self::Got { conv, seq, from, msg, .. } => write!(text, "{conv} {msg} from {from} seq {seq}"),
            Self::End(_) => write!(text, "the end"),
        };
        written.expect("a String takes everything");
        text
    }
}

/// A hash as 16 hexadecimal digits: JavaScript loses integers above 2^53.
mod hex {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{n:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        let text = <&str>::deserialize(d)?;
        u64::from_str_radix(text, 16).map_err(serde::de::Error::custom)
    }
}

/// A message id as the string of digits that it is on the wire.
mod digits {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(n)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        <&str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
