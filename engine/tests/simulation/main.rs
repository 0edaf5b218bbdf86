//! The shipping shard under a simulated ring, by seed: no byte lost or crossed, every session ends,
//! no slot leaks, bounds are held.
//!
//! `SIM_SEEDS=N` runs the seeds 1 to N (1,000 by default); a seed that fails prints the command that
//! replays it, which is `SIM_SEED=K` with this test.
#![allow(missing_docs)]

mod client;
mod road;

use client::Client;
use engine::ring::sim::{Random, SimRing, World};
use engine::session::Policy;
use engine::shard::{Chat, Control, Identity, Inbox, Shard, ShardConfig, Stats};
use protocol::command::Parser;
use protocol::{GatewayId, Limits, Rate, SessionPolicy};
use road::{Road, SimUplink};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const STEPS_MAX: usize = 60_000;
const BUFFERS: u16 = 6;

type SimShard = Shard<SimRing, Chat<SimUplink>>;

#[test]
fn every_seed_holds() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        return run(seed.parse().expect("SIM_SEED is a number"), &mut BTreeMap::new());
    }
    let mut seen = BTreeMap::new();
    let seeds: u64 = std::env::var("SIM_SEEDS").map_or(1_000, |n| n.parse().expect("SIM_SEEDS is a number"));
    for seed in 1..=seeds {
        if catch_unwind(AssertUnwindSafe(|| run(seed, &mut seen))).is_err() {
            panic!("replay: SIM_SEED={seed} cargo test -p ringway-engine --test simulation");
        }
    }
    println!("{seeds} seeds held; over all of them: {seen:?}");
    // A run that never comes to the hard places proves nothing about them.
    for name in HARD_PLACES {
        assert!(seeds < 500 || seen[name] > 0, "no seed came to {name}: {seen:?}");
    }
}

const HARD_PLACES: [&str; 17] = [
    "accept_failures",
    "passed",
    "arrived",
    "pass_failures",
    "refused_overload",
    "refused_timeout",
    "busy",
    "receives_starved",
    "closed_by_peer",
    "closed_reset",
    "closed_1001",
    "closed_4002",
    "closed_4003",
    "closed_4005",
    "closed_1013",
    "rate_limited",
    "downstream_missed",
];

struct Simulation {
    world: Rc<RefCell<World>>,
    road: Rc<RefCell<Road>>,
    shards: Vec<SimShard>,
    inboxes: Arc<[Arc<Inbox>]>,
    stats: Vec<Arc<Stats>>,
    clients: Vec<Client>,
    limits: Limits,
}

fn run(seed: u64, seen: &mut BTreeMap<&'static str, u64>) {
    let mut simulation = Simulation::new(seed);
    simulation.talk();
    simulation.close();
    simulation.check();
    for figure in simulation.stats.iter().flat_map(|stats| stats.all()) {
        *seen.entry(figure.name).or_default() += figure.value;
    }
}

fn limits(random: &mut Random) -> Limits {
    Limits {
        connections_max: 4 + random.below(20) as usize,
        headroom: 1 + random.below(4) as usize,
        egress_bytes_max: 2_048 + random.below(8_192) as usize,
        message_bytes_max: 2_048,
        handshake: Duration::from_secs(5),
        heartbeat: Duration::from_secs(3),
        close_grace: Duration::from_secs(2),
        sessions_per_user_max: 1 + random.below(3) as usize,
        session_policy: [SessionPolicy::All, SessionPolicy::PerDevice, SessionPolicy::Replace]
            [random.below(3) as usize],
        memory_bytes_max: if random.below(3) == 0 {
            4_096 + random.below(16_384) as usize
        } else {
            256 << 20
        },
        user_rate: if random.below(3) == 0 { Rate::new(5, 10) } else { Rate::UNLIMITED },
        ..Limits::default()
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let count = 1 + random.below(3) as u16;
        let limits = limits(&mut random);
        let world = World::new(random.draw(), count.into(), ShardConfig::table(&limits));
        let inboxes: Arc<[_]> = (0..count).map(|_| Arc::new(Inbox::new().expect("an eventfd"))).collect();
        let stats: Vec<Arc<Stats>> = (0..count).map(|_| Arc::default()).collect();
        let road = Rc::new(RefCell::new(Road::new(count, random.draw())));
        let clients = (0..6 + random.below(30)).map(|n| Client::new(n as usize, &mut random)).collect();
        let mut this = Self { world, road, shards: vec![], inboxes, stats, clients, limits };
        for shard in 0..count {
            let made = this.shard(shard, count, 64 + random.below(512) as usize);
            this.shards.push(made);
        }
        this
    }

    fn shard(&self, shard: u16, shards: u16, buffer_bytes: usize) -> SimShard {
        let gateway = GatewayId::new("sim").expect("a valid id");
        let config = ShardConfig {
            identity: Identity { gateway, boot_epoch: 1, shard, shards },
            limits: self.limits.clone(),
            policy: Arc::new(Policy::default()),
            inboxes: Arc::clone(&self.inboxes),
            stats: Arc::clone(&self.stats[usize::from(shard)]),
        };
        let ring = SimRing::new(&self.world, shard.into(), BUFFERS, buffer_bytes);
        Shard::new(config, ring, Chat::new(SimUplink::new(&self.road), Parser::new(), gateway, 1, shard))
    }

    fn chance(&self, n: u64) -> u64 {
        self.world.borrow_mut().random.below(n)
    }

    /// One thing happens: a shard turns, a client acts, a record arrives, or time passes.
    fn step(&mut self) {
        match self.chance(16) {
            0..8 => {
                let shard = self.chance(self.shards.len() as u64) as usize;
                if !self.shards[shard].is_finished() {
                    self.shards[shard].tick().expect("the simulated ring does not fail");
                }
            }
            8..13 => {
                let client = self.chance(self.clients.len() as u64) as usize;
                self.clients[client].act(&mut self.world.borrow_mut());
            }
            13 | 14 => self.road.borrow_mut().deliver(&self.inboxes),
            _ => {
                let pass = if self.chance(30) == 0 { 1_000 } else { self.chance(20) };
                self.world.borrow_mut().now.0 += pass;
            }
        }
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let cap = self.limits.egress_bytes_max + 512;
        for (shard, stats) in self.stats.iter().enumerate() {
            let (bytes, slots) = (stats.egress_bytes.get() as usize, stats.slots.get() as usize);
            assert!(bytes <= slots * cap, "shard {shard}: {bytes} bytes queued for {slots} slots of {cap}");
            let held = bytes + stats.partial_bytes.get() as usize;
            let slack = slots * 4_096;
            assert!(held <= self.limits.memory_bytes_max + slack, "shard {shard} holds {held} bytes");
            let open = stats.connections.get() as usize;
            assert!(open <= self.limits.connections_max, "shard {shard}: {open} sessions are open");
        }
    }

    fn talk(&mut self) {
        for _ in 0..STEPS_MAX {
            self.step();
            if self.clients.iter().all(Client::is_satisfied) {
                return;
            }
        }
        let stuck: Vec<_> = self.clients.iter().filter(|client| !client.is_satisfied()).collect();
        panic!("after {STEPS_MAX} steps some clients still wait: {stuck:#?}");
    }

    fn close(&mut self) {
        for inbox in &*self.inboxes {
            assert!(inbox.control(Control::StopTaking) && inbox.control(Control::Close));
        }
        for _ in 0..STEPS_MAX {
            self.step();
            if self.shards.iter().all(|shard| shard.is_finished()) {
                return;
            }
        }
        let left: Vec<_> =
            self.stats.iter().map(|stats| (stats.slots.get(), stats.connections.get())).collect();
        panic!("after {STEPS_MAX} steps some sessions have not ended: (slots, sessions) per shard {left:?}");
    }

    fn check(&mut self) {
        for (index, shard) in self.shards.iter().enumerate() {
            assert_eq!(self.world.borrow().used(index), 0, "shard {index} leaks slots");
            assert_eq!(shard.ring().in_flight(), 0, "shard {index} leaves operations behind");
            assert_eq!(shard.ring().free_buffers(), usize::from(BUFFERS), "shard {index} keeps buffers");
            assert_eq!(self.stats[index].egress_bytes.get(), 0, "shard {index} counts bytes that are gone");
            assert_eq!(self.stats[index].partial_bytes.get(), 0, "shard {index} counts bytes that are gone");
            assert_eq!(self.stats[index].users.get(), 0, "shard {index} keeps users");
        }
        for client in &mut self.clients {
            client.finish(&mut self.world.borrow_mut());
        }
        let road = self.road.borrow();
        assert!(road.routes.is_empty(), "routes of sessions that are gone: {:?}", road.routes);
    }
}
