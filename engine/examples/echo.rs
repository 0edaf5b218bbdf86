//! A listener of the real session and shard that lets anybody in (`?user=N`): for conformance suites
//! and for measuring the engine by itself. No part of the product. It echoes every message, or, with
//! `--relay`, is the chat over the loop-back road: parse, check, route, frame, and nothing stored.
//!
//! `cargo run --release -p ringway-engine --example echo -- --listen 127.0.0.1:9002 --core 0`

use bus::loopback::Loopback;
use engine::gateway::{Gateway, GatewayConfig, inboxes};
use engine::session::Policy;
use engine::shard::{Chat, Echo};
use protocol::command::Parser;
use protocol::{GatewayId, Limits, Rate};
use std::sync::Arc;
use std::time::Duration;

/// As in `ringway`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Looked at for each command, and never reached: a closed loop is faster than users are.
const UNREACHED: Rate = Rate::new(1_000_000, 1_000_000);

const USAGE: &str = "usage: echo [--listen 127.0.0.1:9002] [--core N] [--shards N] [--relay MEMBERS] [--wide]
  --relay  chat over the loop-back road, every group having the users 1 to MEMBERS; one shard
  --wide   messages up to 16 MiB and binary frames, as conformance suites send them";

fn main() {
    let mut config = GatewayConfig {
        listen: "127.0.0.1:9002".parse().expect("a valid address"),
        gateway: GatewayId::new("echo").expect("a valid id"),
        boot_epoch: 1,
        shards: 1,
        cores: vec![],
        limits: Limits { binary: true, user_rate: UNREACHED, ..Limits::default() },
        policy: Arc::new(Policy { keys: None, origins: vec![] }),
    };
    let mut relay = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage(&format!("{arg} needs a value")));
        match arg.as_str() {
            "--listen" => config.listen = value().parse().unwrap_or_else(|_| usage("--listen needs IP:PORT")),
            "--core" => {
                config.cores = vec![value().parse().unwrap_or_else(|_| usage("--core needs a number"))]
            }
            "--shards" => {
                config.shards = value().parse().unwrap_or_else(|_| usage("--shards needs a number"))
            }
            "--relay" => relay = Some(value().parse().unwrap_or_else(|_| usage("--relay needs a number"))),
            "--wide" => widen(&mut config.limits),
            _ => usage(&format!("unknown argument {arg}")),
        }
    }
    let gateway = inboxes(config.shards).and_then(|inboxes| match relay {
        None => Gateway::start(&config, inboxes, |_| Echo),
        Some(members) => Gateway::start(&config, inboxes, |shard| {
            Chat::new(Loopback::new(members), Parser::new(), config.gateway, config.boot_epoch, shard)
        }),
    });
    let gateway = gateway.unwrap_or_else(|error| {
        eprintln!("echo: {error}");
        std::process::exit(69);
    });
    println!("echo listens on ws://{}/ws", gateway.address());
    if let Err(error) = gateway.join() {
        eprintln!("echo: {error}");
        std::process::exit(70);
    }
}

fn widen(limits: &mut Limits) {
    limits.message_bytes_max = 16 << 20;
    limits.egress_bytes_max = 64 << 20;
    limits.fragments_max = 1 << 20;
    limits.heartbeat = Duration::from_secs(300);
}

fn usage(problem: &str) -> ! {
    eprintln!("echo: {problem}\n{USAGE}");
    std::process::exit(64);
}
