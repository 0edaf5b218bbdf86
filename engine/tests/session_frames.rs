//! The session as a peer of tungstenite's: the same bytes mean the same, however they are cut.

use engine::session::{Event, Input, Session};
use proptest::prelude::*;
use protocol::{CloseCode, Limits};
use std::io::{self, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Close,
    Fault(CloseCode),
}

fn limits() -> Limits {
    Limits { binary: true, message_bytes_max: 4_096, ..Limits::default() }
}

fn ours(bytes: &[u8], cuts: &[usize]) -> Vec<Seen> {
    let mut session = Session::new();
    session.open();
    let mut seen = vec![];
    let mut at = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let end = cut.clamp(at, bytes.len());
        let mut piece = bytes[at..end].to_vec();
        at = end;
        let mut input = Input::new(&mut piece);
        while let Some(event) = session.next(&limits(), &mut input) {
            seen.push(match event {
                Event::Message { binary, payload } => Seen::Message(binary, payload.to_vec()),
                Event::Ping(payload) => Seen::Ping(payload.to_vec()),
                Event::CloseReceived { .. } => Seen::Close,
                Event::Fault { code, .. } => Seen::Fault(code),
                Event::Pong => continue,
                Event::Upgrade(_) | Event::Refused(_) => panic!("the session is open"),
            });
        }
    }
    seen
}

struct Memory<'a>(&'a [u8]);

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of it: messages, pings, a close, or a fault of some kind.
fn theirs(bytes: &[u8]) -> (Vec<Seen>, bool) {
    let config = WebSocketConfig::default().max_message_size(Some(4_096)).max_frame_size(Some(4_096));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut stream = Memory(bytes);
    let mut seen = vec![];
    loop {
        match context.read(&mut stream) {
            Ok(Message::Text(text)) => seen.push(Seen::Message(false, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Message(true, bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Close(_)) => {
                seen.push(Seen::Close);
                return (seen, false);
            }
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, false),
            Err(_) => return (seen, true),
        }
    }
}

fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// A stream of messages, whole or in fragments, with pings between and within.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        any::<String>().prop_map(|text| (1u8, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (2u8, bytes)),
    ];
    let message = (payload, 1usize..4, any::<[u8; 4]>(), any::<bool>()).prop_map(
        |((opcode, bytes), parts, mask, ping)| {
            let mut out = vec![];
            let size = bytes.len().div_ceil(parts).max(1);
            let chunks: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(size).collect() };
            for (n, chunk) in chunks.iter().enumerate() {
                let fin = if n + 1 == chunks.len() { 0x80 } else { 0 };
                out.extend(frame(fin | if n == 0 { opcode } else { 0 }, chunk, mask));
                if ping {
                    out.extend(frame(0x89, b"are you there", mask));
                }
            }
            out
        },
    );
    prop::collection::vec(message, 0..6).prop_map(|messages| messages.concat())
}

proptest! {
    #[test]
    fn a_good_stream_means_what_it_means_to_tungstenite(bytes in stream()) {
        let (seen, fault) = theirs(&bytes);
        prop_assert!(!fault);
        prop_assert_eq!(ours(&bytes, &[]), seen);
    }

    #[test]
    fn a_damaged_stream_is_judged_alike(mut bytes in stream(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (seen, fault) = theirs(&bytes);
        let mut own = ours(&bytes, &[]);
        if fault {
            // Text is judged while it arrives, so our fault may come before theirs would.
            prop_assert!(matches!(own.pop(), Some(Seen::Fault(_))), "{:?} but they found a fault", own);
            prop_assert!(seen.starts_with(&own));
        } else if let Some(Seen::Fault(code)) = own.last().cloned() {
            // What tungstenite lets pass or has not seen yet: lengths not in shortest form, unfinished
            // text that is wrong already, frames without a mask.
            own.pop();
            prop_assert!(seen.starts_with(&own), "{:?} then {:?}, they saw {:?}", own, code, seen);
        } else {
            prop_assert_eq!(own, seen);
        }
    }

    #[test]
    fn every_cut_gives_the_same_events(bytes in stream(), mut cuts in prop::collection::vec(0usize..2_000, 0..12)) {
        cuts.sort_unstable();
        let whole = ours(&bytes, &[]);
        prop_assert_eq!(&ours(&bytes, &cuts), &whole);
        let each: Vec<_> = (1..bytes.len()).collect();
        prop_assert_eq!(&ours(&bytes, &each), &whole);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
        ours(&bytes, &[cut]);
        let mut session = Session::new();
        let mut request = bytes.clone();
        let _ = session.next(&limits(), &mut Input::new(&mut request));
    }
}

#[test]
fn an_idle_session_holds_nothing() {
    assert!(size_of::<Session>() <= 24, "{}", size_of::<Session>());
    let mut session = Session::new();
    session.open();
    let mut half = frame(0x81, b"hello", [1, 2, 3, 4]);
    let mut rest = half.split_off(4);
    assert!(session.next(&limits(), &mut Input::new(&mut half)).is_none());
    assert!(session.heap_bytes() > 0);
    assert!(session.next(&limits(), &mut Input::new(&mut rest)).is_some());
    assert_eq!(session.heap_bytes(), 0);
}

#[test]
fn each_broken_rule_has_its_code() {
    let mask = [1, 2, 3, 4];
    let announced = |len: u64| [&[0x82, 0xff][..], &len.to_be_bytes(), &mask].concat();
    for (name, bytes, code) in [
        ("no mask", vec![0x81, 0x01, b'x'], CloseCode::Protocol),
        ("a reserved bit", frame(0xc1, b"x", mask), CloseCode::Protocol),
        ("a reserved opcode", frame(0x83, b"x", mask), CloseCode::Protocol),
        ("a long ping", frame(0x89, &[0; 126], mask), CloseCode::Protocol),
        ("a ping in fragments", frame(0x09, b"x", mask), CloseCode::Protocol),
        ("a continuation of nothing", frame(0x80, b"x", mask), CloseCode::Protocol),
        (
            "a message within a message",
            [frame(0x01, b"x", mask), frame(0x81, b"y", mask)].concat(),
            CloseCode::Protocol,
        ),
        ("a length in a longer form", [&[0x81, 0xfe, 0, 1][..], &mask, b"x"].concat(), CloseCode::Protocol),
        ("a length of 2^63", announced(1 << 63), CloseCode::Protocol),
        ("too long, as the header says", announced(70_000), CloseCode::TooBig),
        (
            "too long, in fragments",
            [frame(0x02, &[0; 4_000], mask), frame(0x80, &[0; 97], mask)].concat(),
            CloseCode::TooBig,
        ),
        ("text that is not UTF-8", frame(0x81, &[0xff], mask), CloseCode::InvalidPayload),
        ("text that ends within a character", frame(0x81, &[0xe2, 0x82], mask), CloseCode::InvalidPayload),
        ("text that is wrong before it ends", frame(0x01, &[0xc0], mask), CloseCode::InvalidPayload),
        ("a close code that may not be sent", frame(0x88, &1005u16.to_be_bytes(), mask), CloseCode::Protocol),
        ("half a close code", frame(0x88, &[3], mask), CloseCode::Protocol),
        ("a close reason that is not UTF-8", frame(0x88, &[3, 0xe8, 0xff], mask), CloseCode::InvalidPayload),
    ] {
        assert_eq!(ours(&bytes, &[]).last(), Some(&Seen::Fault(code)), "{name}");
    }
    let mut session = Session::new();
    session.open();
    let mut binary = frame(0x82, b"x", mask);
    let event = session.next(&Limits::default(), &mut Input::new(&mut binary));
    assert!(matches!(event, Some(Event::Fault { code: CloseCode::Unsupported, .. })));
}
