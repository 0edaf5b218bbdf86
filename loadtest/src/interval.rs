//! A run second by second.

use crate::counters::Counters;
use crate::measure::{Latencies, Measure};
use crate::server::Usage;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Latency in an interval, milliseconds; all 0 if there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Short {
    /// How many.
    pub count: u64,
    /// Half are faster.
    pub p50: f64,
    /// 99 in 100.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Short {
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            max: ms(histogram.max()),
        }
    }
}

/// What happened in an interval, about a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it ended, seconds since the first message was due; before that negative.
    pub end_s: f64,
    /// How long it was, seconds.
    pub seconds: f64,
    /// The phase at its end: its number from 1, or 0 outside of all.
    pub phase: usize,
    /// Clients that were connected at its end.
    pub online: u64,
    /// Messages without a last answer at its end.
    pub in_flight: u64,
    /// Messages that went out.
    pub sent: u64,
    /// Acknowledged as accepted.
    pub accepted: u64,
    /// Acknowledged as persisted.
    pub persisted: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Refused, for good or for now.
    pub refused: u64,
    /// Sessions that ended, the scenario's doing included.
    pub dropped: u64,
    /// Sessions after a client's first.
    pub reconnects: u64,
    /// From due, of what was persisted in it.
    pub persisted_ms: Short,
    /// From when it went out.
    pub persisted_begun_ms: Short,
    /// From due, of what was delivered in it.
    pub delivered_ms: Short,
    /// From when it went out.
    pub delivered_begun_ms: Short,
    /// How late the generator handed out what was due, at most.
    pub lag_max_ms: f64,
    /// Cores that the servers' processes kept busy.
    pub server_cores: Option<f64>,
    /// Their resident memory, bytes.
    pub server_rss_bytes: Option<u64>,
}

/// Counters at a moment, to be subtracted.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    sent: u64,
    accepted: u64,
    persisted: u64,
    delivered: u64,
    refused: u64,
    dropped: u64,
    reconnects: u64,
}

impl Counted {
    fn now(c: &Counters) -> Self {
        let n = |counter: &AtomicU64| counter.load(Relaxed);
        Self {
            sent: n(&c.sent),
            accepted: n(&c.accepted),
            persisted: n(&c.persisted),
            delivered: n(&c.delivered),
            refused: n(&c.refused) + n(&c.put_off),
            dropped: n(&c.dropped) + n(&c.broken),
            reconnects: n(&c.reconnects),
        }
    }
}

/// Makes intervals.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    before: Counted,
    usage: Option<Usage>,
}

impl Intervals {
    /// What happened since the last call, `seconds` ago.
    pub(crate) fn next(
        &mut self,
        counters: &Counters,
        latencies: &Latencies,
        usage: Option<Usage>,
        seconds: f64,
    ) -> Interval {
        let (now, then) = (Counted::now(counters), self.before);
        self.before = now;
        let used = self.usage.zip(usage).map(|(before, now)| (now.cpu_s - before.cpu_s) / seconds);
        self.usage = usage;
        let (persisted, delivered) = (latencies.of(Measure::Persisted), latencies.of(Measure::Delivered));
        Interval {
            end_s: 0.0,
            seconds,
            phase: 0,
            online: counters.online.load(Relaxed),
            in_flight: counters.in_flight(),
            sent: now.sent - then.sent,
            accepted: now.accepted - then.accepted,
            persisted: now.persisted - then.persisted,
            delivered: now.delivered - then.delivered,
            refused: now.refused - then.refused,
            dropped: now.dropped - then.dropped,
            reconnects: now.reconnects - then.reconnects,
            persisted_ms: Short::of(&persisted.due),
            persisted_begun_ms: Short::of(&persisted.begun),
            delivered_ms: Short::of(&delivered.due),
            delivered_begun_ms: Short::of(&delivered.begun),
            lag_max_ms: latencies.lag.max() as f64 / 1_000.0,
            server_cores: used,
            server_rss_bytes: usage.map(|usage| usage.rss_bytes),
        }
    }
}
