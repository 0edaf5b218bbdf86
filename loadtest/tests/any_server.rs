//! A load run speaks to servers that are no Ringway, counts what they count, and sees what they do wrong.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a server of the tests shares its rooms; it is no shard"
)]

mod rooms;

use engine::gateway::{Gateway, GatewayConfig, inboxes};
use engine::session::Policy;
use engine::shard::Echo;
use loadtest::judge::FaultKind;
use loadtest::report::Report;
use loadtest::scenario::Scenario;
use loadtest::{Options, Protocol, User, run, target};
use protocol::{GatewayId, Limits};
use rooms::{Rooms, Wrong};
use std::net::SocketAddr;
use std::sync::Arc;

const OPEN: &str = "connections = 12\n[[phase]]\nkind = \"hold\"\nduration = \"1s\"\nrate = 200\n";
const CLOSED: &str = "connections = 12\n[arrival]\nkind = \"closed\"\ndepth = 3\nthink_max = \"20ms\"\n\
                      [[phase]]\nkind = \"hold\"\nduration = \"1s\"\n";

fn load(protocol: &str, address: SocketAddr, path: &str, scenario: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let scenario = Scenario::read("test", scenario).unwrap();
    let targets = vec![target(&format!("ws://{address}{path}")).unwrap()];
    let users = (1..=12).map(|id| User { id, token: String::new() }).collect();
    let options = Options {
        protocol: protocol.parse::<Protocol>().unwrap(),
        room_size: 4,
        ledger: folder.path().join("none"),
        shards: 2,
        server_pids: vec![std::process::id()],
        thresholds: vec!["delivered.p(99)<10s".parse().unwrap(), "lost==0".parse().unwrap()],
        ..Options::new(scenario, targets, users)
    };
    let report = run(&options).unwrap();
    assert!(!options.ledger.exists(), "nobody keeps a ledger of a peer");
    report
}

/// A run in which nothing is wrong, and whose counts are those of the server.
fn sound(protocol: &str, path: &str, scenario: &str, recipients: u64) {
    let rooms = Rooms::start(Wrong::Nothing);
    let report = load(protocol, rooms.address, path, scenario);
    let verdict = &report.verdict;
    assert!(verdict.clean && report.is_ok(true), "{report}");
    assert!(verdict.sent >= 100, "{report}");
    assert_eq!((verdict.sent, verdict.delivered), rooms.counts(), "{report}");
    assert_eq!(verdict.delivered, recipients * verdict.sent);
    assert_eq!(report.latencies["delivered"].due.count, verdict.delivered);
    assert!(report.server.is_some_and(|server| server.cpu_us_per_delivery.is_some()));
}

/// What is wrong in a run with a server that is.
fn wrong(wrong: Wrong) -> Vec<(FaultKind, u64)> {
    let rooms = Rooms::start(wrong);
    let report = load("raw-room", rooms.address, "/room/{room}", OPEN);
    let verdict = report.verdict;
    assert!(!verdict.clean && report.observed.own == 0);
    assert_eq!(verdict.faults.len(), 1, "it is named: {:?}", verdict.faults);
    verdict.counts.into_iter().collect()
}

#[test]
fn an_echo_sends_back_what_each_connection_sent() {
    sound("raw-echo", "/echo", OPEN, 1);
    sound("raw-echo", "/echo", CLOSED, 1);
}

#[test]
fn a_relay_delivers_to_the_other_of_a_pair() {
    sound("raw-relay", "/relay/{room}", OPEN, 1);
    sound("raw-relay", "/relay", CLOSED, 1);
}

#[test]
fn a_room_delivers_to_all_others() {
    sound("raw-room", "/room/{room}", OPEN, 3);
    sound("raw-room", "/room", CLOSED, 3);
}

#[test]
fn the_engines_own_echo_is_a_peer() {
    let config = GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        gateway: GatewayId::new("echo").unwrap(),
        boot_epoch: 1,
        shards: 1,
        cores: vec![],
        limits: Limits { binary: true, ..Limits::default() },
        policy: Arc::new(Policy { keys: None, origins: vec![] }),
    };
    let gateway = Gateway::start(&config, inboxes(1).unwrap(), |_| Echo).unwrap();
    let report = load("raw-echo", gateway.address(), "/ws?user={user}", OPEN);
    assert!(report.verdict.clean && report.verdict.delivered == 200, "{report}");
    gateway.close();
    gateway.join().unwrap();
}

#[test]
fn a_message_that_is_dropped_is_lost() {
    assert_eq!(wrong(Wrong::Drops(50)), [(FaultKind::Lost, 1)]);
}

#[test]
fn a_message_that_comes_twice_is_doubled() {
    assert_eq!(wrong(Wrong::Doubles(50)), [(FaultKind::Doubled, 1)]);
}

#[test]
fn a_message_for_another_room_is_foreign() {
    assert_eq!(wrong(Wrong::Misleads(50)), [(FaultKind::Foreign, 1)]);
}

#[test]
fn a_message_that_its_senders_next_one_passes_is_out_of_order() {
    // In a pair, the next to the same member is the sender's next.
    let rooms = Rooms::start(Wrong::Delays(50));
    let report = load("raw-relay", rooms.address, "/relay/{room}", OPEN);
    assert_eq!(report.verdict.counts.into_iter().collect::<Vec<_>>(), [(FaultKind::Reordered, 1)]);
}
