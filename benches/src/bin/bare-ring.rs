//! The baseline: an echo server on a bare io_uring, with as little around it as an honest answer
//! allows. What the engine costs beyond this is what the engine costs.
//!
//! `cargo run --release -p ringway-benches --bin bare-ring -- 127.0.0.1:9001`
#![allow(unsafe_code, reason = "the raw ring is what this measures")]

use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

const BUFFERS: u16 = 4_096;
const BUFFER_BYTES: usize = 1_024;
const SLOTS: u32 = 19_900;

const ACCEPT: u64 = 1;
const RECV: u64 = 2;
const REPLY: u64 = 3;
const ECHO: u64 = 4;
const CLOSE: u64 = 5;

struct Server {
    ring: IoUring,
    listener: Socket,
    descriptors: *mut BufRingEntry,
    bytes: *mut u8,
    tail: u16,
    open: Vec<bool>,
    replies: HashMap<u32, Vec<u8>>,
}

fn main() {
    let address: SocketAddr = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or_else(|| {
        eprintln!("usage: bare-ring IP:PORT");
        std::process::exit(64);
    });
    let mut server = Server::new(address).unwrap_or_else(|error| {
        eprintln!("bare-ring: {address}: {error}");
        std::process::exit(69);
    });
    println!("bare-ring listens on ws://{address}/");
    loop {
        server.turn();
    }
}

fn pages(bytes: usize) -> *mut u8 {
    // SAFETY: an anonymous private mapping touches no memory that exists already.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "no memory");
    start.cast()
}

impl Server {
    fn new(address: SocketAddr) -> std::io::Result<Self> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.set_tcp_nodelay(true)?;
        listener.bind(&address.into())?;
        listener.listen(4_096)?;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(16_384)
            .build(1_024)?;
        ring.submitter().register_files_sparse(SLOTS)?;
        let descriptors = pages(usize::from(BUFFERS) * size_of::<BufRingEntry>()).cast();
        let bytes = pages(usize::from(BUFFERS) * BUFFER_BYTES);
        // SAFETY: the descriptors are a page-aligned mapping of that many entries that is never unmapped.
        unsafe { ring.submitter().register_buf_ring_with_flags(descriptors as u64, BUFFERS, 1, 0)? };
        let open = vec![false; SLOTS as usize];
        let mut server = Self { ring, listener, descriptors, bytes, tail: 0, open, replies: HashMap::new() };
        for id in 0..BUFFERS {
            server.lend(id);
        }
        server.accept();
        Ok(server)
    }

    fn accept(&mut self) {
        let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).allocate_file_index(true).build();
        self.push(entry.user_data(ACCEPT << 56));
    }

    fn lend(&mut self, id: u16) {
        // SAFETY: the index is below BUFFERS; this thread alone writes descriptors, and the kernel
        // reads only those below the tail that is stored last.
        unsafe {
            let entry = &mut *self.descriptors.add(usize::from(self.tail & (BUFFERS - 1)));
            entry.set_addr(self.bytes.add(usize::from(id) * BUFFER_BYTES) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            (*BufRingEntry::tail(self.descriptors).cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what entries point to are buffers of the pool, or replies kept until they are sent.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            let _ = self.ring.submit();
        }
    }

    fn recv(&mut self, slot: u32) {
        self.push(opcode::RecvMulti::new(Fixed(slot), 1).build().user_data(RECV << 56 | u64::from(slot)));
    }

    fn send(&mut self, slot: u32, start: *const u8, len: usize, data: u64) {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = opcode::Send::new(Fixed(slot), start, len as u32).flags(flags).build();
        self.push(entry.user_data(data | u64::from(slot)));
    }

    fn turn(&mut self) {
        let _ = self.ring.submit_and_wait(1);
        let done: Vec<_> = self.ring.completion().map(|c| (c.user_data(), c.result(), c.flags())).collect();
        for (data, result, flags) in done {
            let slot = data as u32;
            match data >> 56 {
                ACCEPT => {
                    if result >= 0 {
                        self.open[result as usize] = false;
                        self.recv(result as u32);
                    }
                    if !cqueue::more(flags) {
                        self.accept();
                    }
                }
                RECV => self.received(slot, result, flags),
                REPLY => drop(self.replies.remove(&slot)),
                ECHO => self.lend((data >> 32) as u16),
                _ => {}
            }
        }
    }

    fn received(&mut self, slot: u32, result: i32, flags: u32) {
        let Some(id) = cqueue::buffer_select(flags) else {
            if result == -libc::ENOBUFS {
                return self.recv(slot);
            }
            return self.push(opcode::Close::new(Fixed(slot)).build().user_data(CLOSE << 56));
        };
        if result <= 0 {
            self.lend(id);
            return self.push(opcode::Close::new(Fixed(slot)).build().user_data(CLOSE << 56));
        }
        if !cqueue::more(flags) {
            self.recv(slot);
        }
        // SAFETY: the kernel gave buffer `id` back with `result` bytes and does not touch it until it is lent.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(self.bytes.add(usize::from(id) * BUFFER_BYTES), result as usize)
        };
        if self.open[slot as usize] {
            return self.echo(slot, id, bytes);
        }
        self.open[slot as usize] = true;
        let reply = upgrade(bytes);
        self.lend(id);
        let (start, len) = (reply.as_ptr(), reply.len());
        self.replies.insert(slot, reply);
        self.send(slot, start, len, REPLY << 56);
    }

    /// Turns one whole masked frame into the server's, in place; that is all a client of the bench
    /// sends with one message in flight.
    fn echo(&mut self, slot: u32, id: u16, bytes: &mut [u8]) {
        let len = usize::from(bytes[1] & 127);
        let (header, payload) = match len {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            127 => (10, usize::MAX),
            len => (2, len),
        };
        if header + 4 + payload != bytes.len() {
            eprintln!("bare-ring: one whole frame per read is expected, up to {BUFFER_BYTES} bytes");
            std::process::exit(70);
        }
        let mask: [u8; 4] = bytes[header..header + 4].try_into().expect("four bytes");
        let word = u64::from(u32::from_ne_bytes(mask)) << 32 | u64::from(u32::from_ne_bytes(mask));
        let mut chunks = bytes[header + 4..].chunks_exact_mut(8);
        for chunk in &mut chunks {
            let plain = u64::from_ne_bytes(chunk.try_into().expect("eight bytes")) ^ word;
            chunk.copy_from_slice(&plain.to_ne_bytes());
        }
        for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
            *byte ^= mask;
        }
        bytes[1] &= 127;
        bytes.copy_within(0..header, 4);
        let (start, len) = (bytes[4..].as_ptr(), bytes.len() - 4);
        self.send(slot, start, len, ECHO << 56 | u64::from(id) << 32);
    }
}

fn upgrade(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = tungstenite::handshake::derive_accept_key(key.unwrap_or_default().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}
