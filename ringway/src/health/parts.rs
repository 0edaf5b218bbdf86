//! The parts that a process may have.

use super::{Concern, Part, State};
use bus::ShardInbox;
use bus::kafka::GatewayRoad;
use engine::gateway::Gateway;
use logic::Worker;
use logic::roads::Closers;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A shard goes round its loop twice a second even when idle; one that has not for so long hangs.
const STUCK: Duration = Duration::from_secs(10);

/// The threads of a gateway's shards.
pub(crate) fn gateway(gateway: &Gateway) -> Vec<Part> {
    let shards = gateway.inboxes().iter().zip(gateway.stats()).enumerate();
    let part = |(index, (inbox, stats)): (usize, (&Arc<_>, &Arc<_>))| shard(index, inbox, stats);
    shards.map(part).collect()
}

fn shard(index: usize, inbox: &Arc<engine::shard::Inbox>, stats: &Arc<engine::shard::Stats>) -> Part {
    let (inbox, stats) = (Arc::clone(inbox), Arc::clone(stats));
    #[allow(clippy::disallowed_types, reason = "probes meet here, off the shards")]
    let pulse = std::sync::Mutex::new(Pulse::default());
    Part::new(format!("shard-{index}"), Concern::Life, move || {
        if inbox.is_closed() {
            return State::Ended;
        }
        #[allow(clippy::disallowed_methods, reason = "a probe asks what time it is, a shard does not")]
        let now = Instant::now();
        let still = pulse.lock().map(|mut pulse| pulse.still(stats.ticks.get(), now));
        match still {
            Ok(still) if still >= STUCK => {
                State::Failed(format!("its loop has not gone round for {} s", still.as_secs()))
            }
            _ => State::Well,
        }
    })
}

/// A count that has to grow, and when it was last seen to.
#[derive(Debug, Default)]
struct Pulse {
    seen: Option<(u64, Instant)>,
}

impl Pulse {
    /// How long it has been known not to grow.
    fn still(&mut self, count: u64, now: Instant) -> Duration {
        match self.seen {
            Some((before, at)) if before == count => now.saturating_duration_since(at),
            _ => {
                self.seen = Some((count, now));
                Duration::ZERO
            }
        }
    }
}

/// The threads of a worker, and whether its store takes what they write.
pub(crate) fn worker(worker: &Worker) -> Vec<Part> {
    let threads =
        worker.threads().into_iter().map(|thread| {
            Part::new(thread.name, Concern::Life, move || {
                if thread.is_running() { State::Well } else { State::Ended }
            })
        });
    let stats = Arc::clone(worker.stats());
    let store = Part::new("store", Concern::Readiness, move || match stats.store_failing.get() {
        0 => State::Well,
        tries => State::Failed(format!("it has not taken the present batch in {tries} tries: see the log")),
    });
    threads.chain([store]).collect()
}

/// A gateway's road over Kafka.
pub(crate) fn road(road: &GatewayRoad) -> Vec<Part> {
    let counts = road.counts();
    let thread = Part::new("road", Concern::Life, move || match counts.is_healthy() {
        true => State::Well,
        false => {
            State::Failed("the producer has failed for good, or its thread has ended: see the log".into())
        }
    });
    vec![thread]
}

/// A worker's way to the shards.
pub(crate) fn downlink(closers: &Arc<Closers>) -> Part {
    let closers = Arc::clone(closers);
    Part::new("downlink", Concern::Life, move || match closers.is_healthy() {
        true => State::Well,
        false => State::Failed("the producer has failed for good: see the log".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::Pulse;
    use std::time::{Duration, Instant};

    #[test]
    #[allow(clippy::disallowed_methods, reason = "only differences are looked at")]
    fn a_pulse_is_still_since_it_was_last_seen_to_grow() {
        let (mut pulse, start) = (Pulse::default(), Instant::now());
        let after = |s| start + Duration::from_secs(s);
        assert_eq!(pulse.still(0, start), Duration::ZERO);
        assert_eq!(pulse.still(0, after(3)), Duration::from_secs(3));
        assert_eq!(pulse.still(5, after(60)), Duration::ZERO);
        assert_eq!(pulse.still(5, after(71)), Duration::from_secs(11));
    }
}
