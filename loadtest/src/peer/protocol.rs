//! What a server is spoken to in, and who is to get what is sent.

use std::fmt;
use std::str::FromStr;

/// What a server is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Ringway's own, with acks, `sync` and a ledger.
    #[default]
    Ringway,
    /// Another server's, or a part of Ringway, without acks and ledger.
    Peer(Language, Shape),
}

/// What messages to a peer are wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Nothing: a text is a message, and the path says to whom it goes.
    Raw,
    /// NATS in binary frames; subjects say to whom.
    Nats,
    /// MQTT 3.1.1 in binary frames; topics say to whom.
    Mqtt,
    /// Ringway's `send-message`, of which nothing but its delivery is waited for.
    Loopback,
}

/// Who is to get what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Whoever sent it.
    Echo,
    /// The other one of a pair.
    Relay,
    /// All others in a room.
    Room,
}

/// Every protocol by its name.
const NAMES: [(&str, Protocol); 12] = [
    ("ringway", Protocol::Ringway),
    ("raw-echo", Protocol::Peer(Language::Raw, Shape::Echo)),
    ("raw-relay", Protocol::Peer(Language::Raw, Shape::Relay)),
    ("raw-room", Protocol::Peer(Language::Raw, Shape::Room)),
    ("nats-echo", Protocol::Peer(Language::Nats, Shape::Echo)),
    ("nats-relay", Protocol::Peer(Language::Nats, Shape::Relay)),
    ("nats-room", Protocol::Peer(Language::Nats, Shape::Room)),
    ("mqtt-echo", Protocol::Peer(Language::Mqtt, Shape::Echo)),
    ("mqtt-relay", Protocol::Peer(Language::Mqtt, Shape::Relay)),
    ("mqtt-room", Protocol::Peer(Language::Mqtt, Shape::Room)),
    ("loopback-relay", Protocol::Peer(Language::Loopback, Shape::Relay)),
    ("loopback-room", Protocol::Peer(Language::Loopback, Shape::Room)),
];

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Without a shape a broker relays.
        let name = if matches!(text, "nats" | "mqtt") { &format!("{text}-relay") } else { text };
        let found = NAMES.iter().find(|(own, _)| *own == name).map(|(_, protocol)| *protocol);
        found.ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name).join(", ");
            format!("expected one of {names}; got {text:?}")
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, protocol)| protocol == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Protocol {
    /// Whether the server says `message-ack`, and a ledger is kept.
    pub fn is_ringway(self) -> bool {
        self == Self::Ringway
    }

    /// Whether tokens are asked for at the door.
    pub fn takes_tokens(self) -> bool {
        matches!(self, Self::Ringway | Self::Peer(Language::Loopback, _))
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMES, Protocol};

    #[test]
    fn every_protocol_is_read_by_the_name_it_is_shown_with() {
        for (name, protocol) in NAMES {
            assert_eq!(name.parse(), Ok(protocol));
            assert_eq!(protocol.to_string(), name);
        }
        assert_eq!("nats".parse::<Protocol>(), "nats-relay".parse());
        let told = "loopback-echo".parse::<Protocol>().unwrap_err();
        assert!(told.contains("raw-echo, raw-relay") && told.contains("loopback-echo"), "{told}");
    }
}
