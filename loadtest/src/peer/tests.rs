//! Clients of a peer in memory: what one sends is handed to others.

use super::{Frame, Language, Peer, Peers, Shape};
use crate::client::Shared;
use crate::counters::Counters;
use crate::dial::target;
use crate::judge::FaultKind;
use crate::ledger::writer::Batch;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

struct Members {
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    members: Vec<Peer>,
}

fn members(shape: Shape, size: usize, users: usize, depth: u64) -> Members {
    let counters = Counters { unacknowledged: true, ..Counters::default() };
    let (measured_from_us, sessions) = (AtomicU64::new(0), AtomicU64::new(0));
    let shared =
        Arc::new(Shared { run: "2a".into(), window: 1, own: None, measured_from_us, sessions, counters });
    let peers = Arc::new(Peers::new((Language::Raw, shape), size, users, 42, depth));
    let member = |user| Peer::new(user, Arc::clone(&shared), Arc::clone(&peers));
    let mut members: Vec<_> = (0..users as u32).map(member).collect();
    members.iter_mut().for_each(|member| member.opened(0));
    Members { shared, peers, members }
}

fn sent(peer: &mut Peer, now_us: u64) -> String {
    match peer.transmit(now_us) {
        Some(Frame::Text(text)) => text,
        other => panic!("expected a text, got {other:?}"),
    }
}

#[test]
fn who_gets_the_last_copy_of_a_message_sends_the_next() {
    let Members { shared, mut members, .. } = members(Shape::Room, 3, 3, 2);
    assert_eq!([0, 1, 2].map(|at| members[at].first_messages(2)), [2, 0, 0]);
    members[0].submit(5, 100);
    let text = sent(&mut members[0], 7);
    assert_eq!(text.len(), 100, "so many bytes in all");
    for (member, settled) in [(2, 0), (1, 1)] {
        members[member].receive(text.as_bytes(), 17).unwrap();
        assert_eq!(members[member].take_settled(), settled);
    }
    let mut batch = Batch::default();
    members[1].tell(&mut batch);
    assert_eq!((batch.samples[0].due_us, batch.samples[0].begun_us), (12, 10));
    members[1].submit(20, 100);
    let text = sent(&mut members[1], 20);
    members[0].receive(text.as_bytes(), 21).unwrap();
    assert!(!shared.counters.have_settled());
    members[2].receive(text.as_bytes(), 21).unwrap();
    assert_eq!((members[0].take_settled(), members[2].take_settled()), (0, 1));
    assert_eq!(shared.counters.in_flight(), 0);
}

#[test]
fn own_messages_that_a_room_brings_back_are_no_deliveries() {
    let Members { shared, peers, mut members } = members(Shape::Relay, 2, 2, 0);
    members[0].submit(0, 0);
    let text = sent(&mut members[0], 0);
    members[0].receive(text.as_bytes(), 1).unwrap();
    members[1].receive(text.as_bytes(), 1).unwrap();
    assert_eq!(peers.own(), 1);
    members.iter_mut().for_each(Peer::look_back);
    let verdict = peers.verdict(&shared.counters, true, true, false);
    assert!(verdict.clean && (verdict.sent, verdict.delivered) == (1, 1), "{verdict:?}");
}

#[test]
fn each_fault_is_counted_and_named() {
    let Members { shared, peers, mut members } = members(Shape::Relay, 2, 4, 0);
    (0..3).for_each(|due_us| members[0].submit(due_us, 0));
    let texts: Vec<_> = (0..3).map(|_| sent(&mut members[0], 9)).collect();
    let strange = texts[0].replace("\"42 ", "\"43 ");
    for text in [&texts[1], &texts[0], &texts[0], &strange, "garbage"] {
        members[1].receive(text.as_bytes(), 10).unwrap();
    }
    members[2].receive(texts[2].as_bytes(), 10).unwrap();
    members.iter_mut().for_each(Peer::look_back);
    let verdict = peers.verdict(&shared.counters, false, true, false);
    use FaultKind::{Doubled, Foreign, Lost, Reordered, Unknown};
    let counts: Vec<_> = [Lost, Doubled, Reordered, Foreign, Unknown].map(|kind| verdict.count(kind)).into();
    assert_eq!((counts, verdict.faults.len()), (vec![1, 1, 1, 1, 2], 6), "{verdict:?}");
    let lost = verdict.faults.iter().find(|fault| fault.kind == Lost).unwrap();
    assert_eq!((lost.conversation.as_str(), lost.seq), ("room 0", Some(3)));
    let early = peers.verdict(&shared.counters, false, false, true);
    assert_eq!((early.count(Lost), early.undecided), (0, 1), "it may have been on its way");
}

#[test]
fn a_path_says_who_connects() {
    let path = |shape, size, url: &str, user| {
        let mut target = target(url).unwrap();
        Peers::new((Language::Raw, shape), size, 6, 1, 0).direct(&mut target, user);
        target.path
    };
    let template = "ws://127.0.0.1:1/a/{room}/{user}?to={peer}";
    assert_eq!(path(Shape::Relay, 2, template, 3), "/a/1/4?to=3");
    assert_eq!(path(Shape::Room, 3, template, 5), "/a/1/6?to=4");
    assert_eq!(path(Shape::Room, 3, "ws://127.0.0.1:1/a", 2), "/a/0");
    assert_eq!(path(Shape::Echo, 1, "ws://127.0.0.1:1/a", 2), "/a");
}
