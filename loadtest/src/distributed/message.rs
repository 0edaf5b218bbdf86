//! What coordinator and workers say to each other.

use super::pack::Packed;
use crate::course::State;
use crate::ledger::{End, Header};
use crate::scenario::Scenario;
use crate::tally::Tally;
use serde::{Deserialize, Serialize};

/// Who speaks: the first thing that either says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The version of these messages.
    pub(super) protocol: u32,
    /// The version of the program.
    pub(super) version: String,
    /// Never said before.
    pub(super) nonce: String,
    /// That a worker knows the secret, if there is one.
    #[serde(default)]
    pub(super) proof: Option<String>,
    /// The process.
    pub(super) pid: u32,
}

/// What a coordinator answers to a worker's hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The worker is in; that the coordinator knows the secret, if there is one.
    Accepted { proof: Option<String> },
    /// It is not.
    Refused { why: String },
}

/// What the run is, and what of it is the worker's. Users and groups follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The first line of its ledger: the run's name, its own index and how many workers there are.
    pub(super) header: Header,
    pub(super) scenario: Scenario,
    pub(super) targets: Vec<String>,
    pub(super) source_addresses: u8,
    /// Where the worker itself was told nothing of it.
    pub(super) shards: usize,
    pub(super) cores: Vec<usize>,
    pub(super) groups: u64,
}

/// How far the run is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) course: State,
    pub(super) measured_from_us: u64,
}

/// What a coordinator says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToWorker {
    Alive,
    /// What does your clock say?
    Clock {
        n: u32,
    },
    Setup(Box<Setup>),
    /// The next users, id and token; those of others have none.
    Users(Vec<(u64, String)>),
    /// A group, or its next members by index; `last` if there are no more.
    Group {
        name: String,
        members: Vec<u32>,
        last: bool,
    },
    /// The run's start, nanoseconds by the worker's clock.
    Go {
        zero_ns: u64,
    },
    Progress(Progress),
    /// Close the ledger.
    Finish(End),
    /// The coordinator can't read it where it is: its next bytes.
    SendLedger,
    /// That was all.
    Over,
    /// The run has ended in vain.
    Abort {
        why: String,
        interrupted: bool,
    },
}

/// What a worker counted and measured since its last report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// Up to when, microseconds since the run began.
    pub(super) reached_us: u64,
    /// The step that its clients have followed, as a number.
    pub(super) step: u8,
    pub(super) tally: Tally,
    pub(super) latencies: Packed,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToCoordinator {
    Alive,
    /// Nanoseconds since a moment of its own, and since 1970 by its wall clock.
    Clock {
        n: u32,
        ns: u64,
        unix_ns: u64,
    },
    /// Rings and ledger are there.
    Ready {
        users: u64,
        shards: usize,
        ledger: String,
    },
    Report(Box<Report>),
    /// How often Ctrl-C was pressed there.
    Interrupts(u64),
    /// The last client has left, and the last report is out.
    Left,
    /// The ledger is closed.
    Done {
        latencies: Packed,
        saturated: Option<String>,
        ledger_bytes: u64,
    },
    /// The next part of the ledger, in base64; empty after the last.
    Ledger(String),
    /// It can't go on.
    Failed {
        why: String,
    },
}
