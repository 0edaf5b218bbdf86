//! A simulated client: sends a script in pieces, reads at its own pace, and checks what comes.

use engine::ring::sim::{Random, World};
use serde_json::Value;
use std::collections::HashMap;

const USERS: u64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Waits for every answer, then says goodbye.
    Good,
    /// Breaks the connection somewhere.
    Resets,
    /// Says that nothing follows, somewhere.
    Leaves,
    /// Connects and says nothing.
    Silent,
    /// Sends all and never reads.
    Deaf,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    user: u64,
    manner: Manner,
    wire: Option<usize>,
    to_send: Vec<u8>,
    sent: usize,
    stops_at: usize,
    messages: usize,
    received: Vec<u8>,
    head: Option<u16>,
    connected: bool,
    answered: Vec<String>,
    heard: HashMap<String, usize>,
    closed: Option<u16>,
    ended: bool,
    said_goodbye: bool,
}

impl Client {
    pub(crate) fn new(number: usize, random: &mut Random) -> Self {
        let user = 1 + random.below(USERS);
        let manner = match random.below(10) {
            0 => Manner::Resets,
            1 => Manner::Leaves,
            2 => Manner::Silent,
            3 => Manner::Deaf,
            _ => Manner::Good,
        };
        let messages = random.below(25) as usize;
        let mut to_send = format!(
            "GET /ws?user={user} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes();
        for n in 0..messages {
            let other = 1 + (user + random.below(USERS - 1)) % USERS;
            let (a, b) = (user.min(other), user.max(other));
            let fill = "y".repeat(random.below(300) as usize);
            let text = format!(
                r#"{{"type":"send-message","data":{{"tempMessageId":"c{number}-{n}","conversationId":"single_{a}_{b}","content":"c{number}-{n} {fill}","messageType":"text"}}}}"#
            );
            push_frame(&mut to_send, 1, text.as_bytes(), random.draw() as u32);
        }
        let stops_at = random.below(to_send.len() as u64 + 1) as usize;
        Self {
            number,
            user,
            manner,
            wire: None,
            to_send,
            sent: 0,
            stops_at,
            messages,
            received: vec![],
            head: None,
            connected: false,
            answered: vec![],
            heard: HashMap::new(),
            closed: None,
            ended: false,
            said_goodbye: false,
        }
    }

    /// Sends a piece, reads a piece, or does what its manner is.
    pub(crate) fn act(&mut self, world: &mut World) {
        let Some(wire) = self.wire else {
            let window = 64 + world.random.below(4_096) as usize;
            self.wire = Some(world.connect(window));
            return;
        };
        if self.ended {
            return;
        }
        match self.manner {
            Manner::Silent => {}
            Manner::Resets if self.sent >= self.stops_at => {
                world.client_resets(wire);
                self.ended = true;
                return;
            }
            Manner::Leaves if self.sent >= self.stops_at => {
                world.client_ends(wire);
                self.said_goodbye = true;
            }
            _ => self.send(world, wire),
        }
        if self.manner != Manner::Deaf {
            self.read(world, wire);
        }
        if world.is_at_end(wire) {
            world.client_ends(wire);
            self.ended = true;
        }
    }

    fn send(&mut self, world: &mut World, wire: usize) {
        let left = self.to_send.len() - self.sent;
        if left > 0 {
            let len = match world.random.below(3) {
                0 => 1,
                1 => 1 + world.random.below(left as u64) as usize,
                _ => left,
            };
            world.client_sends(wire, &self.to_send[self.sent..self.sent + len]);
            self.sent += len;
        } else if self.manner == Manner::Good && self.has_all_answers() && !self.said_goodbye {
            let mut bye = vec![];
            push_frame(&mut bye, 8, &1000u16.to_be_bytes(), 7);
            world.client_sends(wire, &bye);
            self.said_goodbye = true;
        }
    }

    fn read(&mut self, world: &mut World, wire: usize) {
        let max = 1 + world.random.below(2_000) as usize;
        self.received.extend(world.client_reads(wire, max));
        self.take_in(world, wire);
    }

    fn take_in(&mut self, world: &mut World, wire: usize) {
        if self.head.is_none() {
            let Some(end) = self.received.windows(4).position(|w| w == b"\r\n\r\n") else { return };
            let head: Vec<u8> = self.received.drain(..end + 4).collect();
            let status = std::str::from_utf8(&head[9..12]).expect("a status").parse().expect("a status");
            assert!([101, 408, 503].contains(&status), "client {}: status {status}", self.number);
            self.head = Some(status);
        }
        if self.head != Some(101) {
            // Who is refused hangs up without waiting for the server to do so.
            world.client_ends(wire);
            self.received.clear();
            return;
        }
        while let Some((opcode, payload, used)) = read_frame(&self.received) {
            self.received.drain(..used);
            assert_eq!(self.closed, None, "client {}: a frame after the close frame", self.number);
            match opcode {
                1 => self.check_event(&payload),
                8 => self.closed = Some(u16::from_be_bytes([payload[0], payload[1]])),
                9 => {
                    let mut pong = vec![];
                    push_frame(&mut pong, 10, &payload, 9);
                    // Only between frames of one's own.
                    if self.sent == self.to_send.len() && !self.said_goodbye {
                        world.client_sends(wire, &pong);
                    }
                }
                other => panic!("client {}: opcode {other}", self.number),
            }
        }
    }

    fn check_event(&mut self, payload: &[u8]) {
        let event: Value = serde_json::from_slice(payload).expect("an event is JSON");
        let data = &event["data"];
        let mine = format!("c{}-", self.number);
        match event["type"].as_str().expect("a type") {
            "connected" => {
                assert_eq!(
                    data["userId"],
                    self.user.to_string(),
                    "client {}: someone else's session",
                    self.number
                );
                assert!(
                    !std::mem::replace(&mut self.connected, true),
                    "client {}: connected twice",
                    self.number
                );
            }
            "message-ack" => {
                let id = data["tempMessageId"].as_str().expect("an id");
                assert!(id.starts_with(&mine), "client {}: the ack of {id}", self.number);
                self.answered.push(id.to_owned());
            }
            "error" => {
                let code = data["code"].as_str().expect("a code");
                assert!(matches!(code, "BUSY" | "RATE_LIMITED"), "client {}: {event}", self.number);
                self.answered.push(data["tempMessageId"].as_str().expect("an id").to_owned());
            }
            "new-message" => self.check_message(data),
            other => panic!("client {}: event {other}", self.number),
        }
    }

    fn check_message(&mut self, data: &Value) {
        let id = data["client_msg_id"].as_str().expect("an id");
        let content = data["content"].as_str().expect("a content");
        assert_eq!(content.split(' ').next(), Some(id), "client {}: bytes of another message", self.number);
        let conversation = data["conversation_id"].as_str().expect("a conversation");
        let parties: Vec<u64> =
            conversation.split('_').skip(1).map(|user| user.parse().expect("a user")).collect();
        assert!(parties.contains(&self.user), "client {} of user {}: {conversation}", self.number, self.user);
        let (sender, n) = id.split_once('-').expect("an id of a client");
        let n: usize = n.parse().expect("a number");
        let next = self.heard.insert(sender.to_owned(), n + 1).unwrap_or(0);
        assert!(n >= next, "client {}: {id} came twice or out of order", self.number);
    }

    fn has_all_answers(&self) -> bool {
        self.connected && self.answered.len() >= self.messages
    }

    /// Whether nothing more is to be expected of this client before the shards close.
    pub(crate) fn is_satisfied(&self) -> bool {
        match self.manner {
            // It holds on until the server lets go, which closing does at the latest.
            Manner::Silent | Manner::Deaf => self.wire.is_some(),
            Manner::Good => self.ended || self.closed.is_some(),
            Manner::Resets | Manner::Leaves => self.ended,
        }
    }

    /// Reads what is left and judges the whole.
    pub(crate) fn finish(&mut self, world: &mut World) {
        let Some(wire) = self.wire else { return };
        if self.manner == Manner::Resets {
            return;
        }
        while !self.ended {
            let before = self.received.len();
            self.received.extend(world.client_reads(wire, usize::MAX));
            let came = self.received.len() > before;
            self.take_in(world, wire);
            self.ended = !came;
        }
        assert!(world.is_at_end(wire), "client {}: the server has not closed", self.number);
        // Acks and refusals may cross, each kind in its own order.
        let good = self.manner == Manner::Good && self.head == Some(101) && self.said_goodbye;
        if good {
            let mut answered = self.answered.clone();
            answered.sort_by_key(|id| id.split_once('-').and_then(|(_, n)| n.parse::<usize>().ok()));
            let expected: Vec<_> = (0..self.messages).map(|n| format!("c{}-{n}", self.number)).collect();
            assert_eq!(answered, expected, "client {}: every message is answered once", self.number);
            // The answer to the goodbye may be cut off by the grace time; all before it may not.
        }
    }
}

fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: u32) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    let mask = mask.to_be_bytes();
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn read_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "a server's frames are whole and plain");
    let (header, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => panic!("no frame is that long"),
        len => (2, usize::from(len)),
    };
    Some((first & 15, bytes.get(header..header + len)?.to_vec(), header + len))
}
