//! A client's socket against the server side of tungstenite, and against frames no server may send.

use super::{Broken, Heard, Socket};
use crate::dial::{Target, target};
use crate::peer::Protocol;
use std::io::{Cursor, Read, Write};
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

fn here() -> Target {
    target("ws://127.0.0.1:9/ws").unwrap()
}

/// Wires in memory: what the server reads, and what it wrote.
struct Wires(Cursor<Vec<u8>>, Vec<u8>);

impl Read for Wires {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Wires {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.1.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A socket that was upgraded, by an answer that tungstenite made.
fn upgraded() -> Socket {
    let mut socket = Socket::new(7);
    socket.open(&here(), "t.o.k");
    let asked = Wires(Cursor::new(socket.take_output(vec![])), vec![]);
    let server = tungstenite::accept(asked).map_err(|_| "no upgrade").unwrap();
    let answer = server.get_ref().1.clone();
    let (first, rest) = answer.split_at(20);
    let mut told = 0;
    for piece in [first, rest] {
        let heard = socket.hear(piece, &here(), |_, heard| {
            told += usize::from(heard == Heard::Upgraded);
            Ok(())
        });
        heard.unwrap();
    }
    assert_eq!(told, 1);
    socket
}

/// What is told when `bytes` come in pieces of `size`.
fn texts(socket: &mut Socket, bytes: &[u8], size: usize) -> Result<Vec<String>, Broken> {
    let mut told = vec![];
    for piece in bytes.chunks(size) {
        socket.hear(piece, &here(), |_, heard| {
            told.push(format!("{heard:?}"));
            Ok(())
        })?;
    }
    Ok(told)
}

#[test]
fn what_a_server_sends_is_heard_however_it_is_split() {
    let mut server = WebSocket::from_raw_socket(Wires(Cursor::new(vec![]), vec![]), Role::Server, None);
    let long = "x".repeat(70_000);
    for text in ["", "hello", &"y".repeat(200), &long] {
        server.send(Message::text(text)).unwrap();
    }
    server.close(None).unwrap();
    let bytes = server.get_ref().1.clone();
    for size in [1, 2, 7, 4_096, bytes.len()] {
        let told = texts(&mut upgraded(), &bytes, size).unwrap();
        assert_eq!((told.len(), &*told[1]), (5, "Text(\"hello\")"), "pieces of {size}");
        assert_eq!(told[4], "Closed(None, \"\")");
    }
}

#[test]
fn a_server_understands_what_is_sent() {
    let mut socket = upgraded();
    socket.hear(&[0x89, 2, b'h', b'i'], &here(), |_, _| Ok(())).unwrap();
    let long = "z".repeat(70_000);
    for text in ["hello", &long] {
        socket.say(text);
    }
    socket.close();
    let sent = Wires(Cursor::new(socket.take_output(vec![])), vec![]);
    let mut server = WebSocket::from_raw_socket(sent, Role::Server, None);
    let heard: Vec<_> = std::iter::from_fn(|| server.read().ok()).collect();
    let expected = [Message::Pong("hi".into()), Message::text("hello"), Message::text(long)];
    assert_eq!(heard[..3], expected);
    assert!(heard[3].is_close());
}

#[test]
fn a_message_in_pieces_is_one_text_with_control_frames_between() {
    let bytes = [1, 2, b'a', b'b', 0x89, 0, 0, 1, b'c', 0x80, 1, b'd'];
    assert_eq!(texts(&mut upgraded(), &bytes, 3).unwrap(), ["Text(\"abcd\")"]);
    let bytes = [2, 1, 0xff, 0x80, 1, 2, 0x82, 1, 3];
    assert_eq!(texts(&mut upgraded(), &bytes, 2).unwrap(), ["Binary([255, 2])", "Binary([3])"]);
}

#[test]
fn what_no_server_may_send_ends_the_socket() {
    let masked = [0x81, 0x81, 0, 0, 0, 0, b'a'];
    let cases: [&[u8]; 5] =
        [&masked, &[0xc1, 0], &[0x09, 0], &[0x81, 1, 0xff], &[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]];
    for case in cases {
        assert!(matches!(texts(&mut upgraded(), case, 99), Err(Broken::Fault(_))), "{case:?}");
    }
}

#[test]
fn an_answer_that_is_no_upgrade_says_why() {
    let why = |answer: &str| {
        let mut socket = Socket::new(7);
        socket.open(&here(), "");
        match socket.hear(answer.as_bytes(), &here(), |_, _| Ok(())) {
            Err(Broken::Refused(error)) => error.told(Protocol::Ringway),
            other => panic!("{other:?}"),
        }
    };
    assert!(why("HTTP/1.1 401 Unauthorized\r\n\r\n").contains("--tokens"));
    assert!(why("HTTP/1.1 503 Busy\r\n\r\n").contains("draining"));
    assert!(why("SSH-2.0\r\n\r\n").contains("not HTTP"));
    assert!(why("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: AAAA\r\n\r\n").contains("Accept"));
}
