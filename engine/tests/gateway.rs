//! The real ring, driven by tungstenite's client: what a session lives through.

use bus::loopback::Loopback;
use bus::{Downstream, ShardInbox};
use engine::gateway::{Gateway, GatewayConfig, inboxes};
use engine::session::Policy;
use engine::shard::Chat;
use protocol::command::Parser;
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, Targets};
use protocol::token::{Keys, mint_hs256};
use protocol::{GatewayId, Limits, Origin, SessionRef, UnixMs, UserId};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket, connect};

type Client = WebSocket<MaybeTlsStream<TcpStream>>;

const KEY: &[u8] = b"a key of the tests";

fn start(limits: Limits) -> Gateway {
    let gateway = GatewayId::new("test").unwrap();
    let config = GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        gateway,
        boot_epoch: 1,
        shards: 1,
        cores: vec![],
        limits: Limits { connections_max: 100, headroom: 10, ..limits },
        policy: Arc::new(Policy { keys: Some(Keys::hs256(KEY)), origins: vec![] }),
    };
    let service = |shard| Chat::new(Loopback::new(10), Parser::new(), gateway, 1, shard);
    Gateway::start(&config, inboxes(1).unwrap(), service).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
fn in_seconds(seconds: u64) -> UnixMs {
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 + seconds * 1000)
}

fn client(gateway: &Gateway, user: u64, seconds: u64) -> Client {
    let token = mint_hs256(KEY, UserId(user), None, in_seconds(seconds));
    let (socket, _) = connect(format!("ws://{}/ws?token={token}", gateway.address())).unwrap();
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    let mut socket = socket;
    assert_eq!(event(&mut socket)["type"], "connected");
    socket
}

fn event(socket: &mut Client) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn close_code(socket: &mut Client) -> u16 {
    loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            return frame.unwrap().code.into();
        }
    }
}

/// Tries until there is something.
fn until<T>(try_it: impl Fn() -> Option<T>) -> T {
    for _ in 0..1_000 {
        if let Some(found) = try_it() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within 10 s");
}

fn stop(gateway: Gateway) {
    gateway.close();
    gateway.join().unwrap();
}

#[test]
fn a_message_reaches_the_other_and_ones_own_other_session() {
    let gateway = start(Limits::default());
    let (mut phone, mut desk, mut other) =
        (client(&gateway, 1, 60), client(&gateway, 1, 60), client(&gateway, 2, 60));
    let data =
        json!({"tempMessageId": "t", "conversationId": "single_1_2", "content": "hi", "messageType": "text"});
    let text = json!({"type": "send-message", "data": data}).to_string();
    phone.send(Message::text(text)).unwrap();
    for socket in [&mut desk, &mut other] {
        assert_eq!(event(socket)["data"]["content"], "hi");
    }
    phone.send(Message::text(r#"{"type":"ping","trace_id":"x"}"#)).unwrap();
    assert_eq!(event(&mut phone)["type"], "pong", "the sending session does not get its own message");
    stop(gateway);
}

#[test]
fn a_token_that_expires_while_connected_ends_the_session() {
    let gateway = start(Limits::default());
    assert_eq!(close_code(&mut client(&gateway, 1, 2)), 4001);
    assert_eq!(gateway.stats()[0].closed_4001.get(), 1);
    stop(gateway);
}

#[test]
fn silence_is_asked_about_and_then_ended() {
    let gateway = start(Limits { heartbeat: Duration::from_secs(1), ..Limits::default() });
    let mut answering = client(&gateway, 1, 60);
    let silent = client(&gateway, 2, 60);
    // tungstenite answers pings while it reads; the other never reads.
    answering.read().unwrap();
    for _ in 0..3 {
        assert!(matches!(answering.read().unwrap(), Message::Ping(_)));
    }
    assert_eq!(gateway.stats()[0].closed_4005.get(), 1);
    let mut silent = silent;
    assert_eq!(close_code(&mut silent), 4005);
    stop(gateway);
}

#[test]
fn the_oldest_of_too_many_sessions_goes() {
    let gateway = start(Limits { sessions_per_user_max: 2, ..Limits::default() });
    let (mut first, mut second) = (client(&gateway, 1, 60), client(&gateway, 1, 60));
    let _third = client(&gateway, 1, 60);
    assert_eq!(close_code(&mut first), 4002);
    second.send(Message::text(r#"{"type":"ping"}"#)).unwrap();
    assert_eq!(event(&mut second)["type"], "pong");
    stop(gateway);
}

#[test]
fn a_kick_closes_the_session_it_names_and_no_successor_of_it() {
    let gateway = start(Limits::default());
    let token = mint_hs256(KEY, UserId(1), None, in_seconds(60));
    let (mut socket, _) = connect(format!("ws://{}/ws?token={token}", gateway.address())).unwrap();
    let connected = event(&mut socket);
    let session = Origin::parse(connected["data"]["sessionId"].as_str().unwrap()).unwrap().session;
    let kick = |session| {
        let (kind, targets) = (EntryKind::Kick, Targets::Session(session));
        let entry = DownstreamEntry { kind, targets, exclude: None, payload: Box::default() };
        let batch = DownstreamBatch { entries: vec![entry], ..DownstreamBatch::default() };
        gateway.inboxes()[0].push(Downstream::Batch(batch)).unwrap();
    };
    kick(SessionRef { generation: session.generation + 1, ..session });
    socket.send(Message::text(r#"{"type":"ping"}"#)).unwrap();
    assert_eq!(event(&mut socket)["type"], "pong");
    kick(session);
    assert_eq!(close_code(&mut socket), 4002);
    assert_eq!(gateway.stats()[0].downstream_missed.get(), 1);
    stop(gateway);
}

#[test]
fn binary_frames_and_oversized_messages_are_closed_with_their_codes() {
    let gateway = start(Limits::default());
    let mut socket = client(&gateway, 1, 60);
    socket.send(Message::binary(vec![1, 2, 3])).unwrap();
    assert_eq!(close_code(&mut socket), 1003);
    let mut socket = client(&gateway, 1, 60);
    socket.send(Message::text("x".repeat(70_000))).unwrap();
    assert_eq!(close_code(&mut socket), 1009);
    stop(gateway);
}

#[test]
fn the_last_of_many_policies_is_the_one_in_force() {
    let gateway = start(Limits::default());
    let policy = |key: &[u8]| Arc::new(Policy { keys: Some(Keys::hs256(key)), origins: vec![] });
    // Far more than the queue of a shard holds, faster than it looks.
    for _ in 0..100 {
        gateway.set_policy(&policy(KEY)).unwrap();
    }
    gateway.set_policy(&policy(b"another key")).unwrap();
    let _in_force = until(|| {
        let token = mint_hs256(b"another key", UserId(1), None, in_seconds(60));
        connect(format!("ws://{}/ws?token={token}", gateway.address())).ok()
    });
    let token = mint_hs256(KEY, UserId(1), None, in_seconds(60));
    let refused = connect(format!("ws://{}/ws?token={token}", gateway.address())).unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    stop(gateway);
}

#[test]
fn closing_the_gateway_tells_everybody_when_to_come_back() {
    let gateway = start(Limits::default());
    let mut socket = client(&gateway, 1, 60);
    gateway.close();
    let Message::Close(Some(frame)) = socket.read().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(frame.reason.starts_with("retry_ms="), "{}", frame.reason);
    drop(socket);
    gateway.join().unwrap();
}
