//! Why there is no connection, and what to do about it: that goes by what the server is spoken to in.

use super::HANDSHAKE_US;
use crate::peer::{Language, Protocol};
use thiserror::Error;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    #[error("cannot connect to {0} ({1})")]
    Connect(String, std::io::Error),
    #[error("{0} did not answer within {seconds} s", seconds = HANDSHAKE_US / 1_000_000)]
    Slow(String),
    /// An answer other than 101.
    #[error("{0} answered {1} instead of an upgrade")]
    Refused(String, u16),
    #[error("{0}: no WebSocket ({1})")]
    Upgrade(String, String),
}

impl DialError {
    /// What happened, and what to do about it where the server should speak that.
    pub(crate) fn told(&self, protocol: Protocol) -> String {
        let advice = match self {
            Self::Connect(..) => starts(protocol),
            Self::Slow(_) if protocol.is_ringway() => "is that a Ringway, and not overloaded?",
            Self::Slow(_) => "is that a server of WebSockets, and not overloaded?",
            Self::Refused(_, code) => answered(*code, protocol),
            Self::Upgrade(..) if protocol.is_ringway() => "",
            Self::Upgrade(..) => listens(protocol),
        };
        if advice.is_empty() { self.to_string() } else { format!("{self}: {advice}") }
    }
}

/// Who is to be there.
fn starts(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Ringway => "is the server up? `ringway dev` starts one",
        Protocol::Peer(Language::Loopback, _) => {
            "is the server up? The engine's example `echo --relay MEMBERS` is one, and `ringway dev`"
        }
        Protocol::Peer(..) => listens(protocol),
    }
}

/// Where a peer is to listen.
fn listens(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Peer(Language::Nats, _) => {
            "is nats-server up, with a `websocket` block in its configuration? --target must have that one's port"
        }
        Protocol::Peer(Language::Mqtt, _) => {
            "is the broker up, with a listener for MQTT over WebSockets? --target must have that one's port and path"
        }
        _ => "is the server up? --target must say where its WebSocket is",
    }
}

/// What an answer other than 101 means.
fn answered(code: u16, protocol: Protocol) -> &'static str {
    let own = protocol.takes_tokens();
    match code {
        401 if own => {
            "it does not take the token: --data must be its data directory, or --tokens a file of its tokens"
        }
        401 | 403 if !own => "it wants to know who that is, and nothing is said of that with this --protocol",
        403 => "this origin is not allowed",
        404 if own => "the socket of Ringway is at /ws; where another server has its own, --target must say",
        404 => "--target must say where its WebSocket is",
        503 if own => "it is full or draining (--connections-max of the server)",
        503 => "it is full, or not ready",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::DialError;

    fn told(error: &DialError, protocol: &str) -> String {
        error.told(protocol.parse().unwrap())
    }

    #[test]
    fn who_is_not_there_is_told_how_to_start_what_was_to_be_spoken_to() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = DialError::Connect("ws://127.0.0.1:9/".into(), refused);
        for (protocol, advice) in [
            ("ringway", "`ringway dev` starts one"),
            ("loopback-room", "`echo --relay MEMBERS`"),
            ("raw-relay", "--target must say where its WebSocket is"),
            ("nats-echo", "a `websocket` block"),
            ("mqtt-room", "MQTT over WebSockets"),
        ] {
            let told = told(&error, protocol);
            assert!(
                told.starts_with("cannot connect to ws://127.0.0.1:9/ (") && told.contains(advice),
                "{told}"
            );
            let own = ["ringway", "loopback-room"].contains(&protocol);
            assert_eq!(told.contains("ringway dev"), own, "{told}");
        }
    }

    #[test]
    fn an_answer_that_is_no_upgrade_is_told_with_what_it_means_for_that_server() {
        let answer = |code| DialError::Refused("ws://127.0.0.1:9/".into(), code);
        for (code, of_ringway, of_another) in [
            (401, "--tokens", "nothing is said of that"),
            (403, "origin", "nothing is said of that"),
            (404, "/ws", "where its WebSocket is"),
            (503, "draining", "full"),
        ] {
            let (own, other) = (told(&answer(code), "ringway"), told(&answer(code), "raw-room"));
            assert!(own.contains(of_ringway) && own.contains(&code.to_string()), "{own}");
            assert!(other.contains(of_another) && !other.to_lowercase().contains("ringway"), "{other}");
        }
        assert_eq!(told(&answer(500), "raw-room"), "ws://127.0.0.1:9/ answered 500 instead of an upgrade");
    }

    #[test]
    fn a_server_that_speaks_something_else_is_asked_for_its_websocket() {
        let error = DialError::Upgrade("ws://127.0.0.1:4222/".into(), "not HTTP: Token".into());
        assert!(told(&error, "nats").contains("a `websocket` block"));
        assert!(told(&DialError::Slow("ws://127.0.0.1:1883/".into()), "mqtt").contains("WebSockets"));
    }
}
