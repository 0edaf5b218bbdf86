//! What a persister keeps warm, and decides from.

use crate::decide::{ClientKey, Conversation, Knowledge, Known, World};
use crate::store::{Membership, Partition};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::RECENT_IDS_PER_CONVERSATION;
use protocol::{ConversationId, UserId};
use std::collections::VecDeque;
use std::sync::Arc;

/// What the persister keeps warm of a conversation. Sound because of the fence: whoever else
/// writes a message or changes the membership makes the next compare-and-set fail.
pub(super) struct Warm {
    pub(super) conversation: Conversation,
    ids: HashMap<(UserId, Box<str>), Known, RandomState>,
    order: VecDeque<(UserId, Box<str>)>,
}

impl Warm {
    pub(super) fn new(conversation: Conversation) -> Self {
        Self { conversation, ids: HashMap::default(), order: VecDeque::new() }
    }

    pub(super) fn learn(&mut self, sender: UserId, client_msg_id: &str, known: Known) {
        let key = (sender, Box::from(client_msg_id));
        if self.ids.insert(key.clone(), known).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > RECENT_IDS_PER_CONVERSATION
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// What decisions are made from.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) conversations: HashMap<ConversationId, Warm, RandomState>,
    pub(super) partitions: Vec<Partition>,
    pub(super) world: World,
    /// Messages that the store was asked for by key, for this batch.
    pub(super) found: HashMap<(ConversationId, UserId, Box<str>), Known, RandomState>,
    /// Who was in a group when what is replayed of it was persisted: the windows from a seq on.
    pub(super) windows: HashMap<ConversationId, (u64, Arc<[Membership]>), RandomState>,
}

impl Knowledge for Cache {
    fn conversation(&self, id: ConversationId) -> &Conversation {
        &self.conversations[&id].conversation
    }

    fn known(&self, (conversation, sender, id): ClientKey<'_>) -> Option<Known> {
        let warm = self.conversations.get(&conversation)?;
        warm.ids
            .get(&(sender, Box::from(id)))
            .or_else(|| self.found.get(&(conversation, sender, Box::from(id))))
            .copied()
    }

    fn partition(&self, partition: u16) -> (u8, u64) {
        let partition = self.partitions[usize::from(partition)];
        (partition.epoch, partition.next_offset)
    }

    fn world(&self) -> &World {
        &self.world
    }
}
