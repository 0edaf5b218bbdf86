//! A load run speaks NATS to a small server of it, which says its first words in one piece with the
//! answer to the upgrade, and cuts the others where no message ends.
#![allow(clippy::disallowed_methods, reason = "a server of the tests; it is no shard")]

use loadtest::scenario::Scenario;
use loadtest::{Options, User, run, target};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Bytes, Message};

const FIRST: &[u8] = b"INFO {\"server_id\":\"x\"}\r\n";

/// Answers the upgrade; what follows it comes with it.
fn upgrade(stream: &mut TcpStream) {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(&[0x82, FIRST.len() as u8]);
    answer.extend_from_slice(FIRST);
    stream.write_all(&answer).unwrap();
}

/// What a client's bytes are answered with, and how many of them that takes.
fn answer(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).unwrap();
    let words: Vec<_> = line.split(' ').collect();
    match words[0] {
        "CONNECT" | "SUB" | "PONG" => Some((vec![], end + 2)),
        "PING" => Some((b"PONG\r\n".to_vec(), end + 2)),
        "PUB" => {
            let last = end + 2 + words[2].parse::<usize>().unwrap() + 2;
            let payload = bytes.get(end..last)?;
            let mut message = format!("PING\r\nMSG {} 1 {}", words[1], words[2]).into_bytes();
            message.extend_from_slice(payload);
            Some((message, last))
        }
        other => panic!("no word of NATS: {other}"),
    }
}

fn serve(mut stream: TcpStream) {
    upgrade(&mut stream);
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let mut bytes = vec![];
    while let Ok(message) = socket.read() {
        bytes.extend_from_slice(&message.into_data());
        while let Some((answer, used)) = answer(&bytes) {
            bytes.drain(..used);
            for piece in answer.chunks(7) {
                let _ = socket.send(Message::Binary(Bytes::copy_from_slice(piece)));
            }
        }
    }
}

#[test]
fn what_is_published_comes_back_in_pieces() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        listener.incoming().for_each(|stream| drop(thread::spawn(|| serve(stream.unwrap()))))
    });
    let scenario = "connections = 4\n[[phase]]\nkind = \"hold\"\nduration = \"1s\"\nrate = 100\n";
    let scenario = Scenario::read("test", scenario).unwrap();
    let targets = vec![target(&format!("ws://{address}/")).unwrap()];
    let users = (1..=4).map(|id| User { id, token: String::new() }).collect();
    let protocol = "nats-echo".parse().unwrap();
    let options = Options { protocol, shards: 1, ..Options::new(scenario, targets, users) };
    let report = run(&options).unwrap();
    assert!(report.verdict.clean, "{report}");
    assert_eq!((report.verdict.sent, report.verdict.delivered), (100, 100), "{report}");
}
