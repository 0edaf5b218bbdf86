//! Names of users, conversations, messages, gateways and sessions.

use crate::limits::{CONVERSATION_ID_BYTES_MAX, GATEWAY_ID_BYTES_MAX};
use crate::text::Text;
use serde::{Serialize, Serializer};
use std::fmt;
use thiserror::Error;

/// A user. A JSON string on the wire: JavaScript loses integers above 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserId(pub u64);

/// A message: `epoch:8 | partition:16 | offset:40` of its upstream record, so that a replay of the
/// road gives the same id again without a generator or a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MessageId(pub u64);

impl MessageId {
    /// The id of the record at `offset` of `partition` in `epoch`; `offset` must fit 40 bits.
    pub fn new(epoch: u8, partition: u16, offset: u64) -> Self {
        debug_assert!(offset < 1 << 40, "offset {offset} does not fit 40 bits");
        Self(u64::from(epoch) << 56 | u64::from(partition) << 40 | offset & ((1 << 40) - 1))
    }
}

macro_rules! string_on_the_wire {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(itoa::Buffer::new().format(self.0))
            }
        }
    )*};
}
string_on_the_wire!(UserId, MessageId);

/// A conversation, parsed. Its text form is the key of its partition and of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConversationId {
    /// `single_{a}_{b}` with a < b: two users.
    Single(UserId, UserId),
    /// `group_{id}`: the members of a group.
    Group(u64),
    /// `world`: everybody.
    World,
}

/// Why a text is no conversation id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected single_{{a}}_{{b}} with a < b, group_{{id}} or world, ids as decimal u64")]
pub struct BadConversationId;

impl ConversationId {
    /// Reads the text form; exact, so that one conversation has one name.
    pub fn parse(text: &str) -> Result<Self, BadConversationId> {
        if text.len() > CONVERSATION_ID_BYTES_MAX {
            return Err(BadConversationId);
        }
        if text == "world" {
            return Ok(Self::World);
        }
        if let Some(id) = text.strip_prefix("group_") {
            return Ok(Self::Group(decimal(id).ok_or(BadConversationId)?));
        }
        let pair = text.strip_prefix("single_").ok_or(BadConversationId)?;
        let (a, b) = pair.split_once('_').ok_or(BadConversationId)?;
        match (decimal(a), decimal(b)) {
            (Some(a), Some(b)) if a < b => Ok(Self::Single(UserId(a), UserId(b))),
            _ => Err(BadConversationId),
        }
    }

    /// The single conversation of two users, in either order; none with oneself.
    pub fn single(one: UserId, other: UserId) -> Option<Self> {
        (one != other).then(|| Self::Single(one.min(other), one.max(other)))
    }

    /// The partition among `partitions` that keeps this conversation's order.
    pub fn partition(&self, partitions: u16) -> u16 {
        crate::partition::partition_of(self.text().as_bytes(), partitions)
    }

    /// Its text form.
    pub(crate) fn text(&self) -> Text<CONVERSATION_ID_BYTES_MAX> {
        let mut text = Text::new();
        match self {
            Self::Single(a, b) => text.and("single_").and_number(a.0).and("_").and_number(b.0),
            Self::Group(id) => text.and("group_").and_number(*id),
            Self::World => text.and("world"),
        };
        text
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl Serialize for ConversationId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.text().as_str())
    }
}

/// A u64 as decimal digits, without sign or leading zero.
pub fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// A gateway's name, inline so that it can be copied without touching a shared counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId {
    len: u8,
    bytes: [u8; GATEWAY_ID_BYTES_MAX],
}

/// Why a text is no gateway id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("gateway id must be 1 to {GATEWAY_ID_BYTES_MAX} of a-z, A-Z, 0-9, '-' and '_', got {0:?}")]
pub struct BadGatewayId(pub String);

impl GatewayId {
    /// Takes 1 to 31 letters, digits, dashes and underscores: it becomes part of a topic's name.
    pub fn new(text: &str) -> Result<Self, BadGatewayId> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > GATEWAY_ID_BYTES_MAX || !text.bytes().all(good) {
            return Err(BadGatewayId(text.chars().take(100).collect()));
        }
        let mut bytes = [0; GATEWAY_ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { len: text.len() as u8, bytes })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("only ASCII is taken")
    }
}

impl fmt::Debug for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayId({})", self.as_str())
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A session within one gateway: its shard, its slot, and the generation that makes the slot's
/// reuse visible, so that a late answer can't reach a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    /// Index of the shard.
    pub shard: u16,
    /// Slot in the shard's table, the same as its direct descriptor's.
    pub slot: u32,
    /// How often the slot was given out before.
    pub generation: u32,
}

/// A session among all gateways and their restarts; its text form is the `sessionId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The gateway.
    pub gateway: GatewayId,
    /// Chosen anew at each start of the gateway.
    pub boot_epoch: u64,
    /// The session within it.
    pub session: SessionRef,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionRef { shard, slot, generation } = self.session;
        write!(f, "{}.{:x}.{shard}.{slot}.{generation}", self.gateway, self.boot_epoch)
    }
}

/// Why a text is no session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected gateway.epoch.shard.slot.generation, the epoch in hexadecimal")]
pub struct BadOrigin;

impl Origin {
    /// Reads the text form; exact, so that one session has one name.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        fn number<T: TryFrom<u64>>(text: Option<&str>) -> Result<T, BadOrigin> {
            let number = decimal(text.ok_or(BadOrigin)?).ok_or(BadOrigin)?;
            T::try_from(number).map_err(|_| BadOrigin)
        }
        let mut parts = text.split('.');
        let gateway = GatewayId::new(parts.next().unwrap_or_default()).map_err(|_| BadOrigin)?;
        let epoch = parts.next().ok_or(BadOrigin)?;
        let canonical = epoch == "0" || !epoch.starts_with('0');
        if !canonical || !epoch.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(BadOrigin);
        }
        let boot_epoch = u64::from_str_radix(epoch, 16).map_err(|_| BadOrigin)?;
        let shard = number(parts.next())?;
        let session = SessionRef { shard, slot: number(parts.next())?, generation: number(parts.next())? };
        if parts.next().is_some() {
            return Err(BadOrigin);
        }
        Ok(Self { gateway, boot_epoch, session })
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{ConversationId, GatewayId, MessageId, Origin, UserId, decimal};

    #[test]
    fn a_conversation_has_one_name() {
        for text in ["single_1_2", "single_0_18446744073709551615", "group_7", "world"] {
            assert_eq!(ConversationId::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "single_2_1",
            "single_1_1",
            "single_01_2",
            "single_1_2_3",
            "single_1_",
            "single_-1_2",
            "single_+1_2",
            "single_1_18446744073709551616",
            "group_",
            "group_07",
            "group_x",
            "World",
            "world ",
            " world",
            "group_7\n",
            "single_1_２",
        ] {
            assert!(ConversationId::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(ConversationId::single(UserId(9), UserId(3)), ConversationId::parse("single_3_9").ok());
        assert_eq!(ConversationId::single(UserId(9), UserId(9)), None);
    }

    #[test]
    fn a_session_has_one_name() {
        for text in ["gw.ff.1.2.3", "a-b_C.0.65535.4294967295.0", "g.ffffffffffffffff.0.0.0"] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "gw",
            "gw.ff.1.2",
            "gw.ff.1.2.3.4",
            "gw.FF.1.2.3",
            "gw.0f.1.2.3",
            "gw..1.2.3",
            "gw.ff.65536.2.3",
            "gw.ff.1.02.3",
            "gw.10000000000000000.1.2.3",
            ".ff.1.2.3",
        ] {
            assert!(Origin::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn decimal_takes_only_the_canonical_form() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for text in ["", "00", "+1", "-1", "1e3", " 1", "18446744073709551616"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_message_id_is_its_position() {
        assert_eq!(MessageId::new(1, 2, 3).0, 1 << 56 | 2 << 40 | 3);
    }

    #[test]
    fn a_gateway_id_is_short_and_plain() {
        assert_eq!(GatewayId::new("gw-1_A").unwrap().to_string(), "gw-1_A");
        for text in ["", "a.b", "a b", "ä", &"x".repeat(32)] {
            assert!(GatewayId::new(text).is_err(), "{text:?}");
        }
    }
}
