//! All checks, in the order in which they are told. `docs/tuning.md` has the same list.

use crate::demand::Demand;
use crate::finding::{Finding, Status};
use crate::machine::Machine;
use crate::ring::{self, RingFacts};
use crate::{cpu, limits, memory, network};

/// A check: its name, why it matters, and how to look.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// Why it matters.
    pub why: &'static str,
    look: fn(&Machine, &Demand, &RingFacts) -> Finding,
}

/// A check with what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What it found.
    pub finding: Finding,
}

/// Looks at everything.
pub fn examine(machine: &Machine, demand: &Demand, facts: &RingFacts) -> Vec<Check> {
    let look =
        |spec: &Spec| Check { name: spec.name, why: spec.why, finding: (spec.look)(machine, demand, facts) };
    CHECKS.iter().map(look).collect()
}

/// The worst status among them.
pub fn worst(checks: &[Check]) -> Status {
    checks.iter().map(|check| check.finding.status).max().unwrap_or(Status::Ok)
}

macro_rules! checks {
    ($($name:literal $look:path: $why:literal;)+) => {
        /// Every check.
        pub const CHECKS: &[Spec] = &[$(Spec { name: $name, why: $why, look: $look }),+];
    };
}

checks! {
    "kernel" ring::kernel: "single-issuer rings with deferred task work came with 6.1";
    "io-uring" ring::io_uring: "a ring is all that a shard waits on; there is no other way to run";
    "operations" ring::operations: "an operation may be known and still lack the form a shard uses it in";
    "socket-table" ring::socket_table: "clients' sockets are direct descriptors, in a table made at the start";
    "memlock" limits::memlock: "rings are locked memory, counted for all processes of a user together";
    "open-files" limits::open_files: "the kernel grants no table of sockets larger than the limit of open files";
    "nr-open" limits::nr_open: "it bounds every limit of open files";
    "file-max" limits::file_max: "direct descriptors are files too; without a free one no client gets in";
    "somaxconn" network::somaxconn: "it caps the backlog: a burst of clients beyond it has to try again a second later";
    "syn-backlog" network::syn_backlog: "without cookies, half-open connections beyond it are dropped";
    "local-ports" network::local_ports: "each outgoing connection takes a port; servers need none";
    "tcp-rmem" network::tcp_rmem: "a largest message that does not fit the receive window comes in many round trips";
    "send-buffer" network::send_buffer: "wmem_max caps SO_SNDBUF, and a smaller one sends a burst in more pieces";
    "tcp-mem" network::tcp_mem: "above pressure the kernel shrinks windows, above the maximum it drops";
    "conntrack" network::conntrack: "a full table drops the packets of new connections";
    "cores" cpu::cores: "a shard is one thread: two on a core take turns, and a quota stops both";
    "siblings" cpu::siblings: "siblings share one core's units: two shards there do the work of little more than one";
    "governor" cpu::governor: "a core that slows down when idle answers the next message late";
    "clock-source" cpu::clock_source: "a shard reads the clock each tick: hpet and acpi_pm make that a system call";
    "huge-pages" memory::huge_pages: "always fills memory that sessions touch in small pieces, and stalls to compact it";
    "memory" memory::memory: "an idle connection holds memory on both sides of the system call";
    "overcommit" memory::overcommit: "with strict commitment, reserved address space counts as used";
}
