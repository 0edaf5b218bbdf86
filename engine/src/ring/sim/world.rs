//! What simulated rings share: wires in memory, tables of slots, chance and time.

use crate::ring::Mono;
use protocol::partition::splitmix64;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// SplitMix64: small, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        splitmix64(&mut self.0)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// Everything that the rings of one gateway and their clients share.
#[derive(Debug)]
pub struct World {
    /// What chance there is comes from here.
    pub random: Random,
    /// The time.
    pub now: Mono,
    pub(super) wires: Vec<Wire>,
    pub(super) tables: Vec<Vec<Option<usize>>>,
    pub(super) arrivals: Vec<Vec<(u32, u64)>>,
    pub(super) backlogs: Vec<VecDeque<usize>>,
    pub(super) listening: Vec<bool>,
}

/// One TCP connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) to_server: VecDeque<u8>,
    pub(super) to_client: VecDeque<u8>,
    /// Bytes that may wait for the client before a send has to wait.
    pub(super) window: usize,
    pub(super) client_done: bool,
    pub(super) reset: bool,
    pub(super) server_done: bool,
    pub(super) server_deaf: bool,
    /// How many tables hold it.
    pub(super) held: usize,
    pub(super) refused: bool,
}

impl World {
    /// A world of `shards` rings with `table` slots each.
    pub fn new(seed: u64, shards: usize, table: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            random: Random(seed),
            now: Mono(1_000),
            wires: vec![],
            tables: vec![vec![None; table]; shards],
            arrivals: vec![vec![]; shards],
            backlogs: vec![VecDeque::new(); shards],
            listening: vec![true; shards],
        }))
    }

    /// A client connects; returns its wire.
    pub fn connect(&mut self, window: usize) -> usize {
        let shard = self.random.below(self.tables.len() as u64) as usize;
        let refused = !self.listening[shard];
        self.wires.push(Wire { window, refused, ..Wire::default() });
        let wire = self.wires.len() - 1;
        if !refused {
            self.backlogs[shard].push_back(wire);
        }
        wire
    }

    /// The client sends.
    pub fn client_sends(&mut self, wire: usize, bytes: &[u8]) {
        self.wires[wire].to_server.extend(bytes);
    }

    /// The client reads up to `max` bytes.
    pub fn client_reads(&mut self, wire: usize, max: usize) -> Vec<u8> {
        let to_client = &mut self.wires[wire].to_client;
        let len = max.min(to_client.len());
        to_client.drain(..len).collect()
    }

    /// The client says that nothing follows.
    pub fn client_ends(&mut self, wire: usize) {
        self.wires[wire].client_done = true;
    }

    /// The client breaks the connection.
    pub fn client_resets(&mut self, wire: usize) {
        self.wires[wire].reset = true;
        self.wires[wire].to_server.clear();
        self.wires[wire].to_client.clear();
    }

    /// Whether the client has read everything there will ever be.
    pub fn is_at_end(&self, wire: usize) -> bool {
        let wire = &self.wires[wire];
        wire.refused || wire.reset || (wire.server_done && wire.to_client.is_empty())
    }

    /// Slots in use on a ring.
    pub fn used(&self, shard: usize) -> usize {
        self.tables[shard].iter().flatten().count()
    }

    pub(super) fn free_slot(&mut self, shard: usize) -> Option<u32> {
        let free: Vec<_> =
            (0..self.tables[shard].len()).filter(|slot| self.tables[shard][*slot].is_none()).collect();
        if free.is_empty() {
            return None;
        }
        // The kernel gives the lowest, mostly; any is allowed.
        let pick = if self.random.once_in(4) { self.random.below(free.len() as u64) as usize } else { 0 };
        Some(free[pick] as u32)
    }

    pub(super) fn wire(&mut self, shard: usize, slot: u32) -> &mut Wire {
        let wire = self.tables[shard][slot as usize].expect("an operation on a slot that is free");
        &mut self.wires[wire]
    }
}
