//! What a shard counts. Each figure has one writer, its shard (`controls_untold`: whoever asks), and is
//! read by the admin port.

use bus::Figure;
use bus::latency::Latency;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count with one writer: adding is a plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`; only its writer may.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets it to `n`; only its writer may.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ident,)*) => {
        /// One shard's figures, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: Count,)*
            /// From the worker to a socket's queue, per record.
            pub downstream_latency: Latency,
        }

        impl Stats {
            /// Every figure with its name, whether it only ever grows, and what it means.
            pub fn all(&self) -> Vec<Figure> {
                vec![$(Figure {
                    name: stringify!($name),
                    total: stats!(@total $kind),
                    help: concat!($($doc),+).trim(),
                    value: self.$name.get(),
                }),*]
            }
        }
    };
    (@total total) => { true };
    (@total gauge) => { false };
}

stats! {
    /// Open sessions.
    connections: gauge,
    /// Slots in use: handshakes, sessions, and sockets being closed.
    slots: gauge,
    /// Users with a session here.
    users: gauge,
    /// Bytes queued for sockets.
    egress_bytes: gauge,
    /// Bytes that unfinished messages hold.
    partial_bytes: gauge,
    /// Connections accepted.
    accepted: total,
    /// Accepts that failed.
    accept_failures: total,
    /// Sockets passed to the shard that owns their user.
    passed: total,
    /// Sockets that arrived from another shard.
    arrived: total,
    /// Sockets that could not be passed.
    pass_failures: total,
    /// Upgrades answered 101.
    upgrades: total,
    /// Upgrades refused with 400, 403, 404, 426 or 431.
    refused_request: total,
    /// Upgrades refused with 401.
    refused_token: total,
    /// Upgrades refused with 408.
    refused_timeout: total,
    /// Upgrades refused with 429.
    refused_rate: total,
    /// Upgrades refused with 503.
    refused_overload: total,
    /// Messages received from clients.
    messages_in: total,
    /// Bytes received from clients.
    bytes_in: total,
    /// Frames queued for clients.
    frames_out: total,
    /// Bytes sent to clients.
    bytes_out: total,
    /// Sends submitted.
    sends: total,
    /// Commands refused with an error event.
    commands_refused: total,
    /// Commands refused with RATE_LIMITED.
    rate_limited: total,
    /// Commands refused with BUSY.
    busy: total,
    /// Records that arrived from the road.
    downstream_records: total,
    /// Entries in the records that arrived from the road.
    downstream_entries: total,
    /// Entries for sessions that were gone.
    downstream_missed: total,
    /// Times the loop went round.
    ticks: total,
    /// What an operator asked and this shard did not take in time; counted by who asked.
    controls_untold: total,
    /// Receives that ended for want of a buffer.
    receives_starved: total,
    /// Sessions closed by the client.
    closed_by_peer: total,
    /// Sessions whose connection broke.
    closed_reset: total,
    /// Sessions closed with 1001.
    closed_1001: total,
    /// Sessions closed with 1002.
    closed_1002: total,
    /// Sessions closed with 1003.
    closed_1003: total,
    /// Sessions closed with 1007.
    closed_1007: total,
    /// Sessions closed with 1009.
    closed_1009: total,
    /// Sessions closed with 1013.
    closed_1013: total,
    /// Sessions closed with 4001.
    closed_4001: total,
    /// Sessions closed with 4002.
    closed_4002: total,
    /// Sessions closed with 4003.
    closed_4003: total,
    /// Sessions closed with 4004.
    closed_4004: total,
    /// Sessions closed with 4005.
    closed_4005: total,
}
