//! Sockets that go out through a ring, against listeners of the standard library.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock to end a wait")]

use engine::ring::{Address, Call, Dial, Event, Outgoing, Receive, Ring, RingConfig, UringRing};
use rustix::event::{EventfdFlags, eventfd};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::{Duration, Instant};

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

fn ring(table: u32) -> UringRing {
    let config = RingConfig {
        table,
        buffers: 16,
        buffer_bytes: 256,
        accepts: 0,
        shard: 0,
        peers: [AtomicI32::new(-1)].into(),
        wake: Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap()),
    };
    UringRing::new(config, None).unwrap()
}

/// Turns the ring until it has what is wanted.
fn until<T>(ring: &mut UringRing, mut want: impl FnMut(&mut UringRing, Event) -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    let mut events = vec![];
    while Instant::now() < end {
        ring.wait_for(Duration::from_millis(10), &mut events).unwrap();
        for event in std::mem::take(&mut events) {
            if let Some(found) = want(ring, event) {
                return found;
            }
        }
    }
    panic!("nothing came within 20 s");
}

fn dialed(ring: &mut UringRing, at: Address, to: SocketAddr) -> Result<(), ErrorKind> {
    ring.dial(at, &Call { to, from: Some(FROM), receive_buffer_bytes: None }).unwrap();
    until(ring, |_, event| match event {
        Event::Dialed { at: whose, result } if whose == at => Some(result.map_err(|error| error.kind())),
        _ => None,
    })
}

fn close(ring: &mut UringRing, at: Address) {
    ring.close(at);
    until(ring, |_, event| matches!(event, Event::Closed { at: whose } if whose == at).then_some(()));
}

#[test]
fn a_socket_connects_from_the_address_it_is_told_and_talks_both_ways() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut ring = ring(4);
    let at = Address { slot: 3, generation: 9 };
    assert_eq!(dialed(&mut ring, at, listener.local_addr().unwrap()), Ok(()));
    let (mut peer, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), FROM);

    ring.recv(at, Receive::Many);
    ring.send(at, Outgoing::Gathered(b"out".to_vec()), 0);
    until(&mut ring, |_, event| matches!(event, Event::Sent { result: Ok(3), .. }).then_some(()));
    let mut bytes = [0; 3];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"out");
    peer.write_all(b"in").unwrap();
    let received = until(&mut ring, |ring, event| match event {
        Event::Received { buffer, .. } => {
            let bytes = ring.bytes(&buffer).to_vec();
            ring.release(buffer);
            Some(bytes)
        }
        _ => None,
    });
    assert_eq!(received, b"in");
    ring.shutdown(at, true);
    until(&mut ring, |_, event| matches!(event, Event::ReceiveEnded { .. }).then_some(()));
    close(&mut ring, at);
}

#[test]
fn a_slot_takes_another_socket_after_a_refusal() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut ring = ring(1);
    drop(listener);
    let first = Address { slot: 0, generation: 0 };
    assert_eq!(dialed(&mut ring, first, address), Err(ErrorKind::ConnectionRefused));
    close(&mut ring, first);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let second = Address { slot: 0, generation: 1 };
    assert_eq!(dialed(&mut ring, second, listener.local_addr().unwrap()), Ok(()));
}

#[test]
fn a_slot_beyond_the_table_begins_nothing() {
    let mut ring = ring(1);
    let call = Call { to: ([127, 0, 0, 1], 9).into(), from: None, receive_buffer_bytes: None };
    assert!(ring.dial(Address { slot: 1, generation: 0 }, &call).is_err());
}
