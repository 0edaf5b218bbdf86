//! Pairs of users at a constant rate, from one thread on epoll: what `ringway load` is checked
//! against. Shares no code with it; `--help` says what it does.
#![allow(clippy::disallowed_methods, reason = "a client measures with the clock; it is no shard")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use rustix::event::epoll;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "Examples:
  ringway token --users 1..100 > tokens.txt
  pairs --target 127.0.0.1:8080 --tokens tokens.txt -R 1000 -d 20
Exit codes: 0 ok, 64 usage, 69 the server is unavailable.";
/// How long answers are waited for after the last message.
const DRAIN: Duration = Duration::from_secs(2);

/// Users 1 and 2, 3 and 4 … write to each other at a constant rate; latency counts from when a message was due.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// The server
    #[arg(long)]
    target: SocketAddr,
    /// Tokens of users 1, 2, 3 …, one per line: a connection each
    #[arg(long)]
    tokens: PathBuf,
    /// Messages a second, over all users
    #[arg(short = 'R', long, default_value_t = 1_000)]
    rate: u64,
    /// Seconds to send and measure
    #[arg(short, long, default_value_t = 10)]
    duration: u64,
    /// Seconds to send before that, unmeasured
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// Bytes of a message's content
    #[arg(long, default_value_t = 100)]
    payload: usize,
}

struct Client {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

/// What came back.
struct Seen {
    start: Instant,
    /// Due times from here on count, nanoseconds after the start.
    measured_ns: u64,
    persisted: Histogram<u64>,
    delivered: Histogram<u64>,
}

fn main() {
    let args = Args::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    if let Err(error) = run(&args) {
        eprintln!("pairs: {error:#}");
        std::process::exit(69);
    }
}

fn run(args: &Args) -> Result<()> {
    let tokens = std::fs::read_to_string(&args.tokens).context("cannot read the tokens")?;
    let mut clients = tokens.lines().map(|token| connect(args.target, token)).collect::<Result<Vec<_>>>()?;
    ensure!(clients.len() >= 2 && clients.len().is_multiple_of(2), "an even number of tokens is needed");
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, client) in clients.iter().enumerate() {
        epoll::add(&poll, &client.stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
    }
    std::thread::sleep(Duration::from_millis(300));
    let histogram = || Histogram::<u64>::new_with_bounds(1, 600_000_000_000, 3);
    let start = Instant::now();
    let mut seen = Seen {
        start,
        measured_ns: args.warmup * 1_000_000_000,
        persisted: histogram()?,
        delivered: histogram()?,
    };
    let nonce = std::process::id();
    let (all, mut sent, mut chance) =
        (args.rate * (args.warmup + args.duration), 0, 88_172_645_463_325_252u64);
    let due_ns = |k: u64| k * 1_000_000_000 / args.rate;
    let end = start + Duration::from_secs(args.warmup + args.duration) + DRAIN;
    let mut events = Vec::with_capacity(1_024);
    while Instant::now() < end {
        while sent < all && due_ns(sent) <= start.elapsed().as_nanos() as u64 {
            // Marsaglia's xorshift: who sends is not a matter of order.
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let user = (chance % clients.len() as u64) as usize;
            let text = message(nonce, due_ns(sent), user as u64 + 1, args.payload);
            clients[user].send(text.as_bytes())?;
            sent += 1;
        }
        let next = if sent < all { due_ns(sent) } else { u64::MAX };
        let pause = next.saturating_sub(start.elapsed().as_nanos() as u64).min(50_000_000);
        // epoll counts milliseconds, and rounds up: the last one is spent looking, or all would go out late.
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: pause.saturating_sub(1_000_000) as _ };
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&pause))?;
        for event in &events {
            clients[event.data.u64() as usize].receive(&mut seen)?;
        }
    }
    let measured = args.rate * args.duration;
    println!("sent {sent}, of which measured {measured}");
    for (name, h) in [("persisted", &seen.persisted), ("delivered", &seen.delivered)] {
        let ms = |q| h.value_at_quantile(q) as f64 / 1e6;
        println!("{name} {} p50 {:.3} ms p90 {:.3} ms p99 {:.3} ms", h.len(), ms(0.5), ms(0.9), ms(0.99));
    }
    Ok(())
}

fn message(nonce: u32, due_ns: u64, user: u64, payload: usize) -> String {
    let (low, high) = if user % 2 == 1 { (user, user + 1) } else { (user - 1, user) };
    let content = format!("{due_ns} ");
    format!(
        "{{\"type\":\"send-message\",\"data\":{{\"tempMessageId\":\"{nonce}-{due_ns}-{user}\",\"conversationId\":\"single_{low}_{high}\",\
         \"content\":\"{content:x<payload$}\",\"messageType\":\"text\"}}}}"
    )
}

fn connect(target: SocketAddr, token: &str) -> Result<Client> {
    let mut stream = TcpStream::connect(target).with_context(|| format!("cannot connect to {target}"))?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {target}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut inbox = vec![];
    let end = loop {
        let mut piece = [0; 1_024];
        let len = stream.read(&mut piece)?;
        ensure!(len > 0, "the server closed during the upgrade");
        inbox.extend_from_slice(&piece[..len]);
        if let Some(at) = inbox.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    ensure!(inbox.starts_with(b"HTTP/1.1 101"), "not upgraded: {}", String::from_utf8_lossy(&inbox));
    inbox.drain(..end);
    stream.set_nonblocking(true)?;
    Ok(Client { stream, inbox, outbox: vec![] })
}

impl Client {
    /// Sends a masked frame; the mask is zero, which is a mask.
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.outbox.push(0x81);
        match payload.len() {
            len @ 0..126 => self.outbox.push(0x80 | len as u8),
            len => {
                self.outbox.push(0x80 | 126);
                self.outbox.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        self.outbox.extend_from_slice(&[0; 4]);
        self.outbox.extend_from_slice(payload);
        match self.stream.write(&self.outbox) {
            Ok(len) => drop(self.outbox.drain(..len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("a send failed"),
        }
        Ok(())
    }

    fn receive(&mut self, seen: &mut Seen) -> Result<()> {
        let mut piece = [0; 65_536];
        match self.stream.read(&mut piece) {
            Ok(len) => {
                ensure!(len > 0, "the server closed a connection");
                self.inbox.extend_from_slice(&piece[..len]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("a receive failed"),
        }
        let now_ns = seen.start.elapsed().as_nanos() as u64;
        let mut at = 0;
        while let Some(rest) = self.inbox.get(at..).filter(|rest| rest.len() >= 4) {
            let (header, len) = match rest[1] {
                126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                len => (2, usize::from(len)),
            };
            let Some(payload) = rest.get(header..header + len) else { break };
            seen.take(payload, now_ns);
            at += header + len;
        }
        self.inbox.drain(..at);
        Ok(())
    }
}

impl Seen {
    fn take(&mut self, payload: &[u8], now_ns: u64) {
        let Ok(text) = std::str::from_utf8(payload) else { return };
        let after = |mark: &str| {
            let rest = text.split_once(mark)?.1;
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..end].parse::<u64>().ok()
        };
        let (histogram, due_ns) = if text.starts_with("{\"type\":\"new-message\"") {
            (&mut self.delivered, after("\"content\":\""))
        } else if text.contains("\"persisted\"") {
            let id = text
                .split_once("\"tempMessageId\":\"")
                .and_then(|(_, rest)| rest.split('-').nth(1)?.parse().ok());
            (&mut self.persisted, id)
        } else {
            return;
        };
        if let Some(due_ns) = due_ns.filter(|due_ns| *due_ns >= self.measured_ns) {
            histogram.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }
}
