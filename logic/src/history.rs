//! Pages of messages: from the hot set where it has them all, else from the store.

use crate::stats::Stats;
use crate::store::{Reader, StoreError, StoredMessage};
use bus::hot::HotSet;
use protocol::command::MessageType;
use protocol::event::Message;
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// A message in the hot set. The conversation is the key's.
#[derive(Serialize, Deserialize)]
struct Hot<'a> {
    m: u64,
    s: u64,
    u: u64,
    #[serde(borrow)]
    i: Cow<'a, str>,
    #[serde(borrow)]
    c: Cow<'a, str>,
    #[serde(borrow)]
    k: Cow<'a, str>,
    t: u64,
    #[serde(borrow)]
    r: Cow<'a, str>,
}

/// The form that a message has in the hot set.
pub(crate) fn to_hot(message: &Message<'_>) -> Vec<u8> {
    let hot = Hot {
        m: message.message_id.0,
        s: message.seq_id,
        u: message.sender_id.0,
        i: message.client_msg_id.into(),
        c: message.content.into(),
        k: message.message_type.as_str().into(),
        t: message.created_at.0,
        r: message.trace_id.into(),
    };
    serde_json::to_vec(&hot).expect("numbers and strings always serialize")
}

fn from_hot(bytes: &[u8]) -> Option<StoredMessage> {
    let hot: Hot<'_> = serde_json::from_slice(bytes).ok()?;
    Some(StoredMessage {
        message_id: MessageId(hot.m),
        seq: hot.s,
        sender: UserId(hot.u),
        client_msg_id: hot.i.into_owned(),
        content: hot.c.into_owned(),
        message_type: MessageType::parse(&hot.k)?,
        created_at: UnixMs(hot.t),
        trace_id: hot.r.into_owned(),
    })
}

/// Where pages come from, for one thread.
pub struct Histories {
    /// The store, which also has the windows.
    pub reader: Box<dyn Reader>,
    /// The newest messages, near at hand.
    pub hot: Option<Box<dyn HotSet>>,
    /// What is counted.
    pub stats: Arc<Stats>,
}

impl Histories {
    /// Up to `limit` messages with `after < seq ≤ until`, ascending; `until` is at most the store's
    /// newest seq, which is what makes a contiguous piece of the hot set trustworthy.
    pub async fn page(
        &mut self,
        conversation: ConversationId,
        after: u64,
        until: u64,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        if let Some(page) = self.hot_page(conversation, after, until, limit) {
            self.stats.hot_pages.add(1);
            return Ok(page);
        }
        self.reader.page(conversation, after, until, limit).await
    }

    fn hot_page(
        &mut self,
        conversation: ConversationId,
        after: u64,
        until: u64,
        limit: u32,
    ) -> Option<Vec<StoredMessage>> {
        match self.hot.as_mut()?.read(conversation, after, until, limit as usize) {
            Ok(range) => range?.iter().map(|(_, payload)| from_hot(payload)).collect(),
            Err(error) => {
                self.stats.hot_failures.add(1);
                tracing::debug!(%error, "the hot set does not answer; the store is read");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{from_hot, to_hot};
    use crate::sync::view;
    use protocol::ConversationId;

    #[test]
    fn a_message_comes_back_from_the_hot_set_as_it_went() {
        let hot =
            br#"{"m":18446744073709551615,"s":7,"u":3,"i":"a\"b","c":"\u00e9\n","k":"text","t":9,"r":"t"}"#;
        let message = from_hot(hot).unwrap();
        let again = from_hot(&to_hot(&view(ConversationId::World, &message))).unwrap();
        assert_eq!(again, message);
        assert_eq!((again.client_msg_id.as_str(), again.content.as_str()), ("a\"b", "é\n"));
        assert!(from_hot(b"{}").is_none());
    }
}
