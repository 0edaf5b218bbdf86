//! A small load client on epoll, so that figures have a counterpart that shares no code with the
//! engine. One thread; `--help` says what it does.
#![allow(clippy::disallowed_methods, reason = "a client measures with the clock; it is no shard")]

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use rustix::event::epoll;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "Examples:
  load echo    --target 127.0.0.1:9002 -c 200 -d 10 --server-pid 4711
  load relay   --target 127.0.0.1:9003 -c 200 --depth 16 -d 10
  load fan-out --target 127.0.0.1:9003 -c 1000 --depth 2 -d 10
  load idle    --target 127.0.0.1:9002 -c 19000 --sources 4 --server-pid 4711

Users are 1 to N: with --tokens one token per line, else as ?user=N.
Exit codes: 0 ok, 64 usage, 69 the server is unavailable.";

/// Load on a WebSocket server, from one thread.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// What to do
    mode: Mode,
    /// The server
    #[arg(long, default_value = "127.0.0.1:9002")]
    target: SocketAddr,
    /// Connections
    #[arg(short, long, default_value_t = 200)]
    connections: usize,
    /// Messages in flight per connection, pair or sender
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Seconds to measure
    #[arg(short, long, default_value_t = 10)]
    duration: u64,
    /// Seconds before measuring
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Source addresses 127.0.0.1, 127.0.0.2 …, for more connections than there are ports
    #[arg(long, default_value_t = 1)]
    sources: u8,
    /// The server's process: its CPU time and memory are measured
    #[arg(long)]
    server_pid: Option<u32>,
    /// Tokens, one per line
    #[arg(long)]
    tokens: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Binary frames that the server sends back
    Echo,
    /// Pairs of users that answer each other's messages
    Relay,
    /// One user sends into a group, all others receive
    FanOut,
    /// Connections that do nothing
    Idle,
}

struct Client {
    socket: Socket,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    sent_at: std::collections::VecDeque<Instant>,
    frame: Vec<u8>,
}

fn main() {
    let args = Args::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    if let Err(error) = run(&args) {
        eprintln!("load: {error:#}");
        std::process::exit(69);
    }
}

fn run(args: &Args) -> Result<()> {
    let tokens = match &args.tokens {
        None => vec![],
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            text.lines().map(str::to_owned).collect()
        }
    };
    ensure!(args.tokens.is_none() || tokens.len() >= args.connections, "a token per connection is needed");
    let memory = |at: &str| {
        let bytes = args.server_pid.and_then(rss_bytes).unwrap_or(0);
        println!("{at}: server RSS {bytes} bytes");
        bytes
    };
    let mut marks = vec![];
    if args.mode == Mode::Idle {
        memory("0 connections");
    }
    let mut clients = Vec::with_capacity(args.connections);
    let started = Instant::now();
    let mut told = started;
    for index in 0..args.connections {
        clients.push(
            connect(args, index, tokens.get(index)).with_context(|| format!("connection {}", index + 1))?,
        );
        if told.elapsed() > Duration::from_secs(2) {
            eprintln!("{} of {} connections", index + 1, args.connections);
            told = Instant::now();
        }
        if args.mode == Mode::Idle && (index + 1 == args.connections / 2 || index + 1 == args.connections) {
            std::thread::sleep(Duration::from_secs(1));
            marks.push((index + 1, memory(&format!("{} connections", index + 1))));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{} connections in {seconds:.2} s", clients.len());
    if let [(few, before), (many, after)] = marks[..] {
        let slope = (after as f64 - before as f64) / (many - few) as f64;
        println!("bytes_per_connection {slope:.0} (RSS slope between {few} and {many})");
        return Ok(());
    }
    measure(args, &mut clients)
}

fn connect(args: &Args, index: usize, token: Option<&String>) -> Result<Client> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    if args.sources > 1 {
        let source = Ipv4Addr::new(127, 0, 0, 1 + (index % usize::from(args.sources)) as u8);
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
    }
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket
        .connect(&args.target.into())
        .with_context(|| format!("cannot connect to {}: is the server up?", args.target))?;
    let query = token.map_or_else(|| format!("user={}", index + 1), |token| format!("token={token}"));
    let request = format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        args.target
    );
    (&socket).write_all(request.as_bytes())?;
    let mut inbox = vec![];
    let end = loop {
        let mut piece = [0; 1024];
        let len = (&socket).read(&mut piece).context("no answer to the upgrade")?;
        ensure!(len > 0, "the server closed during the upgrade: {}", String::from_utf8_lossy(&inbox));
        inbox.extend_from_slice(&piece[..len]);
        if let Some(at) = inbox.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    ensure!(inbox.starts_with(b"HTTP/1.1 101"), "not upgraded: {}", String::from_utf8_lossy(&inbox));
    inbox.drain(..end);
    socket.set_nonblocking(true)?;
    let frame = frame(args, index);
    Ok(Client { socket, inbox, outbox: vec![], sent_at: Default::default(), frame })
}

/// The masked frame that a connection sends again and again; the mask is zero, which is a mask.
fn frame(args: &Args, index: usize) -> Vec<u8> {
    let user = index as u64 + 1;
    let (opcode, payload) = match args.mode {
        Mode::Echo | Mode::Idle => (2, vec![b'x'; args.size]),
        Mode::Relay | Mode::FanOut => {
            let (a, b) = if user % 2 == 1 { (user, user + 1) } else { (user - 1, user) };
            let to = if args.mode == Mode::Relay { format!("single_{a}_{b}") } else { "group_1".to_owned() };
            let head = format!(
                "{{\"type\":\"send-message\",\"data\":{{\"tempMessageId\":\"0\",\"conversationId\":\"{to}\",\"messageType\":\"text\",\"content\":\""
            );
            let fill = args.size.saturating_sub(head.len() + 3).max(1);
            (1, format!("{head}{}\"}}}}", "x".repeat(fill)).into_bytes())
        }
    };
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&payload);
    frame
}

impl Client {
    fn send(&mut self, now: Instant) -> Result<()> {
        self.sent_at.push_back(now);
        let frame = std::mem::take(&mut self.frame);
        self.outbox.extend_from_slice(&frame);
        self.frame = frame;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            match (&self.socket).write(&self.outbox) {
                Ok(len) => drop(self.outbox.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a send failed"),
            }
        }
        Ok(())
    }

    /// Reads what is there; returns how many whole messages (of the kind that counts) came.
    fn receive(&mut self, counts: impl Fn(&[u8]) -> bool) -> Result<usize> {
        let mut piece = [0; 65_536];
        match (&self.socket).read(&mut piece) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(len) => self.inbox.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error).context("a receive failed"),
        }
        let (mut at, mut count) = (0, 0);
        while let Some(rest) = self.inbox.get(at..).filter(|rest| rest.len() >= 2) {
            let (header, len) = match rest[1] {
                126 if rest.len() >= 4 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                126 | 127 => break,
                len => (2, usize::from(len)),
            };
            let Some(payload) = rest.get(header..header + len) else { break };
            ensure!(rest[0] & 15 != 8, "the server closed: {:?}", String::from_utf8_lossy(payload));
            count += usize::from(counts(payload));
            at += header + len;
        }
        self.inbox.drain(..at);
        Ok(count)
    }
}

fn measure(args: &Args, clients: &mut [Client]) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, client) in clients.iter().enumerate() {
        let flags = epoll::EventFlags::IN;
        epoll::add(&poll, &client.socket, epoll::EventData::new_u64(index as u64), flags)?;
    }
    let counts =
        |payload: &[u8]| args.mode == Mode::Echo || payload.starts_with(b"{\"type\":\"new-message\"");
    let senders: Vec<_> = match args.mode {
        Mode::Relay => (0..clients.len()).step_by(2).collect(),
        Mode::FanOut => vec![0],
        Mode::Echo | Mode::Idle => (0..clients.len()).collect(),
    };
    std::thread::sleep(Duration::from_millis(300));
    for &sender in &senders {
        for _ in 0..args.depth {
            clients[sender].send(Instant::now())?;
        }
    }
    let warm = Instant::now() + Duration::from_secs(args.warmup);
    let end = warm + Duration::from_secs(args.duration);
    let (mut measured, mut deliveries, mut outstanding) = (None, 0u64, 0usize);
    let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut events = Vec::with_capacity(1_024);
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        if now >= warm && measured.is_none() {
            measured = Some((now, args.server_pid.and_then(cpu_seconds)));
            deliveries = 0;
            latency.reset();
        }
        events.clear();
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
        for event in &events {
            let index = event.data.u64() as usize;
            let count = clients[index].receive(counts)?;
            deliveries += count as u64;
            let now = Instant::now();
            for _ in 0..count {
                answer(args, clients, index, now, &mut latency, &mut outstanding)?;
            }
            clients[index].flush()?;
        }
    }
    let (from, cpu) = measured.context("the warm-up was not over")?;
    report(args, from.elapsed(), deliveries, cpu, &latency)
}

/// What a delivery leads to: the next message of whoever it was for, or of the group's sender.
fn answer(
    args: &Args,
    clients: &mut [Client],
    index: usize,
    now: Instant,
    latency: &mut Histogram<u64>,
    outstanding: &mut usize,
) -> Result<()> {
    let mut record = |sent: Option<Instant>| {
        if let Some(sent) = sent {
            latency.saturating_record((now - sent).as_nanos() as u64);
        }
    };
    match args.mode {
        Mode::FanOut => {
            *outstanding += 1;
            if outstanding.is_multiple_of(clients.len() - 1) {
                let sent = clients[0].sent_at.pop_front();
                record(sent);
                clients[0].send(now)?;
            }
        }
        Mode::Relay => {
            let sent = clients[index ^ 1].sent_at.pop_front();
            record(sent);
            clients[index].send(now)?;
        }
        Mode::Echo | Mode::Idle => {
            let sent = clients[index].sent_at.pop_front();
            record(sent);
            clients[index].send(now)?;
        }
    }
    Ok(())
}

fn report(
    args: &Args,
    took: Duration,
    deliveries: u64,
    cpu: Option<f64>,
    latency: &Histogram<u64>,
) -> Result<()> {
    ensure!(deliveries > 0, "nothing was delivered in {took:?}");
    let seconds = took.as_secs_f64();
    println!("deliveries {deliveries} in {seconds:.2} s, {:.0}/s", deliveries as f64 / seconds);
    let us = |q| latency.value_at_quantile(q) as f64 / 1000.0;
    println!("latency p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us", us(0.5), us(0.99), us(0.999));
    if let (Some(before), Some(after)) = (cpu, args.server_pid.and_then(cpu_seconds)) {
        println!("server_us_per_delivery {:.3}", (after - before) * 1e6 / deliveries as f64);
    }
    Ok(())
}

/// utime + stime of a process, seconds (proc(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

fn rss_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(text.split_whitespace().nth(1)?.parse::<u64>().ok()? * 4_096)
}
