//! A small server of rooms on tungstenite, that can be told to be wrong: whoever connects with the same
//! path is in one room, and what comes from one goes to the others, or, at `/echo`, back.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::{Role, WebSocket};

/// What is wrong with the server, and with which delivery, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// It is not delivered.
    Drops(u64),
    /// It is delivered twice.
    Doubles(u64),
    /// It is delivered after the room's next one to the same member.
    Delays(u64),
    /// It is delivered to a member of another room too.
    Misleads(u64),
}

struct Member {
    id: u64,
    socket: WebSocket<TcpStream>,
    delayed: Option<Message>,
}

impl Member {
    fn send(&mut self, message: Message) {
        // Who has left gets nothing.
        let _ = self.socket.send(message);
        if let Some(delayed) = self.delayed.take() {
            let _ = self.socket.send(delayed);
        }
    }
}

/// A running server.
pub(crate) struct Rooms {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    wrong: Wrong,
    rooms: Mutex<HashMap<String, Vec<Member>>>,
    members: AtomicU64,
    taken: AtomicU64,
    delivered: AtomicU64,
}

impl Rooms {
    pub(crate) fn start(wrong: Wrong) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (members, taken, delivered) = Default::default();
        let state = Arc::new(State { wrong, rooms: Mutex::default(), members, taken, delivered });
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&served);
                thread::spawn(move || state.serve(stream.unwrap()));
            }
        });
        Self { address, state }
    }

    /// Messages that came in, and those that went out.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.state.taken.load(Relaxed), self.state.delivered.load(Relaxed))
    }
}

impl State {
    #[expect(clippy::result_large_err, reason = "tungstenite's form of an answer")]
    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let writer = stream.try_clone().unwrap();
        let mut path = String::new();
        let opened = tungstenite::accept_hdr(stream, |request: &Request, response: Response| {
            path = request.uri().path().to_owned();
            Ok(response)
        });
        let Ok(mut reader) = opened else { return };
        let id = self.members.fetch_add(1, Relaxed);
        let socket = WebSocket::from_raw_socket(writer, Role::Server, None);
        let member = Member { id, socket, delayed: None };
        self.rooms.lock().unwrap().entry(path.clone()).or_default().push(member);
        while let Ok(message) = reader.read() {
            if message.is_text() {
                self.taken.fetch_add(1, Relaxed);
                self.deliver(&path, id, &message);
            }
        }
        self.rooms.lock().unwrap().get_mut(&path).unwrap().retain(|member| member.id != id);
    }

    fn deliver(&self, path: &str, from: u64, message: &Message) {
        let mut rooms = self.rooms.lock().unwrap();
        let mut misled = false;
        for member in rooms.get_mut(path).unwrap() {
            if (member.id == from) != (path == "/echo") {
                continue;
            }
            let number = self.delivered.fetch_add(1, Relaxed) + 1;
            match self.wrong {
                Wrong::Drops(at) if at == number => continue,
                Wrong::Delays(at) if at == number => {
                    member.delayed = Some(message.clone());
                    continue;
                }
                Wrong::Doubles(at) if at == number => member.send(message.clone()),
                Wrong::Misleads(at) => misled |= at == number,
                _ => {}
            }
            member.send(message.clone());
        }
        if misled && let Some((_, members)) = rooms.iter_mut().find(|(own, _)| *own != path) {
            members[0].send(message.clone());
        }
    }
}
