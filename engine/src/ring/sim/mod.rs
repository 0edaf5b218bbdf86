//! A ring for tests: the same shard over wires in memory, under a seeded random order of events.
//!
//! Completions come late and in any order, reads are split, sends shortened, sockets arrive out of
//! order, buffers and table slots run out, accepts fail; time is a number. What no shard may do
//! panics: two sends in flight on one socket, passing or closing a slot with something in flight,
//! using a slot that is free.

mod world;

pub use world::{Random, World};

use super::{Address, Buffer, Event, Mono, Outgoing, Receive, Ring};
use protocol::UnixMs;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

#[derive(Debug)]
enum Op {
    Accept(u16),
    Recv(Address, Receive),
    Send(Address, Outgoing, usize),
    Shutdown(Address, bool),
    Close(Address),
    Pass(Address, u16, u64),
}

impl Op {
    fn slot(&self) -> Option<u32> {
        match self {
            Self::Accept(_) => None,
            Self::Recv(at, _)
            | Self::Send(at, ..)
            | Self::Shutdown(at, _)
            | Self::Close(at)
            | Self::Pass(at, ..) => Some(at.slot),
        }
    }
}

/// What became of an operation that was tried.
enum Tried {
    Wait(Op),
    Done(Event),
    /// An event, and the operation stays armed.
    Again(Event, Op),
}

/// One shard's ring in a [`World`].
#[derive(Debug)]
pub struct SimRing {
    world: Rc<RefCell<World>>,
    shard: usize,
    ops: Vec<Op>,
    cancelled: Vec<u16>,
    buffers: Vec<Vec<u8>>,
    free: Vec<u16>,
}

const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

impl SimRing {
    /// The ring of `shard`, with `buffers` receive buffers of `bytes` each.
    pub fn new(world: &Rc<RefCell<World>>, shard: usize, buffers: u16, bytes: usize) -> Self {
        Self {
            world: Rc::clone(world),
            shard,
            ops: vec![],
            cancelled: vec![],
            buffers: vec![vec![0; bytes]; buffers.into()],
            free: (0..buffers).collect(),
        }
    }

    /// Buffers that are not with the shard.
    pub fn free_buffers(&self) -> usize {
        self.free.len()
    }

    /// Operations in flight on sockets.
    pub fn in_flight(&self) -> usize {
        self.ops.iter().filter(|op| op.slot().is_some()).count()
    }

    fn is_idle(&self, slot: u32) -> bool {
        self.ops.iter().all(|op| op.slot() != Some(slot))
    }

    fn try_op(&mut self, op: Op) -> Tried {
        let world = Rc::clone(&self.world);
        let world = &mut *world.borrow_mut();
        match op {
            Op::Accept(accept) => self.try_accept(world, accept),
            Op::Recv(at, how) => self.try_recv(world, at, how),
            Op::Send(at, data, from) => try_send(world, self.shard, at, data, from),
            Op::Shutdown(at, both) => {
                let wire = world.wire(self.shard, at.slot);
                wire.server_done = true;
                wire.server_deaf |= both;
                Tried::Done(Event::ShutDown { at, both })
            }
            Op::Close(at) => {
                release_slot(world, self.shard, at.slot);
                Tried::Done(Event::Closed { at })
            }
            Op::Pass(at, shard, token) => try_pass(world, self.shard, at, shard, token),
        }
    }

    fn try_accept(&mut self, world: &mut World, accept: u16) -> Tried {
        if world.backlogs[self.shard].is_empty() {
            return Tried::Wait(Op::Accept(accept));
        }
        let slot = if world.random.once_in(50) { None } else { world.free_slot(self.shard) };
        let Some(slot) = slot else {
            // A single-shot accept leaves the connection where it is when the table is full.
            let error = io::Error::from_raw_os_error(libc::ENFILE);
            return Tried::Done(Event::AcceptFailed { accept, error });
        };
        let wire = world.backlogs[self.shard].pop_front().expect("looked at above");
        world.tables[self.shard][slot as usize] = Some(wire);
        world.wires[wire].held += 1;
        Tried::Done(Event::Accepted { accept, slot, peer: NOBODY.into() })
    }

    fn try_recv(&mut self, world: &mut World, at: Address, how: Receive) -> Tried {
        let starved = world.random.once_in(40);
        let split = world.random.draw();
        let ends = world.random.once_in(6);
        let wire = world.wire(self.shard, at.slot);
        if wire.reset {
            let error = Some(io::Error::from_raw_os_error(libc::ECONNRESET));
            return Tried::Done(Event::ReceiveEnded { at, error });
        }
        if wire.server_deaf || (wire.to_server.is_empty() && wire.client_done) {
            return Tried::Done(Event::ReceiveEnded { at, error: None });
        }
        if wire.to_server.is_empty() {
            return Tried::Wait(Op::Recv(at, how));
        }
        let Some(id) = (if starved { None } else { self.free.pop() }) else {
            return Tried::Done(Event::ReceiveStarved { at });
        };
        let most = wire.to_server.len().min(self.buffers[usize::from(id)].len()) as u64;
        let len = if split.is_multiple_of(3) { 1 + (split >> 8) % most } else { most } as usize;
        for (byte, received) in self.buffers[usize::from(id)].iter_mut().zip(wire.to_server.drain(..len)) {
            *byte = received;
        }
        let buffer = Buffer { id, len: len as u32 };
        if how == Receive::Once || ends {
            return Tried::Done(Event::Received { at, buffer, more: false });
        }
        Tried::Again(Event::Received { at, buffer, more: true }, Op::Recv(at, how))
    }
}

fn try_send(world: &mut World, shard: usize, at: Address, data: Outgoing, from: usize) -> Tried {
    let short = world.random.once_in(10).then(|| world.random.draw());
    let wire = world.wire(shard, at.slot);
    if wire.reset || wire.server_done {
        let error = io::Error::from_raw_os_error(if wire.reset { libc::ECONNRESET } else { libc::EPIPE });
        return Tried::Done(Event::Sent { at, data, result: Err(error) });
    }
    let room = wire.window.saturating_sub(wire.to_client.len());
    let left = &data.as_slice()[from..];
    let len = match short {
        Some(chance) if room > 0 => 1 + chance as usize % left.len().min(room),
        _ => left.len().min(room),
    };
    wire.to_client.extend(&left[..len]);
    let whole = from + len == data.as_slice().len();
    if whole || (short.is_some() && len > 0) {
        return Tried::Done(Event::Sent { at, data, result: Ok(from + len) });
    }
    Tried::Wait(Op::Send(at, data, from + len))
}

fn try_pass(world: &mut World, shard: usize, at: Address, to: u16, token: u64) -> Tried {
    let to = usize::from(to);
    let slot = if world.random.once_in(20) { None } else { world.free_slot(to) };
    let Some(slot) = slot else {
        return Tried::Done(Event::Passed { at, result: Err(io::Error::from_raw_os_error(libc::ENFILE)) });
    };
    let wire = world.tables[shard][at.slot as usize].expect("passing a slot that is free");
    world.tables[to][slot as usize] = Some(wire);
    world.wires[wire].held += 1;
    world.arrivals[to].push((slot, token));
    Tried::Done(Event::Passed { at, result: Ok(()) })
}

fn release_slot(world: &mut World, shard: usize, slot: u32) {
    let wire = world.tables[shard][slot as usize].take().expect("closing a slot that is free");
    let wire = &mut world.wires[wire];
    wire.held -= 1;
    if wire.held == 0 {
        wire.server_done = true;
        wire.server_deaf = true;
    }
}

impl Ring for SimRing {
    fn now(&self) -> Mono {
        self.world.borrow().now
    }

    fn unix(&self) -> UnixMs {
        UnixMs(1_800_000_000_000 + self.now().0)
    }

    fn wait(&mut self, _: Mono, events: &mut Vec<Event>) -> io::Result<()> {
        for accept in self.cancelled.drain(..) {
            let error = io::Error::from_raw_os_error(libc::ECANCELED);
            events.push(Event::AcceptFailed { accept, error });
        }
        let mut ops = std::mem::take(&mut self.ops);
        self.world.borrow_mut().random.shuffle(&mut ops);
        for op in ops {
            if self.world.borrow_mut().random.once_in(3) {
                self.ops.push(op);
                continue;
            }
            match self.try_op(op) {
                Tried::Wait(op) => self.ops.push(op),
                Tried::Done(event) => events.push(event),
                Tried::Again(event, op) => {
                    events.push(event);
                    self.ops.push(op);
                }
            }
        }
        let world = &mut *self.world.borrow_mut();
        let mut arrivals = std::mem::take(&mut world.arrivals[self.shard]);
        world.random.shuffle(&mut arrivals);
        for (slot, token) in arrivals {
            if world.random.once_in(3) {
                world.arrivals[self.shard].push((slot, token));
            } else {
                events.push(Event::Arrived { slot, token });
            }
        }
        Ok(())
    }

    fn accept(&mut self, accept: u16) {
        self.ops.push(Op::Accept(accept));
    }

    fn stop_accepting(&mut self) {
        let cancelled = &mut self.cancelled;
        self.ops.retain(|op| {
            if let Op::Accept(accept) = op {
                cancelled.push(*accept);
            }
            !matches!(op, Op::Accept(_))
        });
        let world = &mut *self.world.borrow_mut();
        world.listening[self.shard] = false;
        for wire in world.backlogs[self.shard].drain(..) {
            world.wires[wire].reset = true;
        }
    }

    fn recv(&mut self, at: Address, how: Receive) {
        let armed = self.ops.iter().any(|op| matches!(op, Op::Recv(other, _) if other.slot == at.slot));
        assert!(!armed, "two receives on slot {}", at.slot);
        self.ops.push(Op::Recv(at, how));
    }

    fn send(&mut self, at: Address, data: Outgoing, from: usize) {
        let sending = self.ops.iter().any(|op| matches!(op, Op::Send(other, ..) if other.slot == at.slot));
        assert!(!sending, "two sends on slot {}", at.slot);
        assert!(from < data.as_slice().len(), "a send of nothing");
        self.ops.push(Op::Send(at, data, from));
    }

    fn shutdown(&mut self, at: Address, both: bool) {
        self.ops.push(Op::Shutdown(at, both));
    }

    fn close(&mut self, at: Address) {
        assert!(self.is_idle(at.slot), "slot {} is closed with something in flight", at.slot);
        self.ops.push(Op::Close(at));
    }

    fn pass(&mut self, at: Address, shard: u16, token: u64) {
        assert!(self.is_idle(at.slot), "slot {} is passed with something in flight", at.slot);
        self.ops.push(Op::Pass(at, shard, token));
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        &mut self.buffers[usize::from(buffer.id)][..buffer.len as usize]
    }

    fn release(&mut self, buffer: Buffer) {
        self.free.push(buffer.id);
    }
}
