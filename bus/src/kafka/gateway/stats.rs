//! What a gateway's road counts.

use crate::figure::Figure;
use crate::latency::Latency;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// A gateway's road in figures.
        #[derive(Debug, Default)]
        pub struct GatewayStats {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)*
            /// Records on their way or whose report waits for an inbox: a gauge.
            pub pending: AtomicU64,
            /// From produced to confirmed, by shard.
            pub confirm_latency: Box<[Latency]>,
        }

        impl GatewayStats {
            pub(super) fn new(shards: usize) -> Self {
                let confirm_latency = (0..shards).map(|_| Latency::default()).collect();
                Self { confirm_latency, ..Self::default() }
            }

            /// Every figure with its name, whether it only ever grows, and what it means.
            pub fn all(&self) -> Vec<Figure> {
                let mut all = vec![$(Figure {
                    name: stringify!($name),
                    total: true,
                    help: concat!($($doc),+).trim(),
                    value: self.$name.load(Ordering::Relaxed),
                }),*];
                all.push(Figure {
                    name: "pending",
                    total: false,
                    help: "Records on their way to Kafka, or whose report waits for an inbox.",
                    value: self.pending.load(Ordering::Relaxed),
                });
                all
            }
        }
    };
}

stats! {
    /// Messages and queries given to the client.
    produced,
    /// Messages that Kafka has confirmed: `accepted`.
    accepted,
    /// Messages and queries that could not be produced: the sender was told.
    failed,
    /// Times that nothing was taken from the shards because too much was on its way.
    queue_full,
    /// Downstream records taken by shards.
    taken,
    /// Downstream records that could not be read.
    undecodable,
    /// Times that a shard's place in its partition was lost: its sessions were told to sync.
    reassigned,
    /// Displaced sessions told on whichever gateway.
    kicked,
}

/// Adds one.
pub(super) fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}
