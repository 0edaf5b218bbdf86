//! The io_uring behind a shard.
//!
//! `user_data` is `op:8 | generation:24 | slot:32`; for a socket that another shard passed here it
//! is `op:8 | token:56`.
#![allow(unsafe_code)]

use super::buffers::{Buffers, GROUP};
use super::dial::{Call, Dial, socket};
use super::{Address, Buffer, Event, GENERATIONS, Listener, Mono, Outgoing, Receive, Ring, RingError};
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use protocol::UnixMs;
use socket2::SockAddr;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Operations that are noted between two waits; more wait in a queue of ours.
pub const SQ_ENTRIES: u32 = 1_024;
/// Completions that may wait to be taken.
pub const CQ_ENTRIES: u32 = 16_384;

/// What a ring is made of.
#[derive(Debug)]
pub struct RingConfig {
    /// Slots for sockets: limit, headroom, and room for sockets on the move.
    pub table: u32,
    /// Receive buffers; a power of two.
    pub buffers: u16,
    /// Bytes of one receive buffer.
    pub buffer_bytes: usize,
    /// Accepts to be armed at the same time.
    pub accepts: u16,
    /// This shard's index in `peers`.
    pub shard: u16,
    /// The rings of all shards, by index; each enters its own once it is made.
    pub peers: Arc<[AtomicI32]>,
    /// Written to by other threads to wake this shard.
    pub wake: Arc<OwnedFd>,
}

mod op {
    pub(super) const ACCEPT: u64 = 1;
    pub(super) const RECV: u64 = 2;
    pub(super) const SEND: u64 = 3;
    pub(super) const SHUTDOWN: u64 = 4;
    pub(super) const CLOSE: u64 = 5;
    pub(super) const PASS: u64 = 6;
    pub(super) const ARRIVED: u64 = 7;
    pub(super) const WAKE: u64 = 8;
    pub(super) const HALF_SHUTDOWN: u64 = 9;
    pub(super) const DIAL: u64 = 10;
}

fn data(op: u64, at: Address) -> u64 {
    op << 56 | u64::from(at.generation) << 32 | u64::from(at.slot)
}

fn address(data: u64) -> Address {
    Address { slot: data as u32, generation: (data >> 32) as u32 & (GENERATIONS - 1) }
}

/// Where the kernel writes a client's address while its accept is armed.
struct Peer {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// One shard's io_uring, its receive buffers and its listener.
pub struct UringRing {
    // The fields drop in this order: the io_uring first, and what it may still refer to after it.
    ring: IoUring,
    buffers: Buffers,
    accepts: Box<[Peer]>,
    in_flight: Vec<Option<(Outgoing, usize)>>,
    /// Addresses that sockets are being connected to, by slot.
    dials: HashMap<u32, Box<SockAddr>>,
    waiting: VecDeque<squeue::Entry>,
    completions: Vec<cqueue::Entry>,
    listener: Option<Listener>,
    peers: Arc<[AtomicI32]>,
    wake: Arc<OwnedFd>,
    started: Instant,
}

/// An io_uring with the flags of a shard's, for the calling thread.
pub(super) fn set_up(sq_entries: u32, cq_entries: u32) -> Result<IoUring, RingError> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(cq_entries)
        .build(sq_entries)
        .map_err(RingError::setup)
}

/// Gives it a table of `table` direct descriptors, all of them free.
pub(super) fn register_table(ring: &IoUring, table: u32) -> Result<(), RingError> {
    ring.submitter().register_files_sparse(table).map_err(|error| RingError::table(table, error))
}

impl UringRing {
    /// Makes the ring on the thread that will use it, and enters it into `config.peers`.
    pub fn new(config: RingConfig, listener: Option<Listener>) -> Result<Self, RingError> {
        let ring = set_up(SQ_ENTRIES, CQ_ENTRIES)?;
        let table = config.table;
        register_table(&ring, table)?;
        let buffers = Buffers::new(config.buffers, config.buffer_bytes);
        buffers.register(&ring.submitter()).map_err(RingError::setup)?;
        let peer = || Peer {
            // SAFETY: sockaddr_storage is plain data, for which all zeroes is a valid value.
            storage: unsafe { std::mem::zeroed() },
            len: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        };
        config.peers[usize::from(config.shard)].store(ring.as_raw_fd(), Ordering::Release);
        let mut this = Self {
            ring,
            buffers,
            accepts: (0..config.accepts).map(|_| peer()).collect(),
            in_flight: (0..table).map(|_| None).collect(),
            dials: HashMap::new(),
            waiting: VecDeque::new(),
            completions: Vec::with_capacity(CQ_ENTRIES as usize),
            listener,
            peers: config.peers,
            wake: config.wake,
            #[allow(clippy::disallowed_methods, reason = "this is the clock that shards are given")]
            started: Instant::now(),
        };
        this.watch_wakes();
        Ok(this)
    }

    fn watch_wakes(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.wake.as_raw_fd()), libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(op::WAKE << 56));
    }

    fn push(&mut self, entry: squeue::Entry) {
        if !self.waiting.is_empty() || !self.try_push(&entry) {
            self.waiting.push_back(entry);
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: every pointer in an entry refers to memory that outlives the operation: receive
        // buffers and accept addresses live as long as the ring, sends are kept in `in_flight`,
        // addresses to connect to in `dials`.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return true;
        }
        // Full: hand over what is there; an error shows again, and is handled, in `wait`.
        let _ = self.ring.submit();
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    fn push_waiting(&mut self) {
        while let Some(entry) = self.waiting.pop_front() {
            if !self.try_push(&entry) {
                self.waiting.push_front(entry);
                break;
            }
        }
    }

    fn peer(&self, accept: u16) -> SocketAddr {
        let peer = &self.accepts[usize::from(accept)];
        if i32::from(peer.storage.ss_family) == libc::AF_INET6 {
            // SAFETY: the kernel wrote an address of family AF_INET6, which is a sockaddr_in6; the
            // storage is large enough and aligned for every kind of address.
            let v6 = unsafe { &*std::ptr::from_ref(&peer.storage).cast::<libc::sockaddr_in6>() };
            return (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port)).into();
        }
        // SAFETY: as above, for AF_INET and sockaddr_in.
        let v4 = unsafe { &*std::ptr::from_ref(&peer.storage).cast::<libc::sockaddr_in>() };
        (Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port)).into()
    }

    fn event(&mut self, data: u64, result: i32, flags: u32) -> Option<Event> {
        let at = address(data);
        let outcome =
            || if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as usize) };
        Some(match data >> 56 {
            op::RECV => return Some(self.received(at, result, flags)),
            op::SEND => {
                let kept = self.in_flight[at.slot as usize].take();
                let (data, from) = kept.expect("a send in flight keeps its bytes");
                Event::Sent { at, data, result: outcome().map(|sent| from + sent) }
            }
            op::ACCEPT => {
                let accept = at.slot as u16;
                match outcome() {
                    Ok(slot) => Event::Accepted { accept, slot: slot as u32, peer: self.peer(accept) },
                    Err(error) => Event::AcceptFailed { accept, error },
                }
            }
            op::SHUTDOWN => Event::ShutDown { at, both: true },
            op::HALF_SHUTDOWN => Event::ShutDown { at, both: false },
            op::CLOSE => Event::Closed { at },
            op::PASS => Event::Passed { at, result: outcome().map(drop) },
            op::DIAL => {
                self.dials.remove(&at.slot);
                Event::Dialed { at, result: outcome().map(drop) }
            }
            op::ARRIVED => Event::Arrived { slot: result as u32, token: data & ((1 << 56) - 1) },
            op::WAKE => {
                if !cqueue::more(flags) {
                    self.watch_wakes();
                }
                Event::Woken
            }
            _ => return None,
        })
    }

    fn received(&mut self, at: Address, result: i32, flags: u32) -> Event {
        let buffer = cqueue::buffer_select(flags);
        if result > 0
            && let Some(id) = buffer
        {
            let buffer = Buffer { id, len: result as u32 };
            return Event::Received { at, buffer, more: cqueue::more(flags) };
        }
        if let Some(id) = buffer {
            self.buffers.release(Buffer { id, len: 0 });
        }
        match -result {
            0 => Event::ReceiveEnded { at, error: None },
            libc::ENOBUFS => Event::ReceiveStarved { at },
            errno => Event::ReceiveEnded { at, error: Some(io::Error::from_raw_os_error(errno)) },
        }
    }

    /// Submits what was noted and takes what happened within `pause`.
    fn turn(&mut self, pause: Duration, events: &mut Vec<Event>) -> io::Result<()> {
        self.buffers.publish();
        self.push_waiting();
        let pause = if self.waiting.is_empty() { pause } else { Duration::ZERO };
        let timeout = Timespec::from(pause);
        match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)) {
            Ok(_) => {}
            // The time is over; a signal came; completions must be taken before more can be submitted.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) => {}
            Err(e) => return Err(e),
        }
        let mut completions = std::mem::take(&mut self.completions);
        completions.extend(self.ring.completion());
        for done in completions.drain(..) {
            events.extend(self.event(done.user_data(), done.result(), done.flags()));
        }
        self.completions = completions;
        Ok(())
    }
}

impl Dial for UringRing {
    fn dial(&mut self, at: Address, call: &Call) -> io::Result<()> {
        let socket = socket(call)?;
        // The table holds the socket from here on, and the descriptor is closed when this returns.
        self.ring.submitter().register_files_update(at.slot, &[socket.as_raw_fd()])?;
        let address = Box::new(SockAddr::from(call.to));
        let entry = opcode::Connect::new(Fixed(at.slot), address.as_ptr().cast(), address.len());
        self.dials.insert(at.slot, address);
        self.push(entry.build().user_data(data(op::DIAL, at)));
        Ok(())
    }

    fn wait_for(&mut self, pause: Duration, events: &mut Vec<Event>) -> io::Result<()> {
        self.turn(pause, events)
    }
}

impl Ring for UringRing {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that shards are given")]
    fn now(&self) -> Mono {
        Mono(Instant::now().duration_since(self.started).as_millis() as u64)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock that shards are given")]
    fn unix(&self) -> UnixMs {
        UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
    }

    fn wait(&mut self, until: Mono, events: &mut Vec<Event>) -> io::Result<()> {
        self.turn(Duration::from_millis(until.0.saturating_sub(self.now().0)), events)
    }

    fn accept(&mut self, accept: u16) {
        let Some(listener) = &self.listener else { return };
        let fd = Fd(listener.fd());
        let peer = &mut self.accepts[usize::from(accept)];
        peer.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let storage = std::ptr::from_mut(&mut peer.storage).cast();
        let entry = opcode::Accept::new(fd, storage, &mut peer.len)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        self.push(entry.user_data(data(op::ACCEPT, Address { slot: accept.into(), generation: 0 })));
    }

    fn stop_accepting(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        let armed = CancelBuilder::fd(Fd(listener.fd())).all();
        // Synchronous, so that the listener can be closed right after it.
        let _ = self.ring.submit();
        if let Err(error) = self.ring.submitter().register_sync_cancel(None, armed) {
            tracing::debug!(%error, "no accept was armed");
        }
    }

    fn recv(&mut self, at: Address, how: Receive) {
        let entry = match how {
            Receive::Many => opcode::RecvMulti::new(Fixed(at.slot), GROUP).build(),
            Receive::Once => opcode::Recv::new(Fixed(at.slot), std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        self.push(entry.user_data(data(op::RECV, at)));
    }

    fn send(&mut self, at: Address, outgoing: Outgoing, from: usize) {
        let bytes = &outgoing.as_slice()[from..];
        let (start, len) = (bytes.as_ptr(), bytes.len() as u32);
        let kept = self.in_flight[at.slot as usize].replace((outgoing, from));
        assert!(kept.is_none(), "one send in flight per socket");
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        self.push(
            opcode::Send::new(Fixed(at.slot), start, len).flags(flags).build().user_data(data(op::SEND, at)),
        );
    }

    fn shutdown(&mut self, at: Address, both: bool) {
        let (op, how) =
            if both { (op::SHUTDOWN, libc::SHUT_RDWR) } else { (op::HALF_SHUTDOWN, libc::SHUT_WR) };
        self.push(opcode::Shutdown::new(Fixed(at.slot), how).build().user_data(data(op, at)));
    }

    fn close(&mut self, at: Address) {
        self.push(opcode::Close::new(Fixed(at.slot)).build().user_data(data(op::CLOSE, at)));
    }

    fn pass(&mut self, at: Address, shard: u16, token: u64) {
        let target: RawFd = self.peers[usize::from(shard)].load(Ordering::Acquire);
        let arrived = op::ARRIVED << 56 | token;
        let entry =
            opcode::MsgRingSendFd::new(Fd(target), Fixed(at.slot), DestinationSlot::auto_target(), arrived)
                .build();
        self.push(entry.user_data(data(op::PASS, at)));
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.buffers.bytes(buffer)
    }

    fn release(&mut self, buffer: Buffer) {
        self.buffers.release(buffer);
    }
}

impl Drop for UringRing {
    fn drop(&mut self) {
        // Ends what is armed while its memory is still there.
        let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        // A send may still be read by the kernel while it tears the ring down: its bytes stay.
        for outgoing in self.in_flight.drain(..).flatten() {
            std::mem::forget(outgoing);
        }
    }
}
