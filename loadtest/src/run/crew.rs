//! The groups, and the threads that are the clients.

use super::RunError;
use crate::api;
use crate::ledger::writer::{Scribe, Writer};
use crate::options::Options;
use crate::plan::{Conversation, draw_members};
use crate::random::Random;
use crate::shard::{Shard, World};
use engine::executor::{self, Executor};
use engine::gateway::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use engine::ring::{RingConfig, UringRing};
use rustix::event::{EventfdFlags, eventfd};
use std::num::NonZeroU64;
use std::sync::atomic::AtomicI32;
use std::sync::{Arc, mpsc};

/// How early a thread may be woken late, nanoseconds: the usual 50 µs would count as latency.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

/// Makes the groups of a scenario through the API.
pub(crate) fn make_groups(options: &Options) -> Result<Vec<Conversation>, RunError> {
    let (groups, connections) = (&options.scenario.groups, options.scenario.connections as usize);
    let mut random = Random::new(options.seed ^ 0x6772_6f75_7073);
    let make = |number| {
        let members = draw_members(&mut random, connections, groups.size as usize);
        let user = |at: &u32| &options.users[*at as usize];
        let others: Vec<u64> = members[1..].iter().map(|at| user(at).id).collect();
        let made =
            api::make_group(&options.api, &user(&members[0]).token, &format!("load {number}"), &others);
        let name = made.map_err(|error| RunError::Unavailable(error.to_string()))?.into();
        Ok(Conversation { name, members })
    };
    (1..=groups.count).map(make).collect()
}

/// The threads that are the clients.
#[derive(Debug)]
pub(super) struct Crew(Vec<Executor>);

impl Crew {
    /// Starts a shard after the other; each makes its ring on its own thread.
    pub(super) fn start(
        world: &Arc<World>,
        writer: &Writer,
        table: usize,
        cores: &[usize],
    ) -> Result<Self, RunError> {
        let start = |error: &dyn std::fmt::Display| RunError::Start(error.to_string());
        executor::check_locked_memory().map_err(|error| start(&error))?;
        let (told, tells) = mpsc::channel();
        let mut crew = Self(vec![]);
        for index in 0..world.shards {
            let (world, scribe, told) = (Arc::clone(world), writer.scribe(), told.clone());
            let core = (!cores.is_empty()).then(|| cores[index % cores.len()]);
            let work = move || live(index, world, scribe, table, &told);
            let name = format!("clients-{index}");
            crew.0.push(executor::start(&name, core, work).map_err(|error| start(&error))?);
        }
        drop(told);
        for _ in 0..world.shards {
            let made = tells.recv().unwrap_or_else(|_| Err("a thread of clients did not start".to_owned()));
            made.map_err(|error| start(&error))?;
        }
        Ok(crew)
    }

    /// Waits until all have left.
    pub(super) fn join(self) -> Result<(), RunError> {
        self.0
            .into_iter()
            .try_for_each(|shard| shard.join().map_err(|error| RunError::Start(error.to_string())))
    }
}

/// One thread's life.
fn live(
    index: usize,
    world: Arc<World>,
    scribe: Scribe,
    table: usize,
    told: &mpsc::Sender<Result<(), String>>,
) {
    // Where that is not allowed, what is due is handed out up to 50 µs late, and the lag shows it.
    let _ = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NS));
    let ring = match ring(table) {
        Ok(ring) => ring,
        Err(error) => return drop(told.send(Err(error))),
    };
    let _ = told.send(Ok(()));
    let shared = Arc::clone(&world.shared);
    if let Err(error) = Shard::new(ring, index, world, scribe).run() {
        let _ = shared.counters.fatal.set(format!("the clients' ring failed: {error}"));
    }
}

fn ring(table: usize) -> Result<UringRing, String> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let config = RingConfig {
        table: table as u32,
        buffers: RECEIVE_BUFFERS,
        buffer_bytes: RECEIVE_BUFFER_BYTES,
        accepts: 0,
        shard: 0,
        peers: [AtomicI32::new(-1)].into(),
        wake: Arc::new(wake),
    };
    UringRing::new(config, None).map_err(|error| error.to_string())
}
